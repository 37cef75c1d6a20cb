"""Documents as plain aligned text, for pipes, files and mail."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from zrb_store.cli.render.bars import draw
from zrb_store.cli.render.document import Block, Chart, Column, Fields, Lines, Table
from zrb_store.cli.render.fit import GAP, Row
from zrb_store.cli.render.layout import measured_chunks
from zrb_store.cli.render.stdout import page_width
from zrb_store.cli.render.width import display_width, shorten


def plain_lines(blocks: Iterable[Block], width: int | None) -> Iterator[str]:
    """Yield the lines of a document, with an empty one between its blocks.

    Args:
        blocks: The document.
        width: The width to which long cells are cut; None leaves them whole.
    """
    for number, block in enumerate(blocks):
        if number:
            yield ""
        if isinstance(block, Fields):
            label_width = max((len(label) for label, _ in block.pairs), default=0)
            label_width = max(label_width, block.label_width)
            yield from (f"{label:{label_width}}{GAP}{text}".rstrip() for label, text in block.pairs)
            continue
        if block.title:
            yield block.title
        if isinstance(block, Chart):
            page = page_width() if width is None else width
            yield from ((GAP + "".join(text for text, _ in line)).rstrip() for line in draw(block, page - len(GAP)))
        else:
            yield from block.lines if isinstance(block, Lines) else _table_lines(block, width)


def _table_lines(table: Table, width: int | None) -> Iterator[str]:
    indent = GAP if table.title else ""
    if table.note:
        yield indent + table.note
    for rows, widths in measured_chunks(table, None if width is None else width - len(indent)):
        for row in rows:
            lines = _row_lines(table.columns, row, widths, cut=width is not None)
            yield from (f"{indent}{line}".rstrip() for line in lines)


def _row_lines(columns: Sequence[Column], row: Row, widths: Sequence[int], *, cut: bool) -> Iterator[str]:
    cells = []
    for column, cell, width in zip(columns, row, widths, strict=True):
        text = shorten(cell, width) if column.cut and cut else next(iter(cell.splitlines()), "")
        padding = " " * max(0, width - display_width(text))
        cells.append(padding + text if column.right else text + padding)
    yield GAP.join(cells)
    margin = " " * (sum(widths[:-1]) + len(GAP) * (len(widths) - 1))
    yield from (margin + line for line in row[-1].splitlines()[1:])
