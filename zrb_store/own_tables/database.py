"""The user's database: it opens transactions that are committed once, and knows what their errors mean."""

from __future__ import annotations

import contextlib
import functools
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from zrb_store import system
from zrb_store.db.clock import clock
from zrb_store.db.core import sa
from zrb_store.db.dialect.sqlite import BUSY, primary_code
from zrb_store.db.location import shown_url
from zrb_store.db.patience import Patience
from zrb_store.errors import InvalidArgument, StoreUnavailable, ZrbStoreError
from zrb_store.masking import mask_text, one_line
from zrb_store.own_tables import done, places
from zrb_store.own_tables.guard import has_ended, hook

_CONFLICTS = ("40001", "40P01")  # SQLSTATEs of a serialization failure and of a deadlock
# SQLSTATEs of a connection that was lost, and of one that the server cannot take at the moment.
_GONE = ("08", "57P", "25P03", "25P04", "53300")
_LOCKED = "55P03"  # the SQLSTATE of a lock that was not got in time
_FIND_OPEN = "`SELECT pid, query FROM pg_stat_activity WHERE state LIKE 'idle in%'` names it"
_PAUSE = 0.05  # seconds


class UserDatabase:
    """A PostgreSQL or SQLite database of the user, by an engine of SQLAlchemy."""

    def __init__(self, engine: object, what: str, pause: Callable[[float], object] = time.sleep) -> None:
        """Check that the engine can be used. `what` names in messages what it is for; `pause` waits some seconds."""
        if not isinstance(engine, sa.Engine):
            raise InvalidArgument(
                f"{what} needs an engine of SQLAlchemy, not a {type(engine).__name__}: "
                "`sqlalchemy.create_engine(...)`, or `create_async_engine(...)` with a coroutine function"
            )
        if engine.dialect.name not in ("postgresql", "sqlite"):
            raise InvalidArgument(f"{what} needs PostgreSQL or SQLite, not {engine.dialect.name}")
        hook(engine)
        self.engine = engine
        self.is_async = engine.dialect.is_async
        self.is_sqlite = engine.dialect.name == "sqlite"
        self.pause = pause
        self._what = what

    @property
    def name(self) -> str:
        """Its name, for people."""
        place = places.known(self.engine)
        return Path(self.engine.url.database or "your database").name if place is None else place.name

    def find(self, patience: Patience) -> places.Place:
        """Return where it is; the first time, ask it, and wait for that as long as operations of the store wait."""
        wait = DatabaseWait(self, patience)
        while True:
            try:
                place = places.place_of(self.engine)
            except (sa.exc.DBAPIError, OSError) as error:  # asyncpg raises those of the system
                if not self.is_gone(error):
                    raise StoreUnavailable(f"{self._what} cannot use {self.name}: {self.reason(error)}") from error
                wait.for_answer(error, self._what)
            else:
                if place.file == "":
                    raise InvalidArgument(
                        f"{self._what} needs a database that outlives this process: name a file of SQLite"
                    )
                return place

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

    def make_table(self, patience: Patience) -> None:
        """Make `zrb_store_done` unless it is there; say what to do if that is not allowed.

        While another transaction makes it and does not end, wait as long as operations of the store wait.
        """
        wait = DatabaseWait(self, patience)
        while not self._made_table():
            if not wait.pause():
                end = self._writer() if self.is_sqlite else _FIND_OPEN
                raise StoreUnavailable(
                    f"{self._what} waits for another transaction, which makes the table {done.NAME} in {self.name} and "
                    f"is still open: {end}"
                )

    def _made_table(self) -> bool:
        """Return False if the table cannot be made until another transaction has ended."""
        try:
            with self.engine.connect() as connection:
                if done.is_missing(connection):
                    done.create(connection)
                    connection.commit()
                return True
        except sa.exc.DBAPIError as error:
            if self.is_conflict(error) or _state(_driver_error(error)) == _LOCKED:
                return False
            with contextlib.suppress(sa.exc.DBAPIError), self.engine.connect() as connection:
                if not done.is_missing(connection):
                    return True  # another process has just made it
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
        return _state(cause) in _CONFLICTS

    def is_gone(self, error: BaseException) -> bool:
        """Whether the connection was lost, or none can be made at the moment."""
        if self.is_sqlite:
            return False
        if isinstance(error, OSError) or (isinstance(error, sa.exc.DBAPIError) and error.connection_invalidated):
            return True
        cause = _driver_error(error)
        if state := _state(cause):
            return state.startswith(_GONE)
        from zrb_store.db.dialect.postgresql import is_temporary

        return isinstance(error, (sa.exc.OperationalError, sa.exc.InterfaceError)) and is_temporary(str(cause))

    def is_missing(self, error: BaseException) -> bool:
        """Whether a statement was refused because there is no table `zrb_store_done`."""
        cause = _driver_error(error)
        return _state(cause) == "42P01" or f"no such table: {done.NAME}" in str(cause)

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
        """Say which process holds the write lock of the file, if the system tells."""
        files = [Path(f"{places.place_of(self.engine).file}{suffix}") for suffix in ("", "-shm", "-journal")]
        if pid := system.here().lock_holder(files):
            return f"end process {pid}, which holds it"
        return "end the process that holds it (`fuser` names those that have it open)"


class DatabaseWait:
    """The waiting of one operation for a user's database, which takes as long as operations of the store wait."""

    def __init__(self, database: UserDatabase, patience: Patience) -> None:
        self._database = database
        self._patience = patience
        self._deadline = clock.monotonic() + patience.timeout

    def pause(self) -> bool:
        """Pause before the next try; return False instead if the time is over."""
        if clock.monotonic() >= self._deadline or self._patience.is_overdue:
            return False
        self._database.pause(_PAUSE)
        return True

    def for_answer(self, error: BaseException, what: str, more: str = "") -> None:
        """Pause because the database does not answer, and raise an error if the time is over."""
        if not self.pause():
            database = self._database
            raise StoreUnavailable(f"{what} cannot reach {database.name}: {database.reason(error)}{more}") from error


def _driver_error(error: BaseException) -> BaseException:
    """Return the driver's error, if SQLAlchemy has wrapped it."""
    return getattr(error, "orig", None) or error


def _state(cause: BaseException) -> str | None:
    """Return the SQLSTATE of a driver's error, if it has one."""
    return getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None)
