"""Documents on a terminal, by rich."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

from rich.console import Console, Group, RenderableType
from rich.table import Table as RichTable
from rich.text import Text

from zrb_store.cli.output import Block, Column, Facts, Lines, Table, width
from zrb_store.cli.plain import column_widths, first_rows, headings, long_widths, shortened

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
    """A table, in pieces if it is long: these have the columns of the first one."""
    rows = iter(table.rows)
    first = first_rows(rows)
    widths = column_widths(table.columns, [headings(table), *first], page, _FOLDED)
    following = first_rows(rows)
    if not following:
        yield _piece(table, first, widths, page)
        return
    widths = long_widths(table.columns, widths, width(), _FOLDED)
    yield _piece(table, first, widths, page, fixed=True)
    while following:
        yield _piece(table, following, widths, page, fixed=True, header=False)
        following = first_rows(rows)


def _piece(
    table: Table,
    rows: Sequence[Sequence[str]],
    widths: Sequence[int],
    page: int | None,
    *,
    fixed: bool = False,
    header: bool = True,
) -> RichTable:
    """Some rows as a table of rich's, which makes columns narrower where it must, unless their widths are fixed."""
    made = RichTable(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style=_PALE, show_header=header)
    cut = [column.cut and page is not None for column in table.columns]
    for place, (column, title) in enumerate(zip(table.columns, headings(table), strict=True)):
        folds = column.fold or place == len(widths) - 1 or (column.cut and not cut[place])
        justify: Literal["left", "right"] = "right" if column.right else "left"
        width = widths[place] if fixed else None
        made.add_column(title, justify=justify, overflow="fold", no_wrap=not folds, width=width)
    for row in rows:
        cells = zip(table.columns, row, widths, cut, strict=True)
        made.add_row(
            *(_cell(column, shortened(cell, each) if is_cut else cell) for column, cell, each, is_cut in cells)
        )
    return made


def _cell(column: Column, text: str) -> Text:
    return _status(text) if column.status else Text(text)


def _status(text: str) -> Text:
    first = text.replace(",", " ").split(" ", 1)[0]
    return Text(text, _STYLES.get(first, ""))
