"""Documents on a terminal, by rich."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator, Sequence

from rich.console import Console, Group, RenderableType
from rich.table import Table as RichTable
from rich.text import Text

from zrb_store.cli.output import Block, Column, Facts, Lines, Table, width
from zrb_store.cli.plain import column_widths, headings, shortened

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


def print_blocks(blocks: Sequence[Block], *, full: bool = False) -> None:
    """Print a document."""
    console().print(renderable(blocks, full=full))


def console() -> Console:
    """The terminal. What its encoding does not have is written as escapes."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    return Console()


def renderable(blocks: Sequence[Block], *, full: bool = False) -> Group:
    """A document as one thing that rich prints."""
    return Group(*_parts(blocks, None if full else width()))


def _parts(blocks: Sequence[Block], page: int | None) -> Iterator[RenderableType]:
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
            yield _table(block, page)


def _facts(facts: Facts) -> RichTable:
    grid = RichTable.grid(padding=(0, 2, 0, 0))
    grid.add_column(style=_PALE, no_wrap=True)
    grid.add_column(overflow="fold")
    for name, text in facts.pairs:
        grid.add_row(Text(name), _status(text) if name in facts.statuses else Text(text))
    return grid


def _table(table: Table, page: int | None) -> RichTable:
    made = RichTable(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style=_PALE)
    widths = column_widths(table.columns, [headings(table), *table.rows], page, _FOLDED)
    for column, title in zip(table.columns, headings(table), strict=True):
        folds = column.fold or column is table.columns[-1] or (column.cut and page is None)
        made.add_column(title, justify="right" if column.right else "left", overflow="fold", no_wrap=not folds)
    for row in table.rows:
        cells = zip(table.columns, row, widths, strict=True)
        made.add_row(*(_cell(column, shortened(cell, width) if column.cut else cell) for column, cell, width in cells))
    return made


def _cell(column: Column, text: str) -> Text:
    return _status(text) if column.status else Text(text)


def _status(text: str) -> Text:
    first = text.replace(",", " ").split(" ", 1)[0]
    return Text(text, _STYLES.get(first, ""))
