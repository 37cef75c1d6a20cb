"""Drawing a document again and again: on the terminal's other screen, or in a pipe whenever it has changed."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence

from zrb_store.cli.output import Block, echo, on_terminal, show

Draw = Callable[[Sequence[Block], bool], None]


@contextlib.contextmanager
def screen() -> Iterator[Draw]:
    """What draws. Leaving it, also by Ctrl-C, gives the terminal back as it was."""
    with _terminal() if on_terminal() else _pipe() as draw, contextlib.suppress(KeyboardInterrupt):
        yield draw


@contextlib.contextmanager
def _terminal() -> Iterator[Draw]:
    from rich.live import Live

    from zrb_store.cli.terminal import console, renderable

    with Live(console=console(), screen=True, auto_refresh=False) as live:
        yield lambda blocks, full: live.update(renderable(blocks, full=full), refresh=True)


@contextlib.contextmanager
def _pipe() -> Iterator[Draw]:
    drawn: list[Sequence[Block]] = []

    def draw(blocks: Sequence[Block], full: bool) -> None:
        if drawn and drawn[-1] == blocks:
            return
        if drawn:
            echo("")
        drawn[:] = [blocks]
        show(blocks, full=full)
        sys.stdout.flush()

    yield draw
