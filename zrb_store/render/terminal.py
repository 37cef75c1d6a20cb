"""What only a terminal gets: colours, a screen that is drawn again and again, and a line of progress on stderr."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence

from zrb_store.render.document import Line

_CODES = {"bold": 1, "dim": 2, "reverse": 7, "red": 31, "green": 32, "yellow": 33, "magenta": 35, "cyan": 36}


def is_dumb() -> bool:
    """Whether the terminal obeys no escape sequences."""
    return os.environ.get("TERM") in ("dumb", "unknown")


def painted(line: Line) -> str:
    """Return the text of a line with its colours, unless the user or the terminal wants none."""
    if os.environ.get("NO_COLOR") or is_dumb():
        return "".join(text for text, _ in line)
    return "".join(_styled(text, style) if text and style else text for text, style in line)


def _styled(text: str, style: str) -> str:
    codes = ";".join(str(_CODES[word]) for word in style.split())
    return f"\x1b[{codes}m{text}\x1b[0m"


# The other screen of a terminal, without a cursor, on which lines are cut off instead of wrapped.
BEGIN_SCREEN = "\x1b[?1049h\x1b[?25l\x1b[?7l"
END_SCREEN = "\x1b[?7h\x1b[?25h\x1b[?1049l"


def redrawn(lines: Sequence[str]) -> str:
    """Return what replaces the content of that screen by lines for which it has room."""
    # All is erased before the last line is written: the cursor would stay on the last character of a full one.
    *before, last = lines or [""]
    return "\x1b[H" + "".join(f"\x1b[2K{line}\n" for line in before) + f"\x1b[J{last}"


_PATIENCE = 2.0  # seconds that something takes before its progress is shown


@contextlib.contextmanager
def progress(what: str) -> Iterator[Callable[[int, int], None]]:
    """Say on stderr, if that is a terminal, how far a block is that takes long.

    Yield a function that says how many things are done, of how many. Until then only the time is shown.
    """
    done, total, began = 0, 0, time.monotonic()
    ended = threading.Event()

    def report(count: int, of: int) -> None:
        nonlocal done, total
        done, total = count, of

    def show() -> None:
        is_shown, pause = False, _PATIENCE
        while not ended.wait(pause):
            share = f"{done * 100 // total}% ({done:,} of {total:,}), " if total else ""
            # The cursor goes back to the beginning, where a message of another thread replaces the line.
            _write(f"\r\x1b[K{what}: {share}{time.monotonic() - began:.0f} s\r")
            is_shown, pause = True, 0.2
        if is_shown:
            _write("\x1b[K")

    thread = threading.Thread(target=show, daemon=True)
    if sys.stderr.isatty() and not is_dumb():
        thread.start()
    try:
        yield report
    finally:
        ended.set()
        if thread.is_alive():
            thread.join()


def _write(text: str) -> None:
    with contextlib.suppress(OSError):
        sys.stderr.write(text)
        sys.stderr.flush()
