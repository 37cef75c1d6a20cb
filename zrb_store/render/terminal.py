"""Documents on a terminal: lines that fit it, in colours that rich writes."""

from __future__ import annotations

import io
import itertools
import sys
from collections.abc import Iterable, Iterator, Sequence

from rich.console import Console
from rich.text import Text

from zrb_store.render.chart import AXIS, draw
from zrb_store.render.document import Block, Chart, Column, Fields, Lines, Table, page_width
from zrb_store.render.table import GAP, Fit, Row, chunks, display_width, fit, headings, longest_word, shorten, wrap

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
_TITLE_STYLE = "bold"


def print_blocks(blocks: Iterable[Block], *, full: bool = False) -> None:
    """Print a document part by part."""
    terminal = console()
    for line in styled_lines(blocks, full=full):
        terminal.print(line, soft_wrap=True)


def console() -> Console:
    """Return rich's console on stdout, which escapes what the terminal's encoding lacks."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    return Console(highlight=False)


def styled_lines(blocks: Iterable[Block], *, full: bool = False) -> Iterator[Text]:
    """Yield the lines of a document, none of them wider than the terminal.

    Args:
        full: Whether long cells are wrapped, not cut.
    """
    width = page_width()
    for number, block in enumerate(blocks):
        if number:
            yield Text()
        if isinstance(block, Fields):
            yield from _fields(block, width)
            continue
        if block.title:
            yield from (Text(text, _TITLE_STYLE) for text in wrap(block.title, width))
        if isinstance(block, Lines):
            yield from (Text(line) for text in block.lines for line in wrap(text, width))
        elif isinstance(block, Chart):
            for line in draw(block, width):
                yield Text.assemble(*((text, _bar_style(status)) for text, status in line))
        else:
            yield from _table(block, width, full=full)


def _fields(fields: Fields, width: int) -> Iterator[Text]:
    label_width = max([fields.label_width, *(display_width(label) for label, _ in fields.pairs)])
    room = width - label_width - len(GAP)
    for label, text in fields.pairs:
        style = _status_style(text) if label in fields.statuses else ""
        beside = longest_word(text) <= room
        if not beside:  # below its label a long name may fit on one line
            yield Text(label, _LABEL_STYLE)
        lines = list(wrap(text, room if beside else width))
        margin = " " * (label_width + len(GAP) if beside else 0)
        for number, line in enumerate(lines):
            if beside and not number:
                label_cell = label + " " * (label_width - display_width(label))
                yield Text.assemble((label_cell, _LABEL_STYLE), GAP, (line, style))
            else:
                yield Text.assemble(margin, (line, style))


def _table(table: Table, width: int, *, full: bool) -> Iterator[Text]:
    if table.note:
        yield from (Text(line) for line in wrap(table.note, width))
    found: Fit | None = None
    for rows, is_long in chunks(table):
        is_first = found is None
        found = fit(table.columns, rows, width, like=found, fill=is_long)
        if is_first:
            titles = _row(table.columns, headings(table), found, width, full=full)
            yield from (Text(text.plain, _LABEL_STYLE) for text in titles)
        for row in rows[is_first:]:
            yield from _row(table.columns, row, found, width, full=full)


def _row(columns: Sequence[Column], row: Row, found: Fit, width: int, *, full: bool) -> Iterator[Text]:
    """Yield the lines of a row: as many as its cells need side by side, after the first cell if that is too long."""
    cells = []
    for place, cell_width in zip(found.places, found.widths, strict=True):
        column, cell = columns[place], row[place]
        is_name = place == 0 and not (column.fold or column.words or column.cut)
        if is_name and display_width(cell) > cell_width:
            yield from (Text(line) for line in wrap(cell, width))
            cells.append([""])
        elif column.cut and not full:
            cells.append([shorten(cell, cell_width)])
        else:
            cells.append([line for text in cell.splitlines() or [""] for line in wrap(text, cell_width)])
    styles = [_status_style(row[place]) if columns[place].status else "" for place in found.places]
    for lines in itertools.zip_longest(*cells, fillvalue=""):
        parts: list[tuple[str, str]] = []
        for place, cell_width, line, style in zip(found.places, found.widths, lines, styles, strict=True):
            padding = " " * (cell_width - display_width(line))
            parts += [(padding, ""), (line, style)] if columns[place].right else [(line, style), (padding, "")]
            parts.append((GAP, ""))
        text = Text.assemble(*parts)
        text.rstrip()
        yield text


def _status_style(text: str) -> str:
    first_word = text.replace(",", " ").split(" ", 1)[0]
    return _STYLES.get(first_word, "")


def _bar_style(status: str) -> str:
    """Return the style of a part of a chart: a bar has the colour of its status as background."""
    if status == AXIS:
        return _LABEL_STYLE
    return f"{_STYLES[status]} reverse" if status in _STYLES else ""
