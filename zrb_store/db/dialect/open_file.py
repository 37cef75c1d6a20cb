"""The file that SQLite has open, by its identity: a name can come to mean another file."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path
from typing import Any

Identity = tuple[int, int]


class OpenFile:
    """A database file that this process has open.

    SQLite goes by names. When a file is deleted or replaced under it, it goes on writing to what nobody will find
    again; and when its last connection closes, it deletes whatever file has the name of the -wal by then.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._wal_path = path.with_name(path.name + "-wal")
        self._file = _identity(path)
        self._wal: Identity | None = None

    def is_in_place(self) -> bool:
        """Whether the name still means this file. Asked after each write, whose first one made the -wal file."""
        in_place = _identity(self._path) == self._file
        if self._wal is None and in_place:
            self._wal = _identity(self._wal_path)
        return in_place

    def may_close(self) -> bool:
        """Whether closing the connection can delete no other file's -wal."""
        return self.is_in_place() or _identity(self._wal_path) in (None, self._wal)


def keep_open(driver: Any) -> None:
    """Keep a connection from ever being closed, at the end of the interpreter too; the process's end is harmless."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(driver))


def _identity(path: Path) -> Identity | None:
    try:
        found = os.stat(path)  # noqa: PTH116 - on the way of every write, where Path.stat takes twice as long
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino
