"""Documents on a terminal, drawn by rich."""

from __future__ import annotations

import io
import itertools
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

from rich.console import Console, Group, RenderableType
from rich.table import Table as RichTable
from rich.text import Text

from zrb_store.cli.render.document import Block, Column, Fields, Lines, Table
from zrb_store.cli.render.layout import Row, chunks, headings, shorten
from zrb_store.cli.render.stdout import page_width

_STYLES = {
    "completed": "green",
    "running": "cyan",
    "failed": "bold red",
    "interrupted": "yellow",
    "stale": "bold yellow",
    "lost": "bold yellow",
    "live": "green",
    "retracted": "yellow",
    "dead": "bold red",
}
_LABEL_STYLE = "dim"
_FOLD_WIDTH = 26  # what a column that may be folded gets before values are cut


def print_blocks(blocks: Iterable[Block], *, full: bool = False) -> None:
    """Print a document part by part."""
    terminal = console()
    for part in _renderables(blocks, full=full):
        terminal.print(part)


def console() -> Console:
    """Return rich's console on stdout, which escapes what the terminal's encoding lacks."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    return Console()


def renderable(blocks: Iterable[Block], *, full: bool = False) -> Group:
    """Return a whole document as one thing that rich can draw."""
    return Group(*_renderables(blocks, full=full))


def _renderables(blocks: Iterable[Block], *, full: bool) -> Iterator[RenderableType]:
    for number, block in enumerate(blocks):
        if number:
            yield Text()
        if isinstance(block, Fields):
            yield _fields(block)
            continue
        if block.title:
            yield Text(block.title, "bold")
        if isinstance(block, Lines):
            yield from (Text(line) for line in block.lines)
        else:
            yield from _tables(block, full=full)


def _fields(fields: Fields) -> RichTable:
    grid = RichTable.grid(padding=(0, 2, 0, 0))
    grid.add_column(style=_LABEL_STYLE, no_wrap=True)
    grid.add_column(overflow="fold")
    for label, text in fields.pairs:
        grid.add_row(Text(label), _status(text) if label in fields.statuses else Text(text))
    return grid


def _tables(table: Table, *, full: bool) -> Iterator[RichTable]:
    """Yield a table as rich's, or a long one as several, whose columns rich must not narrow one by one."""
    all_chunks = chunks(table, page_width(), _FOLD_WIDTH)
    first = next(all_chunks)
    second = next(all_chunks, None)
    if second is None:
        yield _table(table, *first, full=full)
        return
    for rows, widths in itertools.chain([first, second], all_chunks):
        yield _table(table, rows, widths, full=full, fixed_widths=True)


def _table(
    table: Table, rows: Sequence[Row], widths: Sequence[int], *, full: bool, fixed_widths: bool = False
) -> RichTable:
    titles = headings(table)
    has_header = rows[0] == titles
    drawn = RichTable(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style=_LABEL_STYLE, show_header=has_header)
    cut = [column.cut and not full for column in table.columns]
    for place, (column, title) in enumerate(zip(table.columns, titles, strict=True)):
        may_fold = column.fold or place == len(widths) - 1 or (column.cut and not cut[place])
        justify: Literal["left", "right"] = "right" if column.right else "left"
        width = widths[place] if fixed_widths else None
        drawn.add_column(title, justify=justify, overflow="fold", no_wrap=not may_fold, width=width)
    for row in rows[has_header:]:
        texts = [shorten(cell, width) if is_cut else cell for cell, width, is_cut in zip(row, widths, cut, strict=True)]
        drawn.add_row(*map(_cell, table.columns, texts))
    return drawn


def _cell(column: Column, text: str) -> Text:
    return _status(text) if column.status else Text(text)


def _status(text: str) -> Text:
    first_word = text.replace(",", " ").split(" ", 1)[0]
    return Text(text, _STYLES.get(first_word, ""))
