"""Drawing a document again and again: on the terminal's alternate screen, or in a pipe whenever it has changed."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence

from zrb_store.cli.render.document import Block
from zrb_store.cli.render.output import echo, print_document
from zrb_store.cli.render.stdout import on_terminal

Draw = Callable[[Sequence[Block], bool], None]
"""Draws a document in place of the one before; the second argument is the `full` of `print_document`."""


@contextlib.contextmanager
def display() -> Iterator[Draw]:
    """Yield a function that draws. Ctrl-C leaves the block, and leaving it restores the terminal."""
    with _on_screen() if on_terminal() else _in_pipe() as draw, contextlib.suppress(KeyboardInterrupt):
        yield draw


@contextlib.contextmanager
def _on_screen() -> Iterator[Draw]:
    from rich.live import Live  # late: rich takes long to import

    from zrb_store.cli.render.terminal import console, renderable

    with Live(console=console(), screen=True, auto_refresh=False) as live:
        yield lambda blocks, full: live.update(renderable(blocks, full=full), refresh=True)


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
