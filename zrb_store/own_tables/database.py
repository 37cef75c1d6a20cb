"""The user's database: it opens transactions that are committed once, and knows what their errors mean."""

from __future__ import annotations

import contextlib
import functools
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from zrb_store.db.core import sa
from zrb_store.db.dialect.sqlite import BUSY, primary_code
from zrb_store.db.engine import dialect_of
from zrb_store.db.location import shown_url
from zrb_store.errors import InvalidArgument, ZrbStoreError
from zrb_store.masking import mask_text, one_line
from zrb_store.own_tables import done
from zrb_store.own_tables.guard import has_ended

_CONFLICTS = ("40001", "40P01")  # SQLSTATEs of a serialization failure and of a deadlock
_DRIVERS = {"sqlite": "sqlite", "postgresql": "postgresql+psycopg"}


class UserDatabase:
    """A PostgreSQL or SQLite database of the user, by an engine of SQLAlchemy."""

    def __init__(self, engine: object, what: str, pause: Callable[[float], object] = time.sleep) -> None:
        """Check that the engine can be used. `what` names in messages what it is for; `pause` waits some seconds."""
        if not isinstance(engine, sa.Engine):
            raise InvalidArgument(
                f"{what} needs an engine of SQLAlchemy, not a {type(engine).__name__}: "
                "`sqlalchemy.create_engine(...)`, or `create_async_engine(...)` with a coroutine function"
            )
        if engine.dialect.name not in _DRIVERS:
            raise InvalidArgument(f"{what} needs PostgreSQL or SQLite, not {engine.dialect.name}")
        self.engine = engine
        self.is_async = engine.dialect.is_async
        self.is_sqlite = engine.dialect.name == "sqlite"
        path = engine.url.database or ""
        if self.is_sqlite and path in ("", ":memory:"):
            raise InvalidArgument(f"{what} needs a database that outlives this process: name a file of SQLite")
        self.name = Path(path).name
        self.pause = pause
        self._what = what

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sa.Connection]:
        """Yield a connection in a transaction that may write, which is rolled back unless the block commits it."""
        with self.engine.connect() as connection:
            connection.begin()
            if self._is_autocommit(connection):
                raise InvalidArgument(
                    f"{self._what} needs transactions, and this engine commits each statement by itself (AUTOCOMMIT): "
                    "use another engine, or `engine.execution_options(isolation_level=...)`"
                )
            if has_ended(connection):  # the driver would begin later, and then not wait for other writers
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            yield connection

    def _is_autocommit(self, connection: sa.Connection) -> bool:
        if connection.get_execution_options().get("isolation_level") == "AUTOCOMMIT":
            return True
        if not self.is_sqlite:
            return getattr(connection.connection.dbapi_connection, "autocommit", False) is True
        driver = connection.connection.driver_connection
        return has_ended(connection) and getattr(driver, "isolation_level", "") is None

    def make_table(self) -> None:
        """Make `zrb_store_done` unless it is there; say what to do if that is not allowed."""
        try:
            with self.engine.connect() as connection:
                if done.is_missing(connection):
                    done.create(connection)
                    connection.commit()
        except sa.exc.DBAPIError as error:
            with contextlib.suppress(sa.exc.DBAPIError), self.engine.connect() as connection:
                if not done.is_missing(connection):
                    return  # another process has just made it
            raise ZrbStoreError(
                f"{self._what} needs the table {done.NAME} in {self.name}, and may not make it "
                f"({self.reason(error)}): run `zrb-store db own-tables URL` as a role that may"
            ) from error

    # -- what errors mean

    @functools.cached_property
    def url(self) -> str:
        """Its URL with passwords masked."""
        return shown_url(self.engine.url)

    def reason(self, error: BaseException) -> str:
        """Return what the driver says, in one line without secrets."""
        return one_line(mask_text(str(_driver_error(error))))

    def is_conflict(self, error: BaseException) -> bool:
        """Whether the transaction failed only because of another one, so that it may be run again."""
        cause = _driver_error(error)
        if isinstance(cause, sqlite3.Error):
            return primary_code(cause) in BUSY
        return (getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None)) in _CONFLICTS

    def is_gone(self, error: BaseException) -> bool:
        """Whether the connection was lost, or none can be made at the moment."""
        if isinstance(error, sa.exc.DBAPIError) and error.connection_invalidated:
            return True
        hooks = dialect_of(self.engine.url.set(drivername=_DRIVERS[self.engine.dialect.name]))
        return not self.is_sqlite and hooks.is_gone(_driver_error(error))

    def holder(self, key: done.Key) -> str:
        """Say who has to be ended, because an earlier try of an execution is still open."""
        if self.is_sqlite:
            return self._writer()
        try:
            with self.engine.connect() as connection:
                return done.holder(connection, key)
        except sa.exc.DBAPIError as error:
            return f"its process is unknown ({self.reason(error)})"

    def _writer(self) -> str:
        """Say which process holds the write lock of the file, as Linux tells."""
        files = [Path(f"{self.engine.url.database}{suffix}") for suffix in ("", "-shm", "-journal")]
        with contextlib.suppress(OSError, ValueError, IndexError):
            inodes = {file.stat().st_ino for file in files if file.exists()}
            for line in Path("/proc/locks").read_text().splitlines():
                _, kind, _, mode, pid, place, *_ = line.split()
                if (kind, mode) == ("POSIX", "WRITE") and int(place.rpartition(":")[2]) in inodes:
                    return f"end process {pid}, which holds it"
        return "end the process that holds it (`fuser` names those that have it open)"


def _driver_error(error: BaseException) -> BaseException:
    """Return the driver's error, if SQLAlchemy has wrapped it."""
    return getattr(error, "orig", None) or error
