"""Documents: blocks of tables, fields, lines and drawings, and their layout as lines on a page.

Stored text becomes printable when it is laid out. A long table is laid out in chunks: the first rows do not wait
for the last; its columns may grow from one chunk to the next.
"""

from __future__ import annotations

import itertools
import math
import re
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from zrb_store.masking import printable

Line: TypeAlias = list[tuple[str, str]]
"""A line in parts: text, and its style on a terminal (words such as `bold red`), or nothing."""


@dataclass(frozen=True)
class Column:
    """A column of a table.

    On a terminal a table fits the page: columns are cut or wrapped where they may be, others leave. In a pipe every
    column is printed, and only those that may be cut are.
    """

    title: str
    cut: bool = False  # its cells are cut to fit the page; those of other columns never are
    fold: bool = False  # its cells may be wrapped on a narrow terminal; those of the last column always may
    words: bool = False  # its cells may be wrapped there, but only between words
    status: bool = False  # its cells are statuses, which are coloured on a terminal
    right: bool = False  # its cells are aligned to the right
    least: int = 24  # how narrow its cells are cut where other columns can leave for them
    optional: bool = False  # it is left out on a terminal where it is empty
    leaves: int = 0  # when it leaves a terminal that is too narrow for all: 1 is the first to leave, 0 never does
    late: bool = False  # it leaves only after long names have got lines of their own, and others were cut short


class Faded(list[str]):
    """A row that is drawn dim on a terminal, since what it tells of was tried again."""


@dataclass(frozen=True)
class Table:
    """Rows of cells, which may be read while they are printed. A cell of the last column may have several lines.

    A cell of the first column, unless that may be folded, is never wrapped on a terminal if it fits the page: where it
    is too long to stand beside the others, it gets a line of its own.
    """

    columns: Sequence[Column]
    rows: Iterable[Sequence[str]]
    title: str = ""
    note: str = ""  # between title and headings
    otherwise: str | None = None  # what stands in its place if it has no rows; nothing, if that is empty


@dataclass(frozen=True)
class Fields:
    """Labelled texts, one on each line."""

    pairs: Sequence[tuple[str, str]]
    status: str = "Status"  # the label of a status, which is coloured on a terminal
    label_width: int = 0  # columns that the labels have at least
    title: str = ""


@dataclass(frozen=True)
class Lines:
    """Text, line by line."""

    lines: Sequence[str]
    title: str = ""


@dataclass(frozen=True)
class Drawing:
    """Lines that a function draws in a number of columns."""

    draw: Callable[[int], Iterable[Line]]
    title: str


Block = Table | Fields | Lines | Drawing


def on_terminal() -> bool:
    """Whether stdout is a terminal, where a person reads what is printed."""
    return sys.stdout.isatty()


def page_width() -> int:
    """Return the width of the terminal in columns; in a pipe 80, or COLUMNS."""
    return shutil.get_terminal_size((80, 24)).columns


STYLES = {
    "completed": "green",
    "running": "cyan",
    "failed": "bold red",
    "interrupted": "yellow",
    "waiting": "magenta",
    "stale": "bold yellow",
    "lost": "bold yellow",
    "live": "green",
    "retracted": "yellow",
    "dead": "bold red",
}
DIM = "dim"  # labels, headings and axes
_TITLE_STYLE = "bold"
_LAST_MARK = re.compile(r".*[-/_.,:](?=.)")  # after which a long word is broken
_JAMO = range(0x1160, 0x1200)  # vowels and final consonants, which are drawn into the syllable before them


def display_width(text: str) -> int:
    """Return how many columns a text takes on a terminal."""
    return len(text) if text.isascii() else sum(map(_char_width, text))


def _char_width(char: str) -> int:
    if char.isascii():
        return 1
    import unicodedata

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


def wrap(text: str, width: float) -> Iterator[str]:
    """Yield the lines of a text that is wrapped at spaces. Only a word that is wider than a line is broken itself.

    The first line keeps the spaces before it.
    """
    width = max(2, width)  # the widest character takes two columns
    while display_width(text) > width:
        line = _beginning(text, int(width))
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
    return max(map(display_width, text.split()), default=0)


GAP = "  "
_LEAST_CUT_WIDTH = 16  # what a cell that is cut keeps in a pipe, and beside columns that leave late
_LEAST_FOLD_WIDTH = 12  # what a column that may be wrapped keeps
_MOST_FOLD_WIDTH = 20  # such a column has room for a word of this width
_LEAST_LAST_WIDTH = 24  # what the last column, which has the longest texts, keeps
_NARROWEST = 8  # what columns keep where even these widths have no room
_MOST_FOR_NAMES = 60  # percent of the page that the first column may take from the others

Cells = Sequence[str]


class Fit(NamedTuple):
    """The columns that a page has room for, by their places, and how wide each of them is."""

    places: list[int]
    widths: list[int]


@dataclass(eq=False)
class _Width:
    """How wide a column may be: an elastic one may be narrower than it needs, since its cells are cut or wrapped."""

    place: int
    column: Column
    is_elastic: bool
    needed: int  # that of its widest cell
    least: int

    def at(self, level: int) -> int:
        """Return how wide the column is where all have `level` columns at most."""
        return max(self.least, min(level, self.needed)) if self.is_elastic else self.least


def fit(columns: Sequence[Column], rows: Sequence[Cells], width: int, *, like: Fit | None, fill: bool) -> Fit:
    """Fit rows, the headings first, to a terminal.

    Columns are hidden in a fixed order until the others have room. A cell of the first column does not count, and gets
    a line of its own, if it does not fit beside the columns that are hidden late or never, or takes more than most of
    the page.

    `like` is how the rows before these were fitted: the same columns are shown, none narrower unless it must be. With
    `fill`, columns that may be cut take all that is left, since more rows follow.
    """
    sizes = _sizes(columns, rows, width)
    if like is None:
        _let_leave(sizes, width)
    else:
        sizes = [sizes[place] for place in like.places]
        for size, before in zip(sizes, like.widths, strict=True):
            size.needed = max(size.needed, before)
            size.least = size.least if size.is_elastic else size.needed
    for size in sizes:
        if size.column.words and _total(each.least for each in sizes) - size.least + size.needed <= width:
            size.least = size.needed
    if fill:
        for size in [size for size in sizes if size.column.cut] or sizes[-1:]:
            size.needed = width
    return Fit([size.place for size in sizes], _shared(sizes, width))


def _sizes(columns: Sequence[Column], rows: Sequence[Cells], width: int) -> list[_Width]:
    sizes = []
    for place, (column, needed) in enumerate(zip(columns, _widths(columns, rows), strict=True)):
        is_last = place == len(columns) - 1
        least = _least(column, place, rows, needed, is_last=is_last)
        sizes.append(_Width(place, column, column.cut or column.fold or is_last, needed, least))
    first = sizes[0]
    if not first.is_elastic and not first.column.words:
        first.needed = first.least = _first_width(sizes, rows, width)
    return sizes


def _let_leave(sizes: list[_Width], width: int) -> None:
    """Remove columns until the others have room, or none is left that may leave."""
    for size in sorted(sizes, key=lambda size: size.column.leaves):
        if size.column.leaves and _total(_beside(each, size.column) for each in sizes) > width:
            sizes.remove(size)


def _beside(size: _Width, other: Column) -> int:
    """Return how narrow a column may become so that another one can stay."""
    return min(size.least, _LEAST_CUT_WIDTH) if size.column.cut and other.late else size.least


def _shared(sizes: Sequence[_Width], width: int) -> list[int]:
    """Return how wide columns are that share a page: none wider than it needs, and the elastic ones otherwise equal."""
    elastic = [size for size in sizes if size.is_elastic]
    room = width - _total(size.least for size in sizes) + sum(size.least for size in elastic)
    narrow = (
        level for level in range(width, _NARROWEST, -1) if sum(min(level, each.least) for each in elastic) <= room
    )
    most = next(narrow, min(width, _NARROWEST))
    for size in elastic:
        size.least = min(size.least, most)
    level = max(level for level in range(width + 1) if not level or sum(each.at(level) for each in elastic) <= room)
    spare = room - sum(size.at(level) for size in elastic)
    widths = []
    for size in sizes:  # fewer columns are left than there are cells that need one
        more = int(size.is_elastic and spare > 0 and size.at(level) < size.needed)
        widths.append(size.at(level) + more)
        spare -= more
    return widths


def _least(column: Column, place: int, rows: Sequence[Cells], needed: int, *, is_last: bool) -> int:
    """Return how narrow a column may become."""
    if column.cut:
        least = column.least
    elif is_last:
        least = _LEAST_LAST_WIDTH
    elif column.fold or column.words:
        word = max(longest_word(row[place]) for row in rows)
        least = word if column.words else min(_MOST_FOLD_WIDTH, max(_LEAST_FOLD_WIDTH, word))
    else:
        return needed
    return min(needed, max(least, len(column.title)))


def _first_width(sizes: Sequence[_Width], rows: Sequence[Cells], width: int) -> int:
    """Return the width of the first column: that of its widest cell which does not get a line of its own."""
    if _total(size.needed for size in sizes) <= width:
        return sizes[0].needed
    beside = [size for size in sizes[1:] if not size.column.leaves or size.column.late]
    late = sorted((size for size in beside if size.column.late), key=lambda size: size.column.leaves)
    while (room := _room_for_names(beside, width)) < _LEAST_FOLD_WIDTH and late:
        beside.remove(late.pop(0))
    cells = [display_width(row[0]) for row in rows]
    return max([len(sizes[0].column.title), *(cell for cell in cells if cell <= room)])


def _room_for_names(beside: Sequence[_Width], width: int) -> int:
    """Return what is left for the first column beside these."""
    least = _LEAST_CUT_WIDTH if any(size.column.late for size in beside) else Column.least
    narrow = _total(min(size.least, least) if size.column.cut else size.least for size in beside)
    return min(width * _MOST_FOR_NAMES // 100, width - narrow - len(GAP))


def _total(widths: Iterable[int]) -> int:
    """Return how wide a row is, with the gaps between its columns."""
    found = list(widths)
    return sum(found) + len(GAP) * (len(found) - 1)


_CHUNK_ROWS = 1000
_CHUNK_CHARACTERS = 4 * 1024 * 1024


def _chunks(table: Table) -> Iterator[tuple[list[Cells], bool]]:
    """Divide a table, its headings first, into chunks that fit in memory. Each comes with whether there are several."""
    rows = (_kept(row, [printable(cell, keep="\n") for cell in row]) for row in table.rows)
    chunk = [headings(table), *_read_chunk(rows)]
    following = _read_chunk(rows)
    is_long = bool(following)
    while chunk:
        yield chunk, is_long
        chunk, following = following, _read_chunk(rows)


def _kept(row: Cells, cells: list[str]) -> Cells:
    """Return new cells for a row, faded if the row was."""
    return Faded(cells) if isinstance(row, Faded) else cells


def _read_chunk(rows: Iterator[Cells]) -> list[Cells]:
    chunk: list[Cells] = []
    room = _CHUNK_CHARACTERS
    while len(chunk) < _CHUNK_ROWS and room > 0 and (row := next(rows, None)) is not None:
        chunk.append(row)
        room -= sum(map(len, row))
    return chunk


def headings(table: Table) -> list[str]:
    """Return the titles of a table's columns, as they are printed."""
    return [column.title.upper() for column in table.columns]


def _fit_pipe(
    columns: Sequence[Column], rows: Sequence[Cells], width: int | None, *, like: Fit | None, fill: bool
) -> Fit:
    """Fit rows to a pipe: all columns are shown, and only those that may be cut are narrowed. See `fit`."""
    widths, places = _widths(columns, rows), list(range(len(columns)))
    if like is not None:
        widths = [max(pair) for pair in zip(widths, like.widths, strict=True)]
    if width is None:
        return Fit(places, widths)
    cut = [place for place in places if columns[place].cut] or (places[-1:] if fill else [])
    room = width - _total(widths) + sum(widths[place] for place in cut)
    # The narrowest first: what it does not need is left to the others.
    for sharing, place in zip(range(len(cut), 0, -1), sorted(cut, key=widths.__getitem__), strict=True):
        share = max(_LEAST_CUT_WIDTH, room // sharing)
        widths[place] = share if fill else min(widths[place], share)
        room -= widths[place]
    return Fit(places, widths)


def _widths(columns: Sequence[Column], rows: Sequence[Cells]) -> list[int]:
    return [
        max((display_width(line) for row in rows for line in row[place].splitlines()), default=0)
        for place in range(len(columns))
    ]


def laid_out(blocks: Iterable[Block], *, fits: bool, full: bool = False) -> Iterator[Line]:
    """Yield the lines of a document, with an empty one between its blocks.

    If it `fits`, no line is wider than the page, which is a terminal; in a pipe only cells are cut. With `full`, none
    is.
    """
    page = page_width()
    width = page if fits else math.inf
    for number, block in enumerate(blocks):
        if number:
            yield []
        if block.title:
            yield from ([(text, _TITLE_STYLE)] for text in wrap(printable(block.title), width))
        if isinstance(block, Lines):
            yield from ([(line, "")] for text in block.lines for line in wrap(printable(text), width))
            continue
        indent = GAP if block.title and not fits else ""
        lines: Iterable[Line]
        if isinstance(block, Fields):
            lines = _fields(block, width)
        elif isinstance(block, Drawing):
            lines = block.draw(page - len(indent))
        else:
            lines = _table(block, page - len(indent), fits=fits, full=full)
        yield from (_rstripped([(indent, ""), *line]) for line in lines)


def _rstripped(line: Line) -> Line:
    while line and not line[-1][0].strip(" "):
        line.pop()
    return [*line[:-1], (line[-1][0].rstrip(" "), line[-1][1])] if line else line


def _fields(fields: Fields, width: float) -> Iterator[Line]:
    label_width = max([fields.label_width, *(display_width(label) for label, _ in fields.pairs)])
    room = width - label_width - len(GAP)
    for label, stored in fields.pairs:
        text = printable(stored)
        style = _status_style(text) if label == fields.status else ""
        beside = longest_word(text) <= room
        if not beside:  # below its label a long name may fit on one line
            yield [(label, DIM)]
        for number, line in enumerate(wrap(text, room if beside else width)):
            label_cell = label if beside and not number else ""
            margin = " " * (label_width - display_width(label_cell) + len(GAP)) if beside else ""
            yield [(label_cell, DIM), (margin, ""), (line, style)]


def _table(table: Table, page: int, *, fits: bool, full: bool) -> Iterator[Line]:
    text_width = page if fits else math.inf
    yield from _text(table.note, text_width)
    found: Fit | None = None
    kept = list(range(len(table.columns)))
    for rows, is_long in _chunks(table):
        is_first = found is None
        if is_first and len(rows) == 1 and table.otherwise is not None:
            yield from _text(table.otherwise, text_width)
            return
        if is_first and fits:
            kept = [place for place in kept if not table.columns[place].optional or any(row[place] for row in rows[1:])]
        columns = [table.columns[place] for place in kept]
        cells = [_kept(row, [row[place] for place in kept]) for row in rows]
        if fits:
            found = fit(columns, cells, page, like=found, fill=is_long)
        else:
            found = _fit_pipe(columns, cells, None if full else page, like=found, fill=is_long)
        lines = (_row(columns, row, found, page, fits=fits, full=full) for row in cells)
        if is_first:
            yield from ([(text, DIM) for text, _ in line] for line in next(lines))
        yield from itertools.chain.from_iterable(lines)


def _text(text: str, width: float) -> Iterator[Line]:
    if text:
        yield from ([(line, "")] for line in wrap(printable(text), width))


def _row(columns: Sequence[Column], row: Cells, found: Fit, page: int, *, fits: bool, full: bool) -> Iterator[Line]:
    """Yield the lines of a row: as many as its cells need side by side, after the first cell if that is too long."""
    cells = []
    for place, width in zip(found.places, found.widths, strict=True):
        column, cell = columns[place], row[place]
        is_name = place == 0 and not (column.fold or column.words or column.cut)
        if column.cut and not full:
            cells.append([shorten(cell, width)])
        elif not fits:
            cells.append(cell.splitlines() or [""])
        elif is_name and display_width(cell) > width:
            yield from ([(line, "")] for line in wrap(cell, page))
            cells.append([""])
        else:
            cells.append([line for text in cell.splitlines() or [""] for line in wrap(text, width)])
    styles = [_status_style(row[place]) if columns[place].status else "" for place in found.places]
    if isinstance(row, Faded):
        styles = [DIM] * len(styles)
    for lines in itertools.zip_longest(*cells, fillvalue=""):
        parts: Line = []
        for place, width, line, style in zip(found.places, found.widths, lines, styles, strict=True):
            padding = " " * (width - display_width(line))
            parts += [(padding, ""), (line, style)] if columns[place].right else [(line, style), (padding, "")]
            parts.append((GAP, ""))
        yield parts


def _status_style(text: str) -> str:
    return STYLES.get(text.replace(",", " ").split(" ", 1)[0], "")
