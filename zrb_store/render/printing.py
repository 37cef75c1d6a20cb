"""Printing to stdout or to a file: documents, lines, JSON, bare values and bytes; and documents again and again.

A closed pipe ends the command without an error: its reader has seen enough.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import click

from zrb_store.db.location import refuse_database
from zrb_store.db.rows import Damage, leaving_out
from zrb_store.errors import ZrbStoreError
from zrb_store.masking import printable
from zrb_store.records import JsonTree, JsonValue
from zrb_store.render.document import STYLES, Block, Line, laid_out, on_terminal, shorten
from zrb_store.render.format import counted, pieces, program_name, shell_text, single_text
from zrb_store.render.readable import readable
from zrb_store.render.stderr import print_line
from zrb_store.render.terminal import BEGIN_SCREEN, END_SCREEN, is_dumb, painted, redrawn


def print_document(blocks: Iterable[Block], *, full: bool = False) -> None:
    """Print a document line by line while it is read. With `full`, long cells are left whole."""
    print_lines(laid_out(blocks, fits=on_terminal(), full=full))


def print_lines(lines: Iterable[Line]) -> None:
    """Print lines that are laid out, with colours on a terminal."""
    in_colour = on_terminal()
    for line in lines:
        _write(_encodable(painted(line) if in_colour else "".join(text for text, _ in line)))


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
    """
    refuse_inexpressible(tree)
    text = single_text(tree) if on_terminal() else shell_text(tree)
    echo_raw(readable(tree) if text is None else text)


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


def echo_records(records: Iterable[JsonTree], output_format: str) -> None:
    """Print records as JSON, while they are read: as one list, or with `jsonl` as one line each."""
    if output_format == "json":
        echo_json(records)
        return
    for record in records:
        echo_json(record, one_line=True)


def write_bytes(content: bytes) -> None:
    """Write bytes to stdout, and nothing else."""
    with _handle_write_errors():
        sys.stdout.flush()
        sys.stdout.buffer.write(content)


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Callable[[bytes], object]]:
    """Yield a function that writes bytes to a file of mode 0600. Until all is written, an old file stays as it was.

    A database is never replaced.
    """
    refuse_database(path)
    try:
        if path.exists() and not path.is_file():  # such as /dev/stdout
            with path.open("wb") as there:
                yield there.write
            return
        target = path.resolve()
        part = target.with_name(f".{target.name[:200]}.{os.getpid()}.part")
        try:
            # Only its user may read it, as the store's own file.
            with open(part, "xb", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
                yield file.write
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise ZrbStoreError(f"{path} cannot be written: {error.strerror}") from None


def flush() -> None:
    """Write what stdout still holds back."""
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


_SLICE = 1024 * 1024  # characters


def slices(text: str) -> Iterator[str]:
    """Yield the parts of a text one after the other."""
    return (text[start : start + _SLICE] for start in range(0, len(text), _SLICE))


@contextlib.contextmanager
def noting_damage(*verdict: str) -> Iterator[Damage]:
    """Leave out damaged rows, and name them in one line after everything else."""
    with leaving_out(*verdict) as damage:
        yield damage
    if damage:
        print_line(str(damage), program_name())


def _first_followed(lines: Sequence[Line], shown: int) -> int:
    """Return which line comes first, so that the last thing that runs is among so many lines."""
    is_running = [any(style.startswith(STYLES["running"]) for _, style in line) for line in lines]
    last = max((place for place, runs in enumerate(is_running) if runs), default=0)
    return max(0, min(last + 1 + shown // 4 - shown, len(lines) - shown))


@contextlib.contextmanager
def display() -> Iterator[Callable[[list[Line]], None]]:
    """Yield a function that draws lines in place of those before. Ctrl-C leaves the block. The last lines stay."""
    redraws = on_terminal() and not is_dumb()
    drawn: list[Line] | None = None

    def draw(lines: list[Line]) -> None:
        nonlocal drawn
        if redraws:
            _write(redrawn([_encodable(painted(line)) for line in _part_that_fits(lines)]), end="")
        elif lines != drawn:
            print_lines(lines if drawn is None else [[], *lines])
        drawn = lines
        flush()

    with contextlib.ExitStack() as ending:
        if redraws:
            _write(BEGIN_SCREEN, end="")
            ending.callback(_write, END_SCREEN, end="")
        with contextlib.suppress(KeyboardInterrupt):
            yield draw
    if redraws and drawn is not None:
        print_lines(drawn)


def _part_that_fits(lines: list[Line]) -> list[Line]:
    """Return as many lines as the terminal is high. If these are not all, the last one says how many are cut off."""
    columns, height = shutil.get_terminal_size()
    if len(lines) <= height:
        return lines
    shown = max(1, height - 1)
    first = _first_followed(lines, shown)
    above, below = counted(first, "more line"), len(lines) - first - shown
    note = f"{above} above, {below} below" if first else f"{counted(below, 'more line')} below"
    note = shorten(f"{note}: enlarge the terminal, or press Ctrl-C to end and print all", columns)
    return [*lines[first : first + shown], [(note, "reverse")]]
