"""Commands on a pseudo-terminal, and the screen that a person sees."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import pyte

MAIN = [sys.executable, "-c", "from zrb_store.cli import main; main()"]
WIDTHS = (50, 80, 120, 200)
_DEADLINE = 600.0  # seconds
_NONE: Mapping[str, str] = {}


class Screen(pyte.Screen):
    """A screen that draws a mark on the last character of a full line where real terminals do: pyte wraps it."""

    def draw(self, data: str) -> None:
        for char in data:
            if unicodedata.category(char) not in ("Mn", "Me") or self.cursor.x < self.columns:
                super().draw(char)
                continue
            cells, place = self.buffer[self.cursor.y], self.columns - 1
            if not cells[place].data:
                place -= 1  # the second half of a wide character
            marked = unicodedata.normalize("NFC", cells[place].data + char)
            cells[place] = cells[place]._replace(data=marked)


def drawn(text: str | bytes, columns: int, lines: int = 400) -> list[str]:
    """Return the lines of a screen on which this was printed, without the empty ones at the end."""
    screen = Screen(columns, lines)
    stream = pyte.ByteStream(screen)
    stream.feed(text.encode() if isinstance(text, str) else text)
    return "\n".join(line.rstrip() for line in screen.display).rstrip().split("\n")


@contextmanager
def terminal(
    args: Sequence[str], columns: int = 80, lines: int = 24, variables: Mapping[str, str] = _NONE
) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """Run `zrb-store ARGS` on a terminal of this size. Gives its process, and the side of the terminal to read from."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
    environment = {name: text for name, text in os.environ.items() if name not in ("COLUMNS", "LINES", "NO_COLOR")}
    environment |= {"TERM": "xterm-256color", **variables}
    with subprocess.Popen(
        [*MAIN, *args], stdin=slave, stdout=slave, stderr=slave, env=environment, start_new_session=True
    ) as process:
        os.close(slave)
        try:
            yield process, master
        finally:
            if process.poll() is None:
                process.kill()
            os.close(master)


def read(master: int) -> bytes:
    """Return what the terminal shows next; nothing if the program has ended."""
    try:
        return os.read(master, 65536)
    except OSError:  # on Linux this means that the other end is closed
        return b""


def shown_on_terminal(args: Sequence[str], columns: int = 80, variables: Mapping[str, str] = _NONE) -> bytes:
    """Return what `zrb-store ARGS` prints on a terminal, including escape sequences."""
    shown = b""
    with terminal(args, columns, variables=variables) as (process, master):
        while chunk := read(master):
            shown += chunk
        assert process.wait() in (0, 1), shown
    return shown


def screen_of(args: Sequence[str], columns: int) -> list[str]:
    """Return the lines that a person sees after `zrb-store ARGS`, on a terminal with UTF-8, in UTC."""
    return drawn(shown_on_terminal(args, columns, {"TZ": "UTC", "PYTHONUTF8": "1"}), columns)


def await_screen(master: int, screen: Screen, is_reached: Callable[[list[str]], bool]) -> list[str]:
    """Draw what the terminal shows until the screen has reached a state, and return its lines."""
    stream, deadline = pyte.ByteStream(screen), time.monotonic() + _DEADLINE
    while time.monotonic() < deadline:
        if select.select([master], [], [], 1.0)[0]:
            stream.feed(read(master))
        lines = [line.rstrip() for line in screen.display]
        if is_reached(lines):
            return lines
    raise AssertionError("\n".join(screen.display))


def plain(text: str) -> str:
    """Return the text without escape sequences."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)


JOINED = "می\u200cخواهم 👨\u200d👩\u200d👧 ❤\ufe0f\u200d🔥 क्\u200dष"  # noqa: RUF001 - Persian
