"""The blocks of a document: tables, fields, lines and charts, and the page that they are printed on.

Stored text becomes printable when it is put in a block.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from zrb_store.masking import printable


@dataclass(frozen=True)
class Column:
    """A column of a table.

    On a terminal a table fits the page: columns are cut or wrapped where they may be, others leave. In a pipe every
    column is printed, and only those that may be cut are.

    Attributes:
        title: Its heading.
        cut: Whether its cells are cut to fit the page. Cells of other columns never are.
        fold: Whether its cells may be wrapped on a narrow terminal. Those of the last column always may.
        words: Whether its cells may be wrapped there, but only between words.
        status: Whether its cells are statuses, which are coloured on a terminal.
        right: Whether its cells are aligned to the right.
        leaves: When it leaves a terminal that is too narrow for all columns: 1 is the first to leave, 0 never does.
    """

    title: str
    cut: bool = False
    fold: bool = False
    words: bool = False
    status: bool = False
    right: bool = False
    leaves: int = 0


@dataclass
class Table:
    """Rows of cells, which can be iterated over once. A cell of the last column may have several lines.

    A cell of the first column, unless that may be folded, is never wrapped on a terminal if it fits the page: where it
    is too long to stand beside the others, it gets a line of its own.

    A long table is printed in chunks, so that the first rows need not wait for the last; its columns may grow from one
    chunk to the next.
    """

    columns: Sequence[Column]
    rows: Iterable[Sequence[str]]
    title: str = ""
    note: str = ""  # between title and headings

    def __post_init__(self) -> None:
        rows = ([printable(cell, keep="\n") for cell in row] for row in self.rows)
        self.rows = list(rows) if isinstance(self.rows, Sequence) else rows
        self.title = printable(self.title)
        self.note = printable(self.note)


@dataclass
class Fields:
    """Labelled texts, one on each line.

    Attributes:
        statuses: The labels of those texts that are statuses, which are coloured on a terminal.
        label_width: How much room the labels have at least, in columns.
    """

    pairs: Sequence[tuple[str, str]]
    statuses: frozenset[str] = field(default=frozenset({"Status"}))
    label_width: int = 0

    def __post_init__(self) -> None:
        self.pairs = [(label, printable(text)) for label, text in self.pairs]


@dataclass
class Lines:
    """Text, line by line."""

    lines: Sequence[str]
    title: str = ""

    def __post_init__(self) -> None:
        self.lines = [printable(line) for line in self.lines]
        self.title = printable(self.title)


@dataclass(frozen=True)
class Bar:
    """A bar of a chart, from one moment to another, in microseconds, and its status."""

    start: int
    end: int
    status: str


@dataclass(frozen=True)
class ChartRow:
    """A row of a chart: a label, any number of bars, and a note at the end."""

    label: str
    bars: Sequence[Bar]
    note: str


@dataclass
class Chart:
    """Rows of bars on an axis of time, from which pauses are left out.

    Attributes:
        spans: What the axis shows: start and end of spans of time, in order, with the texts of these moments.
    """

    rows: Sequence[ChartRow]
    spans: Sequence[tuple[Moment, Moment]]
    title: str = ""

    def __post_init__(self) -> None:
        self.rows = [replace(row, label=printable(row.label), note=printable(row.note)) for row in self.rows]


@dataclass(frozen=True)
class Moment:
    """A moment on an axis, in microseconds, and its text."""

    at: int
    text: str


Block = Table | Fields | Lines | Chart


def with_rows_read(block: Block) -> Block:
    """Read the rows of a table, so that the block can be kept and compared with another one."""
    return replace(block, rows=list(block.rows)) if isinstance(block, Table) else block


def on_terminal() -> bool:
    """Whether stdout is a terminal, where a person reads what is printed."""
    return sys.stdout.isatty()


def page_width() -> int:
    """Return the width of the terminal in columns; in a pipe 80, or COLUMNS."""
    return shutil.get_terminal_size((80, 24)).columns
