"""Notice at once that a file was written, without asking again and again (Linux's inotify)."""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import sys
from pathlib import Path

_WRITTEN = 0x2  # IN_MODIFY in sys/inotify.h; the end of the file is told in any case
_FLAGS = os.O_NONBLOCK | os.O_CLOEXEC


class Bell:
    """Rings when a file is written. The file is not opened, since closing it would drop SQLite's locks."""

    def __init__(self, path: Path) -> None:
        """Prepare to watch a file.

        Raises:
            OSError: The system does not offer it, or this user watches too many files.
        """
        if sys.platform != "linux":
            raise OSError("there is no inotify")
        self._path = os.fsencode(path)
        self._libc = ctypes.CDLL(None)
        self._events: int = self._libc.inotify_init1(_FLAGS)
        if self._events < 0:
            raise OSError("inotify has no room")
        self._poll = select.poll()
        self._poll.register(self._events, select.POLLIN)

    def arm(self) -> bool:
        """Forget what was written up to now, and watch the file that has the name now. Return whether there is one."""
        with contextlib.suppress(BlockingIOError):
            os.read(self._events, 1 << 16)
        return bool(self._libc.inotify_add_watch(self._events, self._path, _WRITTEN) >= 0)

    def rings(self, seconds: float) -> bool:
        """Wait until the file is written; return False if it was not in this time."""
        return bool(self._poll.poll(max(0.0, seconds) * 1000))

    def __del__(self) -> None:
        if getattr(self, "_events", -1) >= 0:
            os.close(self._events)
