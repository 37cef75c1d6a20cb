"""What commands print: lines, JSON, values fit for `$(...)`, and documents of facts and tables.

A document goes through rich on a terminal, and is plain aligned text without escapes everywhere else. Whatever is
stored is printable as soon as it is in a document.
"""

from __future__ import annotations

import codecs
import contextlib
import json
import os
import re
import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import click

from zrb_store.cli import json_stream
from zrb_store.errors import ZrbStoreError
from zrb_store.printing import printable


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        title: Its heading.
        cut: Whether its cells are cut to the width; no other cell ever is.
        fold: Whether a narrow terminal may break its cells in two; the last column's always.
        status: Whether its cells are statuses, coloured on a terminal.
        right: Whether its cells are aligned to the right.
    """

    title: str
    cut: bool = False
    fold: bool = False
    status: bool = False
    right: bool = False


@dataclass
class Table:
    """Rows of cells, gone through once. A cell of the last column may have several lines.

    A long one is shown in pieces, so that none need wait for its end; its columns may grow from one to the next.
    """

    columns: Sequence[Column]
    rows: Iterable[Sequence[str]]
    title: str = ""

    def __post_init__(self) -> None:
        rows = ([printable(cell, keep="\n") for cell in row] for row in self.rows)
        self.rows = list(rows) if isinstance(self.rows, Sequence) else rows
        self.title = printable(self.title)


@dataclass
class Facts:
    """Names and what they are."""

    pairs: Sequence[tuple[str, str]]
    statuses: frozenset[str] = field(default=frozenset({"Status"}))

    def __post_init__(self) -> None:
        self.pairs = [(name, printable(text)) for name, text in self.pairs]


@dataclass
class Lines:
    """Text line by line."""

    lines: Sequence[str]
    title: str = ""

    def __post_init__(self) -> None:
        self.lines = [printable(line) for line in self.lines]
        self.title = printable(self.title)


Block = Table | Facts | Lines


def settled(block: Block) -> Block:
    """The block with its rows read, to be kept and compared."""
    return replace(block, rows=list(block.rows)) if isinstance(block, Table) else block


def on_terminal() -> bool:
    """Whether a person reads this at once."""
    return sys.stdout.isatty()


def width() -> int:
    """Columns of the terminal; 80 in a pipe, or what COLUMNS says."""
    return shutil.get_terminal_size((80, 24)).columns


def show(blocks: Iterable[Block], *, full: bool = False) -> None:
    """Print a document as it comes; `full` leaves long cells whole."""
    if on_terminal():
        from zrb_store.cli.terminal import print_blocks  # only here: rich takes longer to import than most commands run

        print_blocks(blocks, full=full)
        return
    from zrb_store.cli.plain import lines_of

    for line in lines_of(blocks, None if full else width()):
        echo(line)


def echo(text: str) -> None:
    """Print a line for people. What cannot be printed is written as its escape."""
    _write(_encodable(printable(text)))


def echo_bare(text: str) -> None:
    """Print a text as a shell wants it, exactly; on a terminal, which would obey its control characters, as `echo`."""
    _write(_encodable(printable(text, keep="\n\t") if on_terminal() else text))


def echo_json(thing: Any, *, one_line: bool = False) -> None:
    """Print JSON: indented, or compact on one line; lazy lists and iterators in it as they come."""
    for piece in json_stream.pieces(thing, _compact if one_line else _indented, compact=one_line):
        _write(piece, end="")
    _write("")


def _compact(thing: Any) -> str:
    return _json(thing, indent=None)


def _indented(thing: Any) -> str:
    return _json(thing, indent=2)


def _json(thing: Any, *, indent: int | None) -> str:
    """JSON text: readable where stdout is UTF-8, with escapes for what cannot be printed; ASCII everywhere else."""
    separators = (",", ":") if indent is None else None
    if codecs.lookup(sys.stdout.encoding or "ascii").name != "utf-8":
        return json.dumps(thing, indent=indent, separators=separators)
    text = json.dumps(thing, ensure_ascii=False, indent=indent, separators=separators)
    return _UNUSUAL.sub(_escaped, text)


def _escaped(found: re.Match[str]) -> str:
    run = found[0]
    if run.isprintable():
        return run
    return "".join(char if char.isprintable() else json.dumps(char)[1:-1] for char in run)


_UNUSUAL = re.compile(r"[^\x20-\x7e\n]+")  # the ends of lines are between the texts, never in one


def flush() -> None:
    """Write what is still to be written.

    Raises:
        ZrbStoreError: It cannot be.
    """
    with _writing():
        sys.stdout.flush()


def _encodable(text: str) -> str:
    """The text with escapes for what stdout cannot encode; in the C locale it would write odd bytes instead."""
    if text.isascii():
        return text
    encoding = sys.stdout.encoding or "ascii"
    return text.encode(encoding, "backslashreplace").decode(encoding)


def _write(text: str, end: str = "\n") -> None:
    with _writing():
        print(text, end=end)


@contextlib.contextmanager
def _writing() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        discard()
        raise click.exceptions.Exit(0) from None  # the reader has seen enough, which click takes for an error
    except OSError as error:
        discard()
        raise ZrbStoreError(f"the output cannot be written: {error.strerror}") from None


def discard() -> None:
    """Write no more: what is left must not make Python complain at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


# What stands in a tagged form for one text, as a shell wants it.
_TEXTS = frozenset(
    {"Decimal", "UUID", "PosixPath", "WindowsPath", "PurePosixPath", "PureWindowsPath", "ZoneInfo"}
    | {"date", "datetime", "time", "float"}
)


def bare(tree: Any) -> str:
    """A value (as `codec.to_json` gives it) as a shell wants it: text and a command's output as they are, else JSON."""
    text = text_of(tree)
    return _compact(tree) if text is None else text


def text_of(tree: Any) -> str | None:
    """The text that a value is, or is written as: a str, a path, a date, a command's output; None for all others."""
    if type(tree) is str:
        return tree
    if type(tree) is not dict or "$" not in tree:
        return None
    value = tree.get("v")
    if tree["$"] == "CmdResult" and type(value) is dict:
        return text_of(value.get("output"))
    if tree["$"] == "str" and type(value) is list:
        return "".join(map(str, value))
    return value if tree["$"] in _TEXTS and type(value) is str and tree.keys() == {"$", "v"} else None
