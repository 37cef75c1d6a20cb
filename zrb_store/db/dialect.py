"""Everything that differs between SQLite and PostgreSQL, and nothing else."""

from __future__ import annotations

import contextlib
import os
import select as readiness
import sqlite3
import time
from pathlib import Path
from typing import Any, Protocol

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite.base import SQLiteCompiler
from sqlalchemy.engine import URL
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from zrb_store.db.tables import queue, value
from zrb_store.errors import StoreMissing, StoreUnavailable, ZrbStoreError


class now(FunctionElement[int]):
    """The database's clock in microseconds since 1970, read when the statement gets there, not when it began."""

    type = sa.BigInteger()
    inherit_cache = True


@compiles(now, "sqlite")
def _sqlite_now(element: now, compiler: Any, **_: Any) -> str:
    return "(zrb_now() / 1000)"


@compiles(now, "postgresql")
def _postgresql_now(element: now, compiler: Any, **_: Any) -> str:
    return "CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS BIGINT)"


class Dialect(Protocol):
    """The hooks. `url` is what the store was opened with."""

    begin: str
    begin_snapshot: str  # for several reads as of one moment
    backs_up: bool  # whether an older store may be upgraded by its first writer
    has_versions: sa.TextClause  # a row if the store's own alembic_version is there

    def engine(self, url: URL, *, read_only: bool, durability: str) -> sa.Engine:
        """An engine whose connections are in autocommit mode and set up for us."""

    def create(self, url: URL) -> None:
        """Make place for a new store."""

    def is_idle(self, driver: Any) -> bool:
        """Whether a held connection is there, and free for the next statement."""

    def is_busy(self, error: BaseException) -> bool:
        """Whether another transaction was in the way: the same can be tried again."""

    def is_gone(self, error: BaseException) -> bool:
        """Whether the connection is lost."""

    def explain(self, error: BaseException, url: URL) -> ZrbStoreError | None:
        """The driver's error as one of ours, or None if it is a fault of this program."""


def dialect_of(url: URL) -> Dialect:
    """The hooks for this URL.

    Raises:
        StoreUnavailable: Another database than SQLite and PostgreSQL (with psycopg).
    """
    if url.drivername in ("sqlite", "sqlite+pysqlite"):
        return SQLite()
    if url.drivername in ("postgresql", "postgresql+psycopg"):
        return PostgreSQL()
    raise StoreUnavailable(
        f"{url.drivername!r} is not supported: use a file path, sqlite:///PATH or postgresql+psycopg://..."
    )


_SQLITE_BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL)
# Why SQLite refused, by primary result code (https://www.sqlite.org/rescode.html).
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


class _Compiler(SQLiteCompiler):
    """Says `INDEXED BY`, which SQLAlchemy drops on SQLite, and no `OFFSET ?` (bound to 0) where there is no offset."""

    limit_clause = SQLCompiler.limit_clause

    def get_from_hint_text(self, table: sa.FromClause, text: str | None) -> str | None:
        return text


class SQLite:
    """SQLite 3.35 or newer in WAL mode, one connection held per process."""

    begin = "BEGIN IMMEDIATE"  # a deferred read-then-write fails at once when another process wrote in between
    begin_snapshot = "BEGIN"
    backs_up = True
    has_versions = sa.text("SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'")

    def engine(self, url: URL, *, read_only: bool, durability: str) -> sa.Engine:
        path = sqlite_path(url)

        def connect() -> sqlite3.Connection:
            if not path.exists():
                raise StoreMissing(f"there is no store at {path}; the first run or push makes it")
            driver = _connect_read_only(path) if read_only else _connect(f"{path.absolute().as_uri()}?mode=rw")
            # Not a Python function: sqlite3 would swallow the KeyboardInterrupt that is raised in one.
            driver.create_function("zrb_now", 0, time.time_ns)
            if read_only:
                # A text that is no longer UTF-8 is shown as it is, instead of hiding all others.
                driver.text_factory = lambda raw: raw.decode("utf-8", "backslashreplace")
            else:
                driver.execute(f"PRAGMA synchronous={durability}")
                driver.execute("PRAGMA foreign_keys=ON")
                # 16 MiB of log instead of 4: a quarter of the syncs, and still one segment of the log's index.
                driver.execute("PRAGMA wal_autocheckpoint=4000")
                driver.execute("PRAGMA journal_size_limit=16777216")
            return driver

        engine = sa.create_engine("sqlite://", creator=connect, poolclass=sa.NullPool)
        engine.dialect.statement_compiler = _Compiler
        return engine

    def create(self, url: URL) -> None:
        path = sqlite_path(url)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Never open a file that exists except through SQLite: closing it would drop SQLite's locks.
        with contextlib.suppress(FileExistsError):
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))

    def is_idle(self, driver: Any) -> bool:
        return not driver.in_transaction  # a Ctrl-C during the rollback leaves one

    def is_busy(self, error: BaseException) -> bool:
        return _sqlite_code(error) in _SQLITE_BUSY

    def is_gone(self, error: BaseException) -> bool:
        return False

    def explain(self, error: BaseException, url: URL) -> ZrbStoreError | None:
        path = sqlite_path(url)
        if isinstance(error, OSError):
            return StoreUnavailable(f"the store {path} cannot be made: {error.strerror or error}")
        if not isinstance(error, sqlite3.Error):
            return None
        if path.is_dir():
            return StoreUnavailable(f"the store {path} is a folder; name a file in it")
        reason = _SQLITE_REASONS.get(_sqlite_code(error))
        return StoreUnavailable(f"the store {path} {reason} ({error})") if reason else None


def sqlite_path(url: URL) -> Path:
    """The file of a SQLite URL.

    Raises:
        StoreUnavailable: The URL names no file.
    """
    if not url.database or url.database == ":memory:":
        raise StoreUnavailable("an in-memory database is lost with its process: name a file instead")
    return Path(url.database)


def _connect(uri: str) -> sqlite3.Connection:
    # timeout=0: our own jittered retry is fairer than SQLite's handler, which starves a process for seconds.
    return sqlite3.connect(
        uri, uri=True, timeout=0, isolation_level=None, check_same_thread=False, cached_statements=512
    )


def _connect_read_only(path: Path) -> sqlite3.Connection:
    uri = path.absolute().as_uri()
    driver = _connect(f"{uri}?mode=ro")
    try:
        driver.execute("SELECT 1 FROM sqlite_master LIMIT 1")
    except sqlite3.OperationalError as error:
        driver.close()
        # A WAL database in a folder that we may not write can be read only if nobody has it open (no -wal).
        if _sqlite_code(error) in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY) and not _wal(path).exists():
            return _connect(f"{uri}?immutable=1")
        raise
    return driver


def _wal(path: Path) -> Path:
    return path.with_name(path.name + "-wal")


def _sqlite_code(error: BaseException) -> int:
    return (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF


class PostgreSQL:
    """PostgreSQL through psycopg 3, one connection held per process."""

    lock_timeout = "5s"  # then the same is tried again, until the store's patience ends
    begin = "BEGIN"
    begin_snapshot = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
    backs_up = False
    # In the schema that our tables are in: further down the search_path it would be another program's.
    has_versions = sa.text(
        "SELECT 1 FROM pg_catalog.pg_tables WHERE schemaname = current_schema() AND tablename = 'alembic_version'"
    )

    def engine(self, url: URL, *, read_only: bool, durability: str) -> sa.Engine:
        try:
            import psycopg
        except ImportError:
            raise StoreUnavailable('PostgreSQL needs psycopg: pip install "zrb-store[postgres]"') from None
        # A server that vanishes is noticed; what the URL says goes before.
        options = {"keepalives_idle": 15, "keepalives_interval": 5, "keepalives_count": 3, "tcp_user_timeout": 30_000}
        options = {"connect_timeout": 10, "autocommit": True} | options
        options = {name: number for name, number in options.items() if name not in url.query}
        engine = sa.create_engine(url.set(drivername="postgresql+psycopg"), connect_args=options, poolclass=sa.NullPool)
        settings = [f"SET lock_timeout = '{self.lock_timeout}'"]
        if read_only:
            settings.append("SET default_transaction_read_only = on")
        if durability == "full":
            settings.append("SET synchronous_commit = on")

        @sa.event.listens_for(engine, "connect")
        def prepare(driver: psycopg.Connection[Any], _: Any) -> None:
            driver.execute("; ".join(settings))

        return engine

    def create(self, url: URL) -> None:
        pass

    def is_idle(self, driver: Any) -> bool:
        if driver.closed or driver.pgconn.transaction_status != 0:
            return False
        # An idle connection has nothing to say: what can be read is its end.
        poll = readiness.poll()  # select() takes no descriptor above 1023
        poll.register(driver.fileno(), readiness.POLLIN)
        return not poll.poll(0)

    def is_busy(self, error: BaseException) -> bool:
        return getattr(error, "sqlstate", None) in ("40001", "40P01", "55P03")

    def is_gone(self, error: BaseException) -> bool:
        import psycopg

        if not isinstance(error, (psycopg.OperationalError, psycopg.InterfaceError)):
            return False
        if error.sqlstate:
            return error.sqlstate.startswith(("08", "57P"))
        # It did not come so far. A server that answers refuses us for good, unless it is starting, stopping or full.
        passing = ("database system", "connection slots", "too many")
        return "FATAL:" not in str(error) or any(words in str(error) for words in passing)

    def explain(self, error: BaseException, url: URL) -> ZrbStoreError | None:
        import psycopg

        if not isinstance(error, psycopg.Error):
            return None
        where = url.render_as_string(hide_password=True)
        text = " ".join(str(error).split())
        state = error.sqlstate or ""
        if state in ("42501", "25006"):
            return StoreUnavailable(f"the store {where} does not allow this: {text}")
        if state.startswith("53"):
            return StoreUnavailable(f"the store {where} is out of space or connections: {text}")
        if self.is_busy(error):
            return StoreUnavailable(f"the store {where} is locked by another program; end it or try later: {text}")
        if isinstance(error, (psycopg.OperationalError, psycopg.InterfaceError)):
            return StoreUnavailable(f"the store {where} cannot be reached: {text or 'the connection was lost'}")
        return None


def insert_if_absent(dialect_name: str, table: sa.Table) -> Any:
    """An INSERT that does nothing where a unique column already has the value."""
    if dialect_name == "sqlite":
        from sqlalchemy.dialects.sqlite import insert as sqlite_insert

        return sqlite_insert(table).on_conflict_do_nothing()
    from sqlalchemy.dialects.postgresql import insert as postgresql_insert

    return postgresql_insert(table).on_conflict_do_nothing()


def among(dialect_name: str, column: sa.ColumnElement[int], name: str) -> sa.ColumnElement[bool]:
    """Whether the column is one of the numbers of a JSON list, given as parameter `name`."""
    numbers = sa.bindparam(name, type_=sa.Text)
    if dialect_name == "sqlite":
        return column.in_(sa.select(sa.func.json_each(numbers).table_valued("value").c.value))
    texts = sa.func.json_array_elements_text(sa.cast(numbers, sa.JSON)).table_valued("value").c.value
    return column.in_(sa.select(sa.cast(texts, sa.BigInteger)))


def numbered_insert(dialect_name: str, columns: dict[str, Any], where: list[Any], *, left: bool) -> Any:
    """INSERT one value at the end (or the beginning) of queue `:queue_id`, returning its seq; no row if `where` fails.

    SQLite has one writer at a time and can ask the rows for the next number. PostgreSQL moves a counter, whose row lock
    lasts until the commit: values are numbered in the order in which their transactions end (a sequence would not do
    that), and none twice.
    """
    names = ["queue_id", "seq", *columns]
    if dialect_name == "sqlite":
        source = sa.select(queue.c.id, _beyond(left), *columns.values()).where(
            queue.c.id == sa.bindparam("queue_id"), *where
        )
    else:
        counter = _move_counter(sa.literal_column("1"), left).where(*where).cte("counter")
        source = sa.select(counter.c.id, counter.c.seq, *columns.values())
    return sa.insert(value).from_select(names, source).returning(value.c.seq)


def reserve(dialect_name: str, *, left: bool) -> Any:
    """Find room for `:count` new values in queue `:queue_id`; the statement returns their lowest seq."""
    count = sa.bindparam("count", type_=sa.BigInteger)
    if dialect_name == "sqlite":
        first = _beyond(left) - count + 1 if left else _beyond(left)
        return sa.select(first).where(queue.c.id == sa.bindparam("queue_id"))
    counter = _move_counter(count, left).cte("counter")
    return sa.select(counter.c.seq if left else counter.c.seq - count + 1)


def _beyond(left: bool) -> Any:
    """SQLite: one below (or above) every seq that queue has or ever had."""
    edge = sa.func.min if left else sa.func.max
    rows = sa.select(edge(value.c.seq)).where(value.c.queue_id == queue.c.id).scalar_subquery()
    if left:
        return sa.func.min(sa.func.coalesce(rows, sa.literal_column("1")), queue.c.low) - sa.literal_column("1")
    return sa.func.max(sa.func.coalesce(rows, sa.literal_column("0")), queue.c.high) + sa.literal_column("1")


def _move_counter(count: Any, left: bool) -> Any:
    """PostgreSQL: take `count` numbers; the counter's row gives the last one taken."""
    moved = {"low": queue.c.low - count} if left else {"high": queue.c.high + count}
    edge = queue.c.low if left else queue.c.high
    return (
        sa.update(queue)
        .where(queue.c.id == sa.bindparam("queue_id"))
        .values(moved)
        .returning(queue.c.id, edge.label("seq"))
    )
