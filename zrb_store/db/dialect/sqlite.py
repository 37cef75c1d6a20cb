"""SQLite's hooks."""

from __future__ import annotations

import contextlib
import functools
import os
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zrb_store.db.core import compiling, sa, statement
from zrb_store.db.dialect.lost_commits import Ticket
from zrb_store.db.dialect.open_file import OpenFile
from zrb_store.db.dialect.statements import revision_of
from zrb_store.db.dialect.watchdog import Watched
from zrb_store.db.sqlite_file import open_file_read_only, open_uri, primary_code, stamp, wal
from zrb_store.db.transaction import Transaction
from zrb_store.errors import StoreMissing, StoreUnavailable, ZrbStoreError
from zrb_store.process import OUT_OF_FILES, is_out_of_files

if TYPE_CHECKING:
    from sqlalchemy.engine import URL

_SQLITE_BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL)
# Explanations of SQLite's errors by primary result code (https://www.sqlite.org/rescode.html).
_SQLITE_REASONS = {
    **dict.fromkeys(_SQLITE_BUSY, "is locked by another program; end it, or try again later"),
    sqlite3.SQLITE_READONLY: "cannot be written: its file or folder is read-only for this user",
    sqlite3.SQLITE_PERM: "is not allowed to this user; check the rights of the file and its folder",
    sqlite3.SQLITE_CANTOPEN: "cannot be opened; it must be a file that this user may read, in a folder it may write",
    sqlite3.SQLITE_FULL: "cannot grow: the disk is full; free some space and try again",
    sqlite3.SQLITE_IOERR: "cannot be read or written: the disk reports an error",
    sqlite3.SQLITE_CORRUPT: "is damaged; restore a backup, or save what is readable with `sqlite3 FILE .recover`",
    sqlite3.SQLITE_NOTADB: "is not a SQLite database; name another file in ZRB_STORE_URL",
}


@statement
def _has_versions() -> sa.TextClause:
    return sa.text("SELECT name FROM sqlite_master WHERE name IN ('zrb_version', 'zrb_session', 'alembic_version')")


@statement
def _has_foreign() -> sa.TextClause:
    return sa.text(
        "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name NOT GLOB 'zrb_*' "
        "AND name NOT GLOB 'sqlite_*' LIMIT 1"
    )


class _Connection:
    """A connection as SQLAlchemy's pool hands it out.

    Attributes:
        driver_connection: The driver's connection.
    """

    def __init__(self, driver: sqlite3.Connection) -> None:
        self.driver_connection = driver

    def invalidate(self) -> None:
        """Close it."""
        self.driver_connection.close()


class SQLite:
    """SQLite 3.35 or newer in WAL mode, with one connection for each process."""

    name = "sqlite"
    begin_snapshot = "BEGIN"
    poll_every = 0.03
    backs_up = True
    # A file that was restored from the copy of a VACUUM INTO is not in this mode.
    make_usable: str | None = "PRAGMA journal_mode=WAL"
    may_lose_answers = False
    commits_unsynced = False
    has_versions = staticmethod(_has_versions)
    has_foreign = staticmethod(_has_foreign)

    def engine(self, url: URL, *, read_only: bool, durability: str) -> Callable[[], sa.Engine]:
        self._open = functools.partial(_open, sqlite_path(url), read_only=read_only, durability=durability)
        # Statements whose SQL is stored run without SQLAlchemy.
        return functools.cache(lambda: compiling.sqlite_engine(self._open))

    def connect(self, database: Watched) -> Any:
        return _Connection(self._open())

    def watch(self, database: Watched) -> None:
        pass

    def open_file(self, url: URL) -> OpenFile | None:
        return OpenFile(sqlite_path(url))

    def begin(self, driver: Any) -> tuple[str | None, None]:
        # A deferred transaction that reads and then writes fails at once if another process has written in between.
        driver.execute("BEGIN IMMEDIATE")
        return revision_of(driver), None

    def was_committed(self, driver: Any, ticket: Ticket) -> bool:
        raise NotImplementedError("begin gives no ticket")

    def session_of(self, driver: Any) -> None:
        return None

    def end_session(self, driver: Any, session: str) -> None:
        raise NotImplementedError("there are no sessions")

    def create(self, url: URL) -> None:
        path = sqlite_path(url)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # An existing file is never opened except by SQLite, because closing it would drop SQLite's locks.
        try:
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        except FileExistsError:
            # The permissions of an empty file, as touch creates it, were not chosen for what will be stored in it.
            if path.is_file() and not path.stat().st_size:
                with contextlib.suppress(PermissionError):  # the file belongs to another user, who lets us write to it
                    path.chmod(path.stat().st_mode & 0o600)

    def is_idle(self, driver: Any) -> bool:
        return not driver.in_transaction  # a Ctrl-C during a rollback leaves the transaction open

    def is_ended(self, driver: Any) -> bool:
        return False

    def change_mark(self, connection: Transaction) -> object:
        # The first number tells of commits over other connections, the second of changes over this one. A new
        # connection counts anew.
        ((others,),) = connection.driver.execute("PRAGMA data_version").fetchall()
        return connection, others, connection.driver.total_changes

    def latest_commit(self, connection: Transaction, url: URL) -> object:
        # A connection that was opened while there was no log, in a folder that we may not write, sees no commit.
        path = sqlite_path(url)
        return self.change_mark(connection), *(stamp(file) for file in (path, wal(path)))

    def written_file(self, url: URL) -> Path:
        return wal(sqlite_path(url).resolve())  # SQLite follows symbolic links, too

    def is_busy(self, error: BaseException) -> bool:
        return primary_code(error) in _SQLITE_BUSY

    def stops_preparing(self, error: BaseException) -> bool:
        return False

    def is_gone(self, error: BaseException) -> bool:
        return False

    def explain(self, error: BaseException, url: URL, *, locked: bool = False) -> ZrbStoreError | None:
        path = sqlite_path(url)
        if isinstance(error, (OSError, sqlite3.OperationalError)) and is_out_of_files():
            return StoreUnavailable(f"the store {path} cannot be opened: {OUT_OF_FILES}")
        if isinstance(error, PermissionError):
            return StoreUnavailable(f"the store {path} {_SQLITE_REASONS[sqlite3.SQLITE_PERM]} ({error.strerror})")
        if isinstance(error, OSError):
            return StoreUnavailable(f"the store {path} cannot be created: {error.strerror or error}")
        if not isinstance(error, sqlite3.Error):
            return None
        if isinstance(error, sqlite3.IntegrityError):
            return ZrbStoreError(f"the store {path} refuses rows that contradict each other: {error}")
        if path.is_dir():
            return StoreUnavailable(f"the store {path} is a folder; name a file in it")
        code = primary_code(error)
        reason = _SQLITE_REASONS.get(sqlite3.SQLITE_FULL if code == sqlite3.SQLITE_IOERR and _is_full(path) else code)
        return StoreUnavailable(f"the store {path} {reason} ({error})") if reason else None


def _open(path: Path, *, read_only: bool, durability: str) -> sqlite3.Connection:
    if not path.exists():
        raise StoreMissing(f"there is no store at {path}; the first run or push creates it")
    driver = open_file_read_only(path) if read_only else open_uri(f"{path.absolute().as_uri()}?mode=rw")
    try:
        # time_ns is a C function: sqlite3 would swallow a KeyboardInterrupt that a Python function raises.
        driver.create_function("zrb_now", 0, time.time_ns)
        # Damaged UTF-8 is shown with escapes; an error would hide all other rows.
        driver.text_factory = lambda raw: raw.decode("utf-8", "backslashreplace")
        if not read_only:
            driver.execute(f"PRAGMA synchronous={durability}")
            driver.execute("PRAGMA foreign_keys=ON")
            # A log of 4,000 pages instead of 1,000 needs a quarter of the syncs, and its index still has one segment.
            driver.execute("PRAGMA wal_autocheckpoint=4000")
            driver.execute("PRAGMA journal_size_limit=16777216")
    except sqlite3.Error:
        driver.close()
        raise
    return driver


def _is_full(path: Path) -> bool:
    """Whether the disk of a store has no room for what SQLite makes at first: the index of its log, 32 KiB."""
    import shutil  # late: only error messages need it

    with contextlib.suppress(OSError):
        return shutil.disk_usage(path.parent).free < 64 * 1024
    return False


def sqlite_path(url: URL) -> Path:
    """Return the file of a SQLite URL.

    Raises:
        StoreUnavailable: The URL does not name a file.
    """
    if not url.database or url.database == ":memory:":
        raise StoreUnavailable("an in-memory database is lost with its process: name a file instead")
    return Path(url.database)
