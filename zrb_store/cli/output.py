"""What commands print: lines, JSON, values fit for `$(...)`, and documents of facts and tables.

A document goes through rich on a terminal, and is plain aligned text without escapes everywhere else.
"""

from __future__ import annotations

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


@dataclass(frozen=True)
class Table:
    """Rows of cells, gone through once. A cell of the last column may have several lines.

    A long one is shown in pieces, so that none need wait for its end; its columns may grow from one to the next.
    """

    columns: Sequence[Column]
    rows: Iterable[Sequence[str]]
    title: str = ""


@dataclass(frozen=True)
class Facts:
    """Names and what they are."""

    pairs: Sequence[tuple[str, str]]
    statuses: frozenset[str] = field(default=frozenset({"Status"}))


@dataclass(frozen=True)
class Lines:
    """Text as it is, line by line."""

    lines: Sequence[str]
    title: str = ""


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
    """Print a line, whatever it holds."""
    try:
        _write(text)
    except UnicodeEncodeError:
        encoding = sys.stdout.encoding or "ascii"
        _write(text.encode(encoding, "backslashreplace").decode(encoding))


def echo_json(thing: Any, *, one_line: bool = False) -> None:
    """Print JSON: indented, or compact on one line; lazy lists and iterators in it as they come."""
    for piece in json_stream.pieces(thing, (_COMPACT if one_line else _INDENTED).encode, compact=one_line):
        try:
            _write(piece, end="")
        except UnicodeEncodeError:  # a lone surrogate, or not a UTF-8 stream
            _write(_NOT_ASCII.sub(lambda found: json.dumps(found[0])[1:-1], piece), end="")
    _write("")


_COMPACT = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))
_INDENTED = json.JSONEncoder(ensure_ascii=False, indent=2)
_NOT_ASCII = re.compile(r"[^\x00-\x7f]")


def flush() -> None:
    """Write what is still to be written.

    Raises:
        ZrbStoreError: It cannot be.
    """
    with _writing():
        sys.stdout.flush()


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
    return json.dumps(tree, ensure_ascii=False, separators=(",", ":")) if text is None else text


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
