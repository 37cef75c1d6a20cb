"""The blocks of a document: tables, fields and lines. Text that was stored becomes printable when it is put in one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from zrb_store.safe_text import printable


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        title: Its heading.
        cut: Whether its cells are cut to fit the page. Cells of other columns never are.
        fold: Whether its cells may be wrapped on a narrow terminal. Those of the last column always may.
        status: Whether its cells are statuses, which are coloured on a terminal.
        right: Whether its cells are aligned to the right.
    """

    title: str
    cut: bool = False
    fold: bool = False
    status: bool = False
    right: bool = False


@dataclass
class Table:
    """Rows of cells, which can be iterated over once. A cell of the last column may have several lines.

    A long table is printed in chunks, so that the first rows need not wait for the last; its columns may grow from one
    chunk to the next.
    """

    columns: Sequence[Column]
    rows: Iterable[Sequence[str]]
    title: str = ""

    def __post_init__(self) -> None:
        rows = ([printable(cell, keep="\n") for cell in row] for row in self.rows)
        self.rows = list(rows) if isinstance(self.rows, Sequence) else rows
        self.title = printable(self.title)


@dataclass
class Fields:
    """Labelled texts, one on each line.

    Attributes:
        pairs: The labels and their texts.
        statuses: The labels of those texts that are statuses, which are coloured on a terminal.
    """

    pairs: Sequence[tuple[str, str]]
    statuses: frozenset[str] = field(default=frozenset({"Status"}))

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


Block = Table | Fields | Lines


def with_rows_read(block: Block) -> Block:
    """Read the rows of a table, so that the block can be kept and compared with another one."""
    return replace(block, rows=list(block.rows)) if isinstance(block, Table) else block
