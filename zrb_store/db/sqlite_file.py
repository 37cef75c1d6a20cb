"""Opening the file of a SQLite store. SQLAlchemy is not needed for it."""

from __future__ import annotations

import sqlite3
from pathlib import Path


def open_uri(uri: str) -> sqlite3.Connection:
    """Open a database by SQLite's URI of its file, in autocommit mode."""
    # timeout=0: our own retries, with random pauses, are fairer than SQLite's, which may starve a process for seconds.
    return sqlite3.connect(
        uri, uri=True, timeout=0, isolation_level=None, check_same_thread=False, cached_statements=512
    )


def open_file_read_only(path: Path) -> sqlite3.Connection:
    """Open a file that exists, to read it only."""
    uri = path.absolute().as_uri()
    driver = open_uri(f"{uri}?mode=ro")
    try:
        driver.execute("SELECT 1 FROM sqlite_master LIMIT 1")
    except sqlite3.Error as error:
        driver.close()
        # In a folder that we may not write, a WAL database can be read only while nobody has it open (no -wal file).
        if primary_code(error) in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY) and not wal(path).exists():
            return open_uri(f"{uri}?immutable=1")
        raise
    return driver


def is_open_elsewhere(path: Path) -> bool:
    """Whether any other connection has the file open. This is not seen of one that uses no write-ahead log.

    Connections of this process count too.
    """
    driver = open_uri(f"{path.absolute().as_uri()}?mode=rw")
    try:
        driver.execute("PRAGMA locking_mode=EXCLUSIVE")
        driver.execute("SELECT 1 FROM sqlite_master LIMIT 1")
    except sqlite3.OperationalError as error:
        if primary_code(error) == sqlite3.SQLITE_BUSY:
            return True
        raise
    finally:
        driver.close()
    return False


def wal(path: Path) -> Path:
    """Return the write-ahead log of a database file."""
    return path.with_name(path.name + "-wal")


def stamp(path: Path) -> tuple[int, int] | None:
    """Return when a file was last written, and its size; None if there is no file."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_mtime_ns, found.st_size


def primary_code(error: BaseException) -> int:
    """Return SQLite's primary result code of an error; 0 if it has none."""
    return (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF
