"""The widths of a table's columns, and the chunks of a long table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from zrb_store.cli.render.document import Column, Table

GAP = "  "
_LEAST_CUT_WIDTH = 16  # what a cell that is cut keeps, however narrow the page
_CHUNK_ROWS = 1000
_CHUNK_CHARACTERS = 4 * 1024 * 1024

Row = Sequence[str]


def chunks(table: Table, width: int | None, fold_width: int | None = None) -> Iterator[tuple[list[Row], list[int]]]:
    """Divide a table, its headings first, into chunks of rows that fit in memory.

    Args:
        table: The table.
        width: The width of the page; None leaves every cell whole.
        fold_width: How wide a column that may be folded is assumed to be at most.

    Yields:
        The rows of a chunk, and the width of each column.
    """
    rows = iter(table.rows)
    chunk = [headings(table), *_read_chunk(rows)]
    following = _read_chunk(rows)
    is_long = bool(following)
    grown = [0] * len(table.columns)
    while chunk:
        widths = column_widths(table.columns, chunk, width, fold_width)
        if is_long:  # columns grow where they must and never shrink; those that may be cut share what is left
            grown = [max(pair) for pair in zip(grown, widths, strict=True)]
            widths = grown if width is None else _fill_page(table.columns, grown, width, fold_width)
        yield chunk, widths
        chunk, following = following, _read_chunk(rows)


def _read_chunk(rows: Iterator[Row]) -> list[Row]:
    chunk: list[Row] = []
    room = _CHUNK_CHARACTERS
    while len(chunk) < _CHUNK_ROWS and room > 0 and (row := next(rows, None)) is not None:
        chunk.append(row)
        room -= sum(map(len, row))
    return chunk


def _fill_page(columns: Sequence[Column], widths: Sequence[int], width: int, fold_width: int | None) -> list[int]:
    """Give the columns that may be cut, or else the last one, what the others leave of the page."""
    filled = [
        min(needed, fold_width) if fold_width and (column.fold or column is columns[-1]) else needed
        for column, needed in zip(columns, widths, strict=True)
    ]
    cut = [place for place, column in enumerate(columns) if column.cut] or [len(columns) - 1]
    room = width - len(GAP) * (len(columns) - 1) - sum(filled) + sum(filled[place] for place in cut)
    for place in cut:
        filled[place] = max(_LEAST_CUT_WIDTH, room // len(cut))
    return filled


def headings(table: Table) -> list[str]:
    """Return the titles of a table's columns, as they are printed."""
    return [column.title.upper() for column in table.columns]


def column_widths(
    columns: Sequence[Column], rows: Sequence[Row], width: int | None, fold_width: int | None = None
) -> list[int]:
    """Compute how wide each column is. Those that may be cut share what the others leave of the page.

    Args:
        columns: The columns.
        rows: Every row, the headings too.
        width: The width of the page; None leaves every cell whole.
        fold_width: How wide a column that may be folded is assumed to be at most.
    """
    widths = [
        max((display_width(line) for row in rows for line in row[place].splitlines()), default=0)
        for place in range(len(columns))
    ]
    if width is None:
        return widths
    room = width - len(GAP) * (len(columns) - 1)
    cut = []
    for place, (needed, column) in enumerate(zip(widths, columns, strict=True)):
        if column.cut:
            cut.append((needed, place))
        else:
            may_fold = column.fold or place == len(columns) - 1
            room -= min(needed, fold_width) if may_fold and fold_width else needed
    # The narrowest first: what it does not need is left to the others.
    for sharing, (needed, place) in zip(range(len(cut), 0, -1), sorted(cut), strict=True):
        widths[place] = min(needed, max(_LEAST_CUT_WIDTH, room // sharing))
        room -= widths[place]
    return widths


def display_width(text: str) -> int:
    """Return how many columns a text takes on a terminal."""
    if text.isascii():
        return len(text)
    import unicodedata  # late: large, and rarely needed

    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text
    )


def shorten(text: str, width: int) -> str:
    """Cut a text to `width` columns, ending in `...` if anything was cut off."""
    if display_width(text) <= width:
        return text
    kept = text[: max(0, width - 3)]
    while display_width(kept) > width - 3 and kept:
        kept = kept[:-1]
    return f"{kept}..."
