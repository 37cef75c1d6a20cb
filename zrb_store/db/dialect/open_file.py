"""The file of an open SQLite store: notice that it, or its write-ahead log, was deleted or replaced."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from zrb_store.errors import StoreUnavailable

_FileIdentity = tuple[int, int]

# Each connection holds a shared lock on this byte of the -shm file (UNIX_SHM_DMS in SQLite's os_unix.c).
_LOCKED_BYTE = 128


class StoreReplaced(StoreUnavailable):
    """The file of the store was deleted, or another file has taken its name."""


class OpenFile:
    """A database file that a connection of this process has open.

    If the file is deleted or replaced, SQLite keeps writing to the old file, which nobody can find any more. It also
    leaves a -wal file, which SQLite would apply to the new file of the same name. If only the -wal file is deleted, the
    next process makes another one, and neither sees what the other writes.

    Attributes:
        has_lost_log: Whether the -wal file was deleted or replaced, as far as `is_kept` has found.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._name = str(path)
        self._file = _identity(path)
        self._wal: _FileIdentity | None = None
        self._wal_name = f"{path}-wal"
        self.has_lost_log = False

    def is_in_place(self) -> bool:
        """Whether the path still leads to this file."""
        return _identity(self._name) == self._file

    def is_kept(self) -> bool:
        """Whether the path still leads to this file, and its -wal file is still that of the first write.

        Ask after each write, while the connection is open: SQLite keeps the -wal file as long.
        """
        in_place, log = self.is_in_place(), _identity(self._wal_name)
        if self._wal is None and in_place:
            self._wal = log  # the first write has created it
        self.has_lost_log = self._wal is not None and log != self._wal
        return in_place and not self.has_lost_log

    def let_close(self, driver: object) -> bool:
        """Whether the connection may be closed. If not, it stays open as long as the process, whoever forgets it.

        It would write a lost log over what others have written since, and delete theirs.
        """
        if not self.has_lost_log or _identity(self._wal_name) is None:
            return True
        import ctypes  # late: few need it

        ctypes.pythonapi.Py_IncRef(ctypes.py_object(driver))
        return False

    def put_log_aside(self) -> None:
        """If the file was replaced, rename its -wal file to `-wal.replaced`. Call this once the connection is closed.

        A -wal file that another process uses, or that belongs to the new file, is left alone.
        """
        wal, index = self._beside("-wal"), self._beside("-shm")
        if self.is_in_place() or not self._path.exists() or _identity(wal) != self._wal or not index.exists():
            return
        with index.open("r+b") as file:
            try:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, _LOCKED_BYTE)
            except OSError:
                return
            wal.rename(self._beside("-wal.replaced"))
            index.unlink()

    def _beside(self, ending: str) -> Path:
        return self._path.with_name(self._path.name + ending)


def _identity(path: Path | str) -> _FileIdentity | None:
    try:
        found = os.stat(path)  # noqa: PTH116 - Path.stat takes longer, and every write waits for this
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino
