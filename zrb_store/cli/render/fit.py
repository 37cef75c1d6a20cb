"""Fit a table to a terminal: which columns are shown, and how wide they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from zrb_store.cli.render.document import Column
from zrb_store.cli.render.width import display_width, longest_word

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
    """The columns that a page has room for.

    Attributes:
        places: Which columns are shown.
        widths: How wide each of them is.
    """

    places: list[int]
    widths: list[int]


def fit(columns: Sequence[Column], rows: Sequence[Row], width: int, *, like: Fit | None, fill: bool) -> Fit:
    """Fit rows to a terminal.

    Columns leave in their fixed order until the others have room. A cell of the first column does not count, and gets a
    line of its own, if it cannot stand beside the columns that never leave, or takes more than most of the page.

    Args:
        columns: The columns.
        rows: The rows, the headings first.
        width: The width of the page.
        like: How the rows before these were fitted, if there were any: the same columns are shown, none narrower
            unless it must be.
        fill: Whether columns that may be cut take all that is left, since more rows follow.
    """
    needed = [
        max(display_width(line) for row in rows for line in row[place].splitlines() or [""]) for place in _of(columns)
    ]
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
