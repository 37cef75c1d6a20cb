"""The layout of tables: how wide texts are, which columns a page has room for, and the chunks of a long table."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from zrb_store.render.document import Column, Table

_LAST_MARK = re.compile(r".*[-/_.,:](?=.)")  # after which a long word is broken
_JAMO = range(0x1160, 0x1200)  # vowels and final consonants, which are drawn into the syllable before them


def display_width(text: str) -> int:
    """Return how many columns a text takes on a terminal."""
    return len(text) if text.isascii() else sum(map(_char_width, text))


def _char_width(char: str) -> int:
    if char.isascii():
        return 1
    import unicodedata  # late: large, and rarely needed

    if unicodedata.category(char) in ("Mn", "Me", "Cf") or ord(char) in _JAMO:  # Cf: a joiner
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def shorten(text: str, width: int) -> str:
    """Cut a text to `width` columns, ending in `...` if anything was cut off."""
    if display_width(text) <= width:
        return text
    return f"{_beginning(text, max(0, width - 3))}..."


def _beginning(text: str, width: int) -> str:
    """Return as much of the beginning of a text as fits in `width` columns, with all marks on its last character."""
    if text[: width + 1].isascii():
        return text[:width]
    room = width
    for place, char in enumerate(text):
        room -= _char_width(char)
        if room < 0:
            return text[:place]
    return text


def wrap(text: str, width: int) -> Iterator[str]:
    """Yield the lines of a text that is wrapped at spaces. Only a word that is wider than a line is broken itself.

    The first line keeps the spaces before it.
    """
    width = max(2, width)  # the widest character takes two columns
    while display_width(text) > width:
        line = _beginning(text, width)
        if text[len(line)] != " ":
            words = len(line) - len(line.lstrip(" "))
            if " " in line[words:]:
                line = line[: line.rindex(" ")]
            elif mark := _LAST_MARK.search(line, words):
                line = line[: mark.end()]
        yield line.rstrip(" ")
        text = text[len(line) :].lstrip(" ")
    yield text


def longest_word(text: str) -> int:
    """Return the width of the widest word of a text."""
    return max(map(display_width, text.split()), default=0)


GAP = "  "
LEAST_CUT_WIDTH = 16  # what a cell that is cut keeps in a pipe, however narrow the page
_LEAST_CUT_WIDTH = 24  # the same on a terminal, where other columns leave for it
_LEAST_FOLD_WIDTH = 12  # what a column that may be wrapped keeps
_MOST_FOLD_WIDTH = 20  # such a column has room for a word of this width
_LEAST_LAST_WIDTH = 24  # what the last column, which has the longest texts, keeps
_NARROWEST = 8  # what columns keep where even these widths have no room
_MOST_FOR_NAMES = 60  # percent of the page that the first column may take from the others

Row = Sequence[str]


@dataclass(frozen=True)
class Fit:
    """The columns that a page has room for, by their places, and how wide each of them is."""

    places: list[int]
    widths: list[int]


def fit(columns: Sequence[Column], rows: Sequence[Row], width: int, *, like: Fit | None, fill: bool) -> Fit:
    """Fit rows to a terminal.

    Columns leave in their fixed order until the others have room. A cell of the first column does not count, and gets a
    line of its own, if it cannot stand beside the columns that never leave, or takes more than most of the page.

    Args:
        rows: The rows, the headings first.
        width: The width of the page.
        like: How the rows before these were fitted, if there were any: the same columns are shown, none narrower
            unless it must be.
        fill: Whether columns that may be cut take all that is left, since more rows follow.
    """
    needed = _widths(columns, rows)
    least = [_least(columns, place, rows, needed[place]) for place in _of(columns)]
    if not _is_elastic(columns, 0) and not columns[0].words:
        needed[0] = least[0] = _first_width(columns, rows, needed, least, width)
    places = list(_of(columns)) if like is None else like.places
    if like is not None:
        for place, before in zip(places, like.widths, strict=True):
            needed[place] = max(needed[place], before)
            if not _is_elastic(columns, place):
                least[place] = needed[place]
    while like is None and _total(least, places) > width and (leaving := _next_to_leave(columns, places)) is not None:
        places.remove(leaving)
    for place in places:
        if columns[place].words and _total(least, places) - least[place] + needed[place] <= width:
            least[place] = needed[place]
    elastic = [place for place in places if _is_elastic(columns, place)]
    if fill:
        for place in [place for place in places if columns[place].cut] or places[-1:]:
            needed[place] = width
    room = width - _total(least, places) + sum(least[place] for place in elastic)
    level = next(level for level in range(width, -1, -1) if level <= _NARROWEST or _sum(level, least, elastic) <= room)
    least = [min(size, level) if place in elastic else size for place, size in enumerate(least)]
    level = max(level for level in range(width + 1) if not level or _sum(level, needed, elastic, least) <= room)
    widths = {place: max(least[place], min(level, needed[place])) for place in elastic}
    spare = room - sum(widths.values())
    for place in elastic:  # fewer columns are left than there are cells that need one
        more = min(max(spare, 0), 1) if widths[place] < needed[place] else 0
        widths[place] += more
        spare -= more
    return Fit(places, [widths.get(place, least[place]) for place in places])


def _sum(level: int, sizes: Sequence[int], places: Sequence[int], least: Sequence[int] | None = None) -> int:
    """Return how wide columns are together if each is at most `level` wide, but at least so wide as it must be."""
    return sum(max(least[place] if least else 0, min(level, sizes[place])) for place in places)


def _of(columns: Sequence[Column]) -> range:
    return range(len(columns))


def _is_elastic(columns: Sequence[Column], place: int) -> bool:
    return columns[place].cut or columns[place].fold or place == len(columns) - 1


def _least(columns: Sequence[Column], place: int, rows: Sequence[Row], needed: int) -> int:
    """Return how narrow a column may become."""
    column = columns[place]
    if not _is_elastic(columns, place) and not column.words:
        return needed
    if column.cut:
        least = _LEAST_CUT_WIDTH
    elif place == len(columns) - 1:
        least = _LEAST_LAST_WIDTH
    else:
        word = max(longest_word(row[place]) for row in rows)
        least = word if column.words else min(_MOST_FOLD_WIDTH, max(_LEAST_FOLD_WIDTH, word))
    return min(needed, max(least, len(column.title)))


def _first_width(
    columns: Sequence[Column], rows: Sequence[Row], needed: Sequence[int], least: Sequence[int], width: int
) -> int:
    """Return the width of the first column: that of its widest cell which does not get a line of its own."""
    if _total(needed, _of(columns)) <= width:
        return needed[0]
    staying = [place for place in _of(columns) if place == 0 or not columns[place].leaves]
    room = min(width * _MOST_FOR_NAMES // 100, width - _total(least, staying) + least[0])
    cells = [display_width(row[0]) for row in rows]
    return max([len(columns[0].title), *(cell for cell in cells if cell <= room)])


def _total(widths: Sequence[int], places: Sequence[int]) -> int:
    return sum(widths[place] for place in places) + len(GAP) * (len(places) - 1)


def _next_to_leave(columns: Sequence[Column], places: Sequence[int]) -> int | None:
    return min(
        (place for place in places if columns[place].leaves), key=lambda place: columns[place].leaves, default=None
    )


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


def _widths(columns: Sequence[Column], rows: Sequence[Row]) -> list[int]:
    """Return how wide the cells of each column are."""
    return [
        max((display_width(line) for row in rows for line in row[place].splitlines()), default=0)
        for place in _of(columns)
    ]


def _column_widths(columns: Sequence[Column], rows: Sequence[Row], width: int | None) -> list[int]:
    widths = _widths(columns, rows)
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
