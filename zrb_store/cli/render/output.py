"""Printing to stdout: lines, JSON, text for `$(...)` and documents. A file can be written instead.

A closed pipe ends the command without an error: its reader has seen enough.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import click

from zrb_store.cli.render import json_stream
from zrb_store.cli.render.document import Block
from zrb_store.cli.render.format import as_json, single_text
from zrb_store.cli.render.plain import plain_lines
from zrb_store.cli.render.readable import readable
from zrb_store.cli.render.slices import slices
from zrb_store.cli.render.stdout import on_terminal, page_width
from zrb_store.errors import ZrbStoreError
from zrb_store.json_tree import JsonTree, JsonValue
from zrb_store.safe_text import printable


def print_document(blocks: Iterable[Block], *, full: bool = False) -> None:
    """Print a document block by block: with rich on a terminal, elsewhere as plain text without escape sequences.

    Args:
        blocks: The document.
        full: Whether long cells are left whole.
    """
    if on_terminal():
        from zrb_store.cli.render.terminal import print_blocks  # late: rich takes long to import

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
        text = readable(tree) if on_terminal() else json_stream.dumps_compact(as_json(tree))
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
    """Print JSON. Lazy lists and iterators in it are printed while they are read.

    Args:
        tree: Plain data.
        one_line: Whether to print it compactly on one line; otherwise it is indented.
    """
    dumps = json_stream.dumps_compact if one_line else json_stream.dumps_indented
    for piece in json_stream.pieces(tree, dumps, compact=one_line):
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
        with open(part, "xb", opener=_private) as file:
            yield file.write
        part.replace(target)


def _private(path: str, flags: int) -> int:
    """Open a new file that only its user may read, as the store's own file."""
    return os.open(path, flags, 0o600)


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
    except BrokenPipeError:
        _discard_rest()
        raise click.exceptions.Exit(0) from None  # click itself would end with exit code 1
    except OSError as error:
        _discard_rest()
        raise ZrbStoreError(f"the output cannot be written: {error.strerror}") from None


def _discard_rest() -> None:
    """Point stdout at the null device, so that Python does not complain at exit about what it could not write."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
