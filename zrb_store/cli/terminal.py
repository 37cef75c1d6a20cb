"""Documents on a terminal, by rich."""

from __future__ import annotations

import io
import itertools
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

from rich.console import Console, Group, RenderableType
from rich.table import Table as RichTable
from rich.text import Text

from zrb_store.cli.output import Block, Column, Facts, Lines, Table, width
from zrb_store.cli.plain import headings, pieces, shortened

_STYLES = {
    "completed": "green",
    "running": "cyan",
    "failed": "bold red",
    "interrupted": "yellow",
    "stale": "bold yellow",
    "lost": "bold yellow",
    "live": "green",
    "retracted": "yellow",
}
_PALE = "dim"
_FOLDED = 26  # columns that a cell which can be folded is given before values are cut


def print_blocks(blocks: Iterable[Block], *, full: bool = False) -> None:
    """Print a document, part by part."""
    terminal = console()
    for part in _parts(blocks, None if full else width()):
        terminal.print(part)


def console() -> Console:
    """The terminal. What its encoding does not have is written as escapes."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    return Console()


def renderable(blocks: Sequence[Block], *, full: bool = False) -> Group:
    """A document as one thing that rich prints."""
    return Group(*_parts(blocks, None if full else width()))


def _parts(blocks: Iterable[Block], page: int | None) -> Iterator[RenderableType]:
    for number, block in enumerate(blocks):
        if number:
            yield Text()
        if isinstance(block, Facts):
            yield _facts(block)
            continue
        if block.title:
            yield Text(block.title, "bold")
        if isinstance(block, Lines):
            yield from (Text(line) for line in block.lines)
        else:
            yield from _tables(block, page)


def _facts(facts: Facts) -> RichTable:
    grid = RichTable.grid(padding=(0, 2, 0, 0))
    grid.add_column(style=_PALE, no_wrap=True)
    grid.add_column(overflow="fold")
    for name, text in facts.pairs:
        grid.add_row(Text(name), _status(text) if name in facts.statuses else Text(text))
    return grid


def _tables(table: Table, page: int | None) -> Iterator[RichTable]:
    """A table as rich's; one that is long in pieces, whose columns rich must not make narrower, each by itself."""
    all_pieces = pieces(table, width(), _FOLDED)
    first = next(all_pieces)
    second = next(all_pieces, None)
    if second is None:
        yield _piece(table, *first, page)
        return
    for rows, widths in itertools.chain([first, second], all_pieces):
        yield _piece(table, rows, widths, page, fixed=True)


def _piece(
    table: Table, rows: Sequence[Sequence[str]], widths: Sequence[int], page: int | None, *, fixed: bool = False
) -> RichTable:
    has_header = rows[0] == headings(table)
    made = RichTable(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style=_PALE, show_header=has_header)
    cut = [column.cut and page is not None for column in table.columns]
    for place, (column, title) in enumerate(zip(table.columns, headings(table), strict=True)):
        folds = column.fold or place == len(widths) - 1 or (column.cut and not cut[place])
        justify: Literal["left", "right"] = "right" if column.right else "left"
        exactly = widths[place] if fixed else None
        made.add_column(title, justify=justify, overflow="fold", no_wrap=not folds, width=exactly)
    for row in rows[has_header:]:
        texts = [shortened(cell, each) if is_cut else cell for cell, each, is_cut in zip(row, widths, cut, strict=True)]
        made.add_row(*map(_cell, table.columns, texts))
    return made


def _cell(column: Column, text: str) -> Text:
    return _status(text) if column.status else Text(text)


def _status(text: str) -> Text:
    first = text.replace(",", " ").split(" ", 1)[0]
    return Text(text, _STYLES.get(first, ""))
