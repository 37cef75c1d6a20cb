"""Printing to stdout or to a file: documents, lines, JSON, bare values and bytes; and documents again and again.

A closed pipe ends the command without an error: its reader has seen enough.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import click

from zrb_store.errors import ZrbStoreError
from zrb_store.masking import printable
from zrb_store.records import Damage, JsonTree, JsonValue
from zrb_store.render.document import Block, Chart, Column, Fields, Lines, Table, on_terminal, page_width
from zrb_store.render.format import as_json, counted, dumps, pieces, print_line, program_name, single_text
from zrb_store.render.readable import readable
from zrb_store.render.table import GAP, Row, display_width, measured_chunks, shorten


def print_document(blocks: Iterable[Block], *, full: bool = False) -> None:
    """Print a document block by block: with rich on a terminal, elsewhere as plain text without escape sequences.

    Args:
        full: Whether long cells are left whole.
    """
    if on_terminal():
        from zrb_store.render.terminal import print_blocks  # late: rich takes long to import

        print_blocks(blocks, full=full)
        return
    for line in plain_lines(blocks, None if full else page_width()):
        echo(line)


def echo(text: str) -> None:
    """Print a line for people. What cannot be printed is replaced by its escape."""
    _write(_encodable(printable(text)))


def echo_raw(text: str) -> None:
    """Print a text as a shell needs it: unchanged, except for control characters that a terminal would obey."""
    for part in slices(text):
        _write(_encodable(printable(part, keep="\n\t") if on_terminal() else part), end="")
    _write("")


def echo_value(tree: JsonValue) -> None:
    """Print a value, as `codec.to_json` returns it, and nothing else.

    A text is printed as it is. Anything else is JSON for a program, and on a terminal as a person reads it.

    Raises:
        ZrbStoreError: It is a text for a program that stdout cannot express.
    """
    refuse_inexpressible(tree)
    text = single_text(tree)
    if text is None:
        text = readable(tree) if on_terminal() else dumps(as_json(tree))
    echo_raw(text)


def refuse_inexpressible(tree: JsonValue) -> None:
    """Raise an error if a value is a text for a program that stdout cannot express: escapes would change it."""
    text = None if on_terminal() else single_text(tree)
    encoding = sys.stdout.encoding or "ascii"
    try:
        for part in slices(text or ""):
            part.encode(encoding)
    except UnicodeEncodeError as error:
        char = error.object[error.start]
        setting = "" if "\ud800" <= char <= "\udfff" else ", or set PYTHONIOENCODING=utf-8"
        raise ZrbStoreError(
            f"stdout is {encoding}, which cannot express {char!a}: use --format json{setting}"
        ) from None


def echo_json(tree: JsonTree, *, one_line: bool = False) -> None:
    """Print JSON, indented or compactly on one line. Lazy lists in it are printed while they are read."""
    for piece in pieces(tree, compact=one_line):
        _write(piece, end="")
    _write("")


def write_bytes(content: bytes) -> None:
    """Write bytes to stdout, and nothing else."""
    with _handle_write_errors():
        sys.stdout.flush()
        sys.stdout.buffer.write(content)


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Callable[[bytes], object]]:
    """Yield a function that writes bytes to a file of mode 0600. Until all is written, an old file stays as it was.

    Raises:
        ZrbStoreError: The file cannot be written.
    """
    if path.exists() and not path.is_file():  # such as /dev/stdout
        with _naming(path), path.open("wb") as there:
            yield there.write
        return
    with _naming(path), contextlib.ExitStack() as stack:
        target = path.resolve()
        part = target.with_name(f".{target.name[:200]}.{os.getpid()}.part")
        stack.callback(part.unlink, missing_ok=True)
        # Only its user may read it, as the store's own file.
        with open(part, "xb", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
            yield file.write
        part.replace(target)


@contextlib.contextmanager
def _naming(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ZrbStoreError(f"{path} cannot be written: {error.strerror}") from None


def flush() -> None:
    """Write what stdout still holds back.

    Raises:
        ZrbStoreError: The output cannot be written.
    """
    with _handle_write_errors():
        sys.stdout.flush()


def _encodable(text: str) -> str:
    """Escape what stdout cannot encode. In the C locale Python would write stray bytes instead."""
    if text.isascii():
        return text
    encoding = sys.stdout.encoding or "ascii"
    return text.encode(encoding, "backslashreplace").decode(encoding)


def _write(text: str, end: str = "\n") -> None:
    with _handle_write_errors():
        print(text, end=end)


@contextlib.contextmanager
def _handle_write_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        # What is left goes to the null device, or Python complains at exit about what it could not write.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            raise click.exceptions.Exit(0) from None  # click itself would end with exit code 1
        raise ZrbStoreError(f"the output cannot be written: {error.strerror}") from None


def plain_lines(blocks: Iterable[Block], width: int | None) -> Iterator[str]:
    """Yield the lines of a document, with an empty one between its blocks.

    Args:
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
            from zrb_store.render.chart import draw  # late: few documents have one

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


_SLICE = 1024 * 1024  # characters


def slices(text: str) -> Iterator[str]:
    """Yield the parts of a text one after the other."""
    return (text[start : start + _SLICE] for start in range(0, len(text), _SLICE))


@contextlib.contextmanager
def noting_damage(what: str = "damaged") -> Iterator[Damage]:
    """Collect the rows that cannot be read, and name them in one line, which begins so, after everything else."""
    damage = Damage(what)
    yield damage
    if damage:
        print_line(str(damage), program_name())


_INTERVAL = 1.0  # seconds

Draw = Callable[[Sequence[Block], bool], None]
"""Draws a document in place of the one before; the second argument is the `full` of `print_document`."""


@contextlib.contextmanager
def display() -> Iterator[Draw]:
    """Yield a function that draws. Ctrl-C leaves the block, and leaving it restores the terminal."""
    with _on_screen() if on_terminal() else _in_pipe() as draw, contextlib.suppress(KeyboardInterrupt):
        yield draw


def pause() -> None:
    """Wait until the next drawing is due."""
    time.sleep(_INTERVAL)


@contextlib.contextmanager
def _on_screen() -> Iterator[Draw]:
    from rich.live import Live  # late: rich takes long to import
    from rich.text import Text

    from zrb_store.render.terminal import console, styled_lines

    with Live(console=console(), screen=True, auto_refresh=False) as live:

        def draw(blocks: Sequence[Block], full: bool) -> None:
            columns, height = shutil.get_terminal_size()
            lines = list(styled_lines(blocks, full=full))
            if hidden := len(lines) - max(1, height - 1) if len(lines) > height else 0:
                note = f"{counted(hidden, 'more line')} below: make the terminal higher; Ctrl-C ends and prints all"
                lines[len(lines) - hidden :] = [Text(shorten(note, columns), "reverse")]
            live.update(Text("\n", no_wrap=True, overflow="crop").join(lines), refresh=True)

        yield draw


@contextlib.contextmanager
def _in_pipe() -> Iterator[Draw]:
    drawn: Sequence[Block] | None = None

    def draw(blocks: Sequence[Block], full: bool) -> None:
        nonlocal drawn
        if drawn == blocks:
            return
        if drawn is not None:
            echo("")
        drawn = blocks
        print_document(blocks, full=full)
        sys.stdout.flush()

    yield draw
