"""The chunks of a long table, and the widths of the columns of a table in a pipe."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from zrb_store.cli.render.document import Column, Table
from zrb_store.cli.render.fit import GAP, LEAST_CUT_WIDTH, Row
from zrb_store.cli.render.width import display_width

_CHUNK_ROWS = 1000
_CHUNK_CHARACTERS = 4 * 1024 * 1024


def chunks(table: Table) -> Iterator[tuple[list[Row], bool]]:
    """Divide a table, its headings first, into chunks of rows that fit in memory.

    Yields:
        The rows of a chunk, and whether there is more than one chunk.
    """
    rows = iter(table.rows)
    chunk = [headings(table), *_read_chunk(rows)]
    following = _read_chunk(rows)
    is_long = bool(following)
    while chunk:
        yield chunk, is_long
        chunk, following = following, _read_chunk(rows)


def _read_chunk(rows: Iterator[Row]) -> list[Row]:
    chunk: list[Row] = []
    room = _CHUNK_CHARACTERS
    while len(chunk) < _CHUNK_ROWS and room > 0 and (row := next(rows, None)) is not None:
        chunk.append(row)
        room -= sum(map(len, row))
    return chunk


def headings(table: Table) -> list[str]:
    """Return the titles of a table's columns, as they are printed."""
    return [column.title.upper() for column in table.columns]


def measured_chunks(table: Table, width: int | None) -> Iterator[tuple[list[Row], list[int]]]:
    """Divide a table into chunks for a pipe, where all columns are shown and only those that may be cut are narrowed.

    Args:
        table: The table.
        width: The width to which such cells are cut; None leaves them whole.

    Yields:
        The rows of a chunk, and the width of each column.
    """
    grown = [0] * len(table.columns)
    for chunk, is_long in chunks(table):
        widths = _column_widths(table.columns, chunk, width)
        if is_long:  # columns grow where they must and never shrink; those that may be cut share what is left
            grown = [max(pair) for pair in zip(grown, widths, strict=True)]
            widths = grown if width is None else _fill_page(table.columns, grown, width)
        yield chunk, widths


def _fill_page(columns: Sequence[Column], widths: Sequence[int], width: int) -> list[int]:
    """Give the columns that may be cut, or else the last one, what the others leave of the page."""
    filled = list(widths)
    cut = [place for place, column in enumerate(columns) if column.cut] or [len(columns) - 1]
    room = width - len(GAP) * (len(columns) - 1) - sum(filled) + sum(filled[place] for place in cut)
    for place in cut:
        filled[place] = max(LEAST_CUT_WIDTH, room // len(cut))
    return filled


def _column_widths(columns: Sequence[Column], rows: Sequence[Row], width: int | None) -> list[int]:
    widths = [
        max((display_width(line) for row in rows for line in row[place].splitlines()), default=0)
        for place in range(len(columns))
    ]
    if width is None:
        return widths
    room = width - len(GAP) * (len(columns) - 1)
    room -= sum(needed for needed, column in zip(widths, columns, strict=True) if not column.cut)
    cut = sorted((widths[place], place) for place, column in enumerate(columns) if column.cut)
    # The narrowest first: what it does not need is left to the others.
    for sharing, (needed, place) in zip(range(len(cut), 0, -1), cut, strict=True):
        widths[place] = min(needed, max(LEAST_CUT_WIDTH, room // sharing))
        room -= widths[place]
    return widths
