"""Documents as plain aligned text, for pipes, files and mail."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence

from zrb_store.cli.output import Block, Column, Facts, Lines, Table

_GAP = "  "
_LEAST = 16  # columns that a cut cell is left with, however narrow the page


def lines_of(blocks: Sequence[Block], page: int | None) -> Iterator[str]:
    """The lines of a document, an empty one between its blocks.

    Args:
        blocks: Its parts.
        page: The width to which long cells are cut; None leaves them whole.
    """
    for number, block in enumerate(blocks):
        if number:
            yield ""
        if isinstance(block, Facts):
            label = max((len(name) for name, _ in block.pairs), default=0)
            yield from (f"{name:{label}}{_GAP}{text}".rstrip() for name, text in block.pairs)
            continue
        if block.title:
            yield block.title
        yield from block.lines if isinstance(block, Lines) else _table(block, page)


def _table(table: Table, page: int | None) -> Iterator[str]:
    indent = _GAP if table.title else ""
    cells = [[column.title.upper() for column in table.columns], *table.rows]
    widths = column_widths(table.columns, cells, None if page is None else page - len(indent))
    for row in cells:
        yield from (f"{indent}{line}".rstrip() for line in _row(table.columns, row, widths))


def column_widths(columns: Sequence[Column], rows: Sequence[Sequence[str]], page: int | None) -> list[int]:
    """How wide each column is; those that may be cut share what the others leave of the page."""
    widths = [
        max((cell_width(line) for row in rows for line in row[place].splitlines()), default=0)
        for place in range(len(columns))
    ]
    if page is None:
        return widths
    room = page - len(_GAP) * (len(columns) - 1) - sum(w for w, c in zip(widths, columns, strict=True) if not c.cut)
    cut = sorted((width, place) for place, (width, c) in enumerate(zip(widths, columns, strict=True)) if c.cut)
    for left, (width, place) in zip(range(len(cut), 0, -1), cut, strict=True):
        widths[place] = min(width, max(_LEAST, room // left))
        room -= widths[place]
    return widths


def _row(columns: Sequence[Column], row: Sequence[str], widths: Sequence[int]) -> Iterator[str]:
    first = []
    for column, cell, width in zip(columns, row, widths, strict=True):
        text = shortened(cell, width) if column.cut else next(iter(cell.splitlines()), "")
        space = " " * max(0, width - cell_width(text))
        first.append(space + text if column.right else text + space)
    yield _GAP.join(first)
    before = " " * (sum(widths[:-1]) + len(_GAP) * (len(widths) - 1))
    yield from (before + line for line in row[-1].splitlines()[1:])


def cell_width(text: str) -> int:
    """Columns that a text takes on a terminal."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text
    )


def shortened(text: str, width: int) -> str:
    """The text cut to `width` columns, `...` at its end if something was cut off."""
    if cell_width(text) <= width:
        return text
    kept = text[: max(0, width - 3)]
    while cell_width(kept) > width - 3 and kept:
        kept = kept[:-1]
    return f"{kept}..."
