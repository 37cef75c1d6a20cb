"""SQLite's hooks, and how its file is opened. SQLAlchemy is not needed for that."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import json
import os
import shlex
import sqlite3
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from zrb_store import system
from zrb_store.db import REVISION
from zrb_store.db.core import compiling, sa
from zrb_store.db.dialect import revision_of
from zrb_store.db.dialect.hooks import Dialect, incomplete_error
from zrb_store.db.location import missing, refuse_side_file
from zrb_store.db.transaction import Transaction
from zrb_store.errors import OUT_OF_FILES, StoreMissing, StoreUnavailable, ZrbStoreError, is_out_of_files

if TYPE_CHECKING:
    from zrb_store.db.dialect.hooks import OpenDatabase

_FileIdentity = tuple[int, int]

_OLDEST = (3, 37)  # the first release that knows STRICT tables
# Each connection holds a shared lock on this byte of the -shm file (UNIX_SHM_DMS in SQLite's os_unix.c).
_LOCKED_BYTE = 128
PAGE_SIZE = 2048
"""Bytes of a page of a new file. Each change writes whole pages to the log (docs/adr/0021-small-pages.md)."""
SCHEMA = Path(__file__).parent.with_name("sqlite_schema.json")
"""What the migrations to a revision make of an empty file, as `python docs/generate.py` writes it."""

BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL)
# Explanations of SQLite's errors by primary result code (https://www.sqlite.org/rescode.html).
_REASONS = {
    **dict.fromkeys(BUSY, "is locked by another program; end it, or try again later"),
    sqlite3.SQLITE_READONLY: "cannot be written: its file or folder is read-only for this user",
    sqlite3.SQLITE_PERM: "is not allowed to this user; check the rights of the file and its folder",
    sqlite3.SQLITE_CANTOPEN: "cannot be opened; it must be a file that this user may read, in a folder it may write",
    sqlite3.SQLITE_FULL: "cannot grow: the disk is full; free some space and try again",
    sqlite3.SQLITE_IOERR: "cannot be read or written: the disk reports an error",
    sqlite3.SQLITE_CORRUPT: "is damaged; restore a backup, or save what is readable with `sqlite3 FILE .recover`",
    sqlite3.SQLITE_NOTADB: "is not a SQLite database; name another file in ZRB_STORE_URL",
}


class SQLite(Dialect[sqlite3.Connection]):
    """SQLite in WAL mode, with one connection for each process.

    If the open file is deleted or replaced, SQLite keeps writing to the old file, which nobody can find any more. It
    also leaves a -wal file, which SQLite would apply to the new file of the same name. If only the -wal file is
    deleted, the next process makes another one, and neither sees what the other writes. So it is with a file that has
    two names, since each has a -wal file of its own: it is not opened (`other_names`).
    """

    name = "sqlite"
    begin_snapshot = "BEGIN"
    poll_every = 0.03
    backs_up = True
    # A file that was restored from the copy of a VACUUM INTO is not in this mode.
    make_usable: str | None = "PRAGMA journal_mode=WAL"

    def __init__(self, url: sa.URL, *, read_only: bool = False, durability: str = "normal") -> None:
        if sqlite3.sqlite_version_info < _OLDEST:
            raise StoreUnavailable(
                f"this Python has SQLite {sqlite3.sqlite_version}, but a store needs 3.37 or newer: "
                "use a newer Python, or name a PostgreSQL database in ZRB_STORE_URL"
            )
        self._path = sqlite_path(url)
        self._file_name = str(self._path)
        self._wal_name = f"{self._path}-wal"
        # Of what was opened last; that of the log is known after the first write.
        self._file: _FileIdentity | None = None
        self._wal: _FileIdentity | None = None
        self._has_lost_log = False
        self._open = functools.partial(_open, self._path, read_only=read_only, durability=durability)

    @functools.cached_property
    def engine(self) -> sa.Engine:
        # Statements whose SQL is stored run without SQLAlchemy.
        return compiling.sqlite_engine(self._open)

    def connect(self, database: OpenDatabase) -> sqlite3.Connection:
        driver = self._open()
        # (0, 0) is no file's: it was deleted or replaced as it was opened.
        self._file, self._wal, self._has_lost_log = _identity(self._file_name) or (0, 0), None, False
        return driver

    def close(self, driver: sqlite3.Connection) -> None:
        if self._has_lost_log and _identity(self._wal_name) is not None:
            # It would write the lost log over what others have written since, and delete theirs. So it stays open as
            # long as the process, whoever forgets it.
            import ctypes

            ctypes.pythonapi.Py_IncRef(ctypes.py_object(driver))
        else:
            driver.close()
        self._put_log_aside()

    def _put_log_aside(self) -> None:
        """If the file was replaced, rename its -wal file to `-wal.replaced`, unless another process uses it."""
        if _identity(self._file_name) in (self._file, None) or _identity(self._wal_name) != self._wal:
            return
        log, index = wal(self._path), self._path.with_name(self._path.name + "-shm")
        if not index.exists():
            return
        with index.open("r+b") as file:
            try:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, _LOCKED_BYTE)
            except OSError:
                return
            log.rename(log.with_name(log.name + ".replaced"))
            index.unlink()

    def lost_file(self) -> str | None:
        if self._has_lost_log:
            return "-wal file"
        return None if self._file in (None, _identity(self._file_name)) else "file"

    def is_kept(self) -> bool:
        is_in_place, log = _identity(self._file_name) == self._file, _identity(self._wal_name)
        if self._wal is None and is_in_place:
            self._wal = log  # the first write has created it, and SQLite keeps it as long as the connection
        self._has_lost_log = self._wal is not None and log != self._wal
        return is_in_place and not self._has_lost_log

    def is_usable(self, driver: sqlite3.Connection, *, look: bool) -> bool:
        return not driver.in_transaction  # a Ctrl-C during a rollback leaves the transaction open

    def begin(self, driver: sqlite3.Connection) -> tuple[str | None, None]:
        # A deferred transaction that reads and then writes fails at once if another process has written in between.
        driver.execute("BEGIN IMMEDIATE")
        return revision_of(driver), None

    def create(self) -> None:
        path = self._path
        refuse_side_file(path)
        _make_folder(path.parent)
        # An existing file is never opened except by SQLite, because closing it would drop SQLite's locks.
        try:
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        except FileExistsError:
            _refuse_other_names(path)
            # The permissions of an empty file, as touch creates it, were not chosen for what will be stored in it.
            if path.is_file() and not path.stat().st_size:
                with contextlib.suppress(PermissionError):  # the file belongs to another user, who lets us write to it
                    path.chmod(path.stat().st_mode & 0o600)

    def make_tables(self) -> bool:
        statements = sqlite_schema()
        if not statements:
            return False
        try:
            self.create()
            with contextlib.closing(open_uri(f"{self._path.absolute().as_uri()}?mode=rw")) as driver:
                driver.execute(f"PRAGMA page_size={PAGE_SIZE}")
                driver.execute("PRAGMA journal_mode=WAL")
                driver.execute("BEGIN IMMEDIATE")
                if driver.execute("SELECT 1 FROM sqlite_master").fetchone():
                    return False
                for statement in statements:
                    driver.execute(statement)
                driver.execute("COMMIT")
        except (OSError, sqlite3.Error):  # another process makes them, or nobody can: the migrations wait, or tell why
            return False
        return True

    def change_mark(self, connection: Transaction) -> object:
        # The first number tells of commits over other connections, the second of changes over this one. A new
        # connection counts anew.
        ((others,),) = connection.driver.execute("PRAGMA data_version").fetchall()
        return connection, others, connection.driver.total_changes

    def latest_commit(self, connection: Transaction) -> object:
        # A connection that was opened while there was no log, in a folder that we may not write, sees no commit.
        return self.change_mark(connection), *(stamp(file) for file in (self._path, wal(self._path)))

    def written_file(self) -> Path:
        return wal(self._path.resolve())  # SQLite follows symbolic links, too

    def is_busy(self, error: BaseException) -> bool:
        return primary_code(error) in BUSY

    def is_full(self, error: BaseException) -> bool:
        code = primary_code(error)
        return code == sqlite3.SQLITE_FULL or (code == sqlite3.SQLITE_IOERR and _is_full(self._path))

    def own_error(self, error: BaseException, *, locked: bool = False) -> ZrbStoreError | None:
        path = self._path
        if isinstance(error, (OSError, sqlite3.OperationalError)) and is_out_of_files():
            return StoreUnavailable(f"the store {path} cannot be opened: {OUT_OF_FILES}")
        if isinstance(error, PermissionError):
            return StoreUnavailable(f"the store {path} {_REASONS[sqlite3.SQLITE_PERM]} ({error.strerror})")
        if isinstance(error, OSError):
            return StoreUnavailable(f"the store {path} cannot be created: {error.strerror or error}")
        if not isinstance(error, sqlite3.Error):
            return None
        if isinstance(error, sqlite3.IntegrityError):
            return ZrbStoreError(f"the store {path} refuses rows that contradict each other: {error}")
        if path.is_dir():
            return StoreUnavailable(f"the store {path} is a folder; name a file in it")
        if str(error).startswith(("no such table: ", "no such column: ")) or " has no column named " in str(error):
            return incomplete_error(path, str(error), "move the file aside")
        reason = _REASONS.get(sqlite3.SQLITE_FULL if self.is_full(error) else primary_code(error))
        return StoreUnavailable(f"the store {path} {reason} ({error})") if reason else None


def sqlite_schema() -> list[str]:
    """Return the statements that make an empty file a store of this revision; none if they are not stored."""
    stored: list[str] = json.loads(SCHEMA.read_text(encoding="utf-8")).get(REVISION, [])
    return stored


# -- its file


def _make_folder(path: Path) -> None:
    """Make a folder, and those above it that are missing, for its user alone."""
    for each in reversed([path, *path.parents]):  # `parents=True` would leave those above it open to all
        if not each.exists():
            each.mkdir(mode=0o700, exist_ok=True)


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
    """Whether another connection, of any process, has the file open. One without a write-ahead log is not seen."""
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


class OtherNames(NamedTuple):
    """Why a file may be in use under another name too."""

    what: str
    remedy: str


def other_names(path: Path) -> OtherNames | None:
    """Return why a file may be in use under another name, where changes under this one would get lost; None if not."""
    links = path.stat().st_nlink
    if links > 1 and not path.is_dir():
        what = f"the store {path} has {links} names (hard links), and what is pushed under one is lost under another"
        return OtherNames(what, f"remove all names but one; `find DIR -samefile {shlex.quote(str(path))}` lists them")
    file = path.resolve()  # SQLite follows symbolic links, too
    if system.here().mount(file) != system.here().mount(file.parent):
        what = f"the store {path} is mounted as a single file, and what is pushed here is lost where its folder is"
        return OtherNames(what, "mount the folder instead")
    return None


def _refuse_other_names(path: Path) -> None:
    if found := other_names(path):
        raise StoreUnavailable(f"{found.what}: {found.remedy}")


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


def _open(path: Path, *, read_only: bool, durability: str) -> sqlite3.Connection:
    if not path.exists():
        raise StoreMissing(missing(f"at {path}", path))
    _refuse_other_names(path)
    driver = open_file_read_only(path) if read_only else open_uri(f"{path.absolute().as_uri()}?mode=rw")
    try:
        # time_ns is a C function: sqlite3 would swallow a KeyboardInterrupt that a Python function raises.
        driver.create_function("zrb_now", 0, time.time_ns)
        driver.text_factory = _text
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


class NotUtf8(str):
    """A stored text that is not UTF-8, with escapes. No column may hold it (`db/columns.py`)."""

    __slots__ = ()


def _text(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:  # an error would hide all other rows
        return NotUtf8(raw.decode("utf-8", "backslashreplace"))


def _is_full(path: Path) -> bool:
    """Whether the disk of a store has no room for what SQLite makes at first: the index of its log, 32 KiB."""
    import shutil

    with contextlib.suppress(OSError):
        return shutil.disk_usage(path.parent).free < 64 * 1024
    return False


def _identity(name: str) -> _FileIdentity | None:
    try:
        found = os.stat(name)  # noqa: PTH116 - Path.stat takes longer, and every write waits for this
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def sqlite_path(url: sa.URL) -> Path:
    """Return the file of a SQLite URL."""
    if not url.database or url.database == ":memory:":
        raise StoreUnavailable("an in-memory database is lost with its process: name a file instead")
    return Path(url.database)
