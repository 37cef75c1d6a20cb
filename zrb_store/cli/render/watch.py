"""Drawing a document again and again: on the terminal's alternate screen, or in a pipe whenever it has changed."""

from __future__ import annotations

import contextlib
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence

from zrb_store.cli.render.document import Block
from zrb_store.cli.render.format import counted
from zrb_store.cli.render.output import echo, print_document
from zrb_store.cli.render.stdout import on_terminal
from zrb_store.cli.render.width import shorten

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

    from zrb_store.cli.render.terminal import console, styled_lines

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
