"""Documents as plain aligned text, for pipes, files and mail."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from zrb_store.cli.output import Block, Column, Facts, Lines, Table

_GAP = "  "
_LEAST = 16  # columns that a cut cell is left with, however narrow the page
_ROWS = 1000  # of a table that are kept at once
_ROOM = 4 * 1024 * 1024  # characters that these may have


def lines_of(blocks: Iterable[Block], page: int | None) -> Iterator[str]:
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
    for rows, widths in pieces(table, None if page is None else page - len(indent)):
        for row in rows:
            yield from (f"{indent}{line}".rstrip() for line in _row(table.columns, row, widths, cut=page is not None))


def pieces(table: Table, page: int | None, most: int | None = None) -> Iterator[tuple[list[Sequence[str]], list[int]]]:
    """A table, its headings first, in as many pieces as it takes to hold one at a time, each with its columns' widths.

    Args:
        table: The table.
        page: The width to share; None leaves everything whole.
        most: How wide a column that may be folded is taken to be.
    """
    rows = iter(table.rows)
    piece = [headings(table), *_next_rows(rows)]
    following = _next_rows(rows)
    is_long = bool(following)
    grown = [0] * len(table.columns)
    while piece:
        widths = column_widths(table.columns, piece, page, most)
        if is_long:  # a column grows where it must, but does not shrink; those that may be cut take what is left
            grown = [max(pair) for pair in zip(grown, widths, strict=True)]
            widths = grown if page is None else _filling(table.columns, grown, page, most)
        yield piece, widths
        piece, following = following, _next_rows(rows)


def _next_rows(rows: Iterator[Sequence[str]]) -> list[Sequence[str]]:
    """The next rows, as many as may be kept."""
    found: list[Sequence[str]] = []
    room = _ROOM
    while len(found) < _ROWS and room > 0 and (row := next(rows, None)) is not None:
        found.append(row)
        room -= sum(map(len, row))
    return found


def _filling(columns: Sequence[Column], widths: Sequence[int], page: int, most: int | None) -> list[int]:
    filling = [
        min(width, most) if most and (column.fold or column is columns[-1]) else width
        for column, width in zip(columns, widths, strict=True)
    ]
    cut = [place for place, column in enumerate(columns) if column.cut] or [len(columns) - 1]
    room = page - len(_GAP) * (len(columns) - 1) - sum(filling) + sum(filling[place] for place in cut)
    for place in cut:
        filling[place] = max(_LEAST, room // len(cut))
    return filling


def headings(table: Table) -> list[str]:
    """The titles of a table's columns, as they are shown."""
    return [column.title.upper() for column in table.columns]


def column_widths(
    columns: Sequence[Column], rows: Sequence[Sequence[str]], page: int | None, most: int | None = None
) -> list[int]:
    """How wide each column is; those that may be cut share what the others leave of the page.

    Args:
        columns: The columns.
        rows: Every row, headings too.
        page: The width to share; None leaves everything whole.
        most: How wide a column that may be folded is taken to be.
    """
    widths = [
        max((cell_width(line) for row in rows for line in row[place].splitlines()), default=0)
        for place in range(len(columns))
    ]
    if page is None:
        return widths
    room = page - len(_GAP) * (len(columns) - 1)
    cut = []
    for place, (width, column) in enumerate(zip(widths, columns, strict=True)):
        if column.cut:
            cut.append((width, place))
        else:
            folds = column.fold or place == len(columns) - 1
            room -= min(width, most) if folds and most else width
    for left, (width, place) in zip(range(len(cut), 0, -1), sorted(cut), strict=True):
        widths[place] = min(width, max(_LEAST, room // left))
        room -= widths[place]
    return widths


def _row(columns: Sequence[Column], row: Sequence[str], widths: Sequence[int], *, cut: bool) -> Iterator[str]:
    first = []
    for column, cell, width in zip(columns, row, widths, strict=True):
        text = shortened(cell, width) if column.cut and cut else next(iter(cell.splitlines()), "")
        space = " " * max(0, width - cell_width(text))
        first.append(space + text if column.right else text + space)
    yield _GAP.join(first)
    before = " " * (sum(widths[:-1]) + len(_GAP) * (len(widths) - 1))
    yield from (before + line for line in row[-1].splitlines()[1:])


def cell_width(text: str) -> int:
    """Columns that a text takes on a terminal."""
    if text.isascii():
        return len(text)
    import unicodedata  # rarely needed, and large

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
