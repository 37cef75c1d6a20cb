"""The file that SQLite has open, by its identity: a name can come to mean another file."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

Identity = tuple[int, int]

# Each connection holds a shared lock on this byte of the -shm file (UNIX_SHM_DMS in SQLite's os_unix.c).
_SHARED_BY_ALL = 128


class OpenFile:
    """A database file that a connection of this process has open.

    SQLite goes by names. When a file is deleted or replaced under it, it goes on writing to what nobody will find
    again, and leaves a -wal file that would be applied to the file that has the name by then.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = _identity(path)
        self._wal: Identity | None = None

    def is_in_place(self) -> bool:
        """Whether the name still means this file. Asked after each write, whose first one made the -wal file."""
        in_place = _identity(self._path) == self._file
        if self._wal is None and in_place:
            self._wal = _identity(self._beside("-wal"))
        return in_place

    def put_log_aside(self) -> None:
        """Rename the -wal of a file that was replaced to `-wal.replaced`, once its connection is closed.

        It is left where it is if another process uses it, or if it is the new file's own.
        """
        wal, index = self._beside("-wal"), self._beside("-shm")
        if self.is_in_place() or not self._path.exists() or _identity(wal) != self._wal or not index.exists():
            return
        with index.open("r+b") as file:
            try:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, _SHARED_BY_ALL)
            except OSError:
                return
            wal.rename(self._beside("-wal.replaced"))
            index.unlink()

    def _beside(self, ending: str) -> Path:
        return self._path.with_name(self._path.name + ending)


def _identity(path: Path) -> Identity | None:
    try:
        found = os.stat(path)  # noqa: PTH116 - on the way of every write, where Path.stat takes twice as long
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino
