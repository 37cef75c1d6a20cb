"""One opened database: a held connection, one lock for all threads, and retries."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.engine import URL

from zrb_store import points
from zrb_store.db import forks, schema
from zrb_store.db.dialect import OpenFile, dialect_of, revision_of
from zrb_store.db.tables import REVISION
from zrb_store.db.transaction import Params, Row, Transaction, is_write
from zrb_store.db.urls import shown_url
from zrb_store.db.waiting import Wait
from zrb_store.errors import SchemaAhead, StoreUnavailable, ZrbStoreError

T = TypeVar("T")

_GIVE_UP_FOR = 5.0  # seconds in which an operation is tried only once, after one has waited in vain


class StoreReplaced(StoreUnavailable):
    """Another file has the name of the store by now, or none."""


class Database:
    """The connection of this process to one store.

    One connection and one lock serve all threads: of the arrangements measured it is the fairest, and as fast as a
    connection per thread. The lock is free while an operation waits for another program, so that other threads can
    read meanwhile. After a fork both processes open their own connection.

    Attributes:
        closed: Whether `close` was called: nothing can be done with it any more.
        timeout: Seconds for which a locked or unreachable database is tried again before the caller gets an error.
    """

    timeout = 30.0

    def __init__(self, url: URL, *, read_only: bool = False, durability: str = "normal", check: bool = True) -> None:
        self.url = url
        self.read_only = read_only
        self.dialect = dialect_of(url)
        self._engine = self.dialect.engine(url, read_only=read_only, durability=durability)
        self._lock = threading.RLock()
        self._transaction: Transaction | None = None
        self._held: Any = None
        self._file: OpenFile | None = None
        self._in_use = False
        self._may_be_done = False  # whether the change under way may have been made although its connection is lost
        self._gave_up_at = -_GIVE_UP_FOR
        self._stop_at: float | None = None
        self._is_replaced = False
        self._locked_for_fork = False
        self.closed = False
        forks.guard(self)
        self.dialect.watch(self)
        if check:
            try:
                schema.check(self)
            except BaseException:
                self.close()
                raise

    @property
    def dialect_name(self) -> str:
        """`sqlite` or `postgresql`."""
        return self._engine.dialect.name

    @property
    def shown_url(self) -> str:
        """Where it is, passwords masked."""
        return shown_url(self.url)

    @property
    def engine(self) -> sa.Engine:
        """The SQLAlchemy engine, for migrations and backups; everything else uses the held connection."""
        return self._engine

    def close(self) -> None:
        """Close the connection; an operation of another thread ends first."""
        with self._lock:
            self.closed = True
            # No PRAGMA optimize: by what it learns of a store that is small yet, SQLite scans it when it is large.
            self._drop()

    # -- operations

    def execute(self, statement: sa.sql.Executable, params: Params = {}, /) -> list[Row]:  # noqa: B006 - never changed
        """Run one statement in a transaction of its own.

        One that writes must have `schema_holds` among its conditions, and return the rows that it changed.

        Raises:
            StoreUnavailable: The database could not be used in time.
            SchemaAhead: Another process has upgraded the store meanwhile.
        """
        if not is_write(statement):
            return self._operate(Transaction.execute, statement, params)
        if self.read_only or self.dialect.commits_unsynced:
            return self.transact(lambda transaction: transaction.execute(statement, params))
        return self._operate(self._write, statement, params)

    def _write(self, transaction: Transaction, statement: sa.sql.Executable, params: Params) -> list[Row]:
        self._may_be_done = True
        rows = transaction.execute(statement, params)
        if not rows:
            self._refuse_other_revision(revision_of(transaction.driver))
        self.refuse_replaced()
        return rows

    def transact(self, work: Callable[[Transaction], T], name: str = "") -> T:
        """Run `work` in one write transaction, again from its start if another one was in the way.

        Args:
            work: Gets the transaction. Whatever it changes besides the database must bear being done twice.
            name: Names the points `NAME:inside` and `NAME:after` for crash tests.

        Raises:
            StoreUnavailable: The database could not be used in time, or was opened for reading.
            SchemaAhead: Another process has upgraded the store meanwhile.
        """

        def in_transaction(transaction: Transaction) -> T:
            try:  # from here on, lest a Ctrl-C right after BEGIN leaves the transaction open
                self._refuse_other_revision(self.dialect.begin(transaction.driver))
                result = work(transaction)
                if name:
                    points.reach(f"{name}:inside")
                self._may_be_done = True
                transaction.driver.execute("COMMIT")
            except BaseException:
                self._roll_back()
                raise
            self.refuse_replaced()
            return result

        if self.read_only:
            raise StoreUnavailable(f"the store {self.shown_url} does not allow this: it was opened for reading only")
        if name:
            points.reach(f"{name}:before")
        result = self._operate(in_transaction)
        if name:
            points.reach(f"{name}:after")
        return result

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[Transaction]:
        """Read several statements as of one moment. Keep it short: an old snapshot stops SQLite's checkpoints."""
        began = time.monotonic()
        wait = None
        while True:
            with self._lock:
                self._refuse_nesting()
                try:
                    self._in_use = True
                    self._may_be_done = False
                    try:
                        transaction = self._connection()
                        transaction.driver.execute(self.dialect.begin_snapshot)
                    except Exception as error:  # noqa: BLE001 - raised again if it is no reason to wait
                        wait = self._wait_or_raise(error, wait, began)
                    else:
                        yield transaction
                        return
                except Exception as error:
                    if explained := self.dialect.explain(error, self.url):
                        raise explained from error
                    raise
                finally:
                    try:
                        self._roll_back()
                    finally:
                        self._in_use = False
            wait.sleep()

    @contextlib.contextmanager
    def migrating(self) -> Iterator[sa.Engine]:
        """The engine, for a migration: nobody forks meanwhile, and the held connection is made anew afterwards.

        Raises:
            StoreUnavailable: The database could not be used.
        """
        with self._lock:
            try:
                self.dialect.create(self.url)
                yield self._engine
            except (OSError, sa.exc.DBAPIError) as error:
                cause = getattr(error, "orig", None) or error
                raise self.dialect.explain(cause, self.url) or cause from error
            finally:
                # It remembers a file without tables, and while others open and close it SQLite may believe that.
                self._drop()

    def _operate(self, work: Callable[..., T], *args: Any) -> T:
        """Do one operation, again while the database is busy or away."""
        began = time.monotonic()
        wait = None
        while True:
            with self._lock:
                self._refuse_nesting()
                try:
                    self._in_use = True
                    self._may_be_done = False
                    result = work(self._connection(), *args)
                except Exception as error:  # noqa: BLE001 - raised again if it is no reason to wait
                    wait = self._wait_or_raise(error, wait, began)
                else:
                    if wait is not None:
                        wait.end()
                    return result
                finally:
                    self._in_use = False
            wait.sleep()

    def _refuse_nesting(self) -> None:
        if self._in_use:
            # What it did would be undone with the statement around it, although it was told that it is done.
            raise RuntimeError(
                f"the store {self.shown_url} is in use by this thread at this moment: "
                "a signal handler, a codec or a comparison of values must not use it"
            )

    # -- when it does not go well

    def stop_waiting(self, within: float) -> None:
        """Let no operation wait longer than so many seconds from now, since the process has to end.

        Each one is still tried once. May be called from a signal handler, and from any thread.
        """
        self._stop_at = time.monotonic() + within

    def wait_again(self) -> None:
        """Take `stop_waiting` back: the process lives on."""
        self._stop_at = None

    @property
    def is_stopping(self) -> bool:
        """Whether the process has to end."""
        return self._stop_at is not None

    def _wait_or_raise(self, error: Exception, wait: Wait | None, began: float) -> Wait:
        """Decide whether the operation is tried again; if not, raise what its caller is told."""
        if isinstance(error, ZrbStoreError):
            if self._is_replaced:
                self._drop()
            raise error
        error = getattr(error, "orig", None) or error  # SQLAlchemy wraps what goes wrong while it connects
        if isinstance(error.__context__, KeyboardInterrupt):  # psycopg makes an error of its own of it
            raise error.__context__ from None
        gone = self.dialect.is_gone(error)
        busy = self.dialect.is_busy(error) or (self._transaction is not None and self._transaction.cancelled)
        if gone:
            self._drop()
        # A connection that is lost amid a COMMIT leaves open whether the change was made.
        if busy or (gone and not self._may_be_done):
            if wait is None:
                # Who was told just now that it is in vain must not wait anew for each thing that is left to do.
                gave_up = time.monotonic() - self._gave_up_at < _GIVE_UP_FOR
                wait = Wait(self.shown_url, began, 0.0 if gave_up else self.timeout)
            wait.away = gone
            if not wait.is_over(self._stop_at):
                return wait
            self._gave_up_at = time.monotonic()
        if explained := self.dialect.explain(error, self.url, locked=busy):
            raise explained from error
        raise error

    def refuse_replaced(self) -> None:
        """Raise `StoreReplaced` if the store's name no longer means the file that is open here.

        Asked after each write, so that nothing is acknowledged that nobody will find again.
        """
        if self._file is not None and not self._file.is_in_place():
            self._is_replaced = True
            raise StoreReplaced(
                f"the file of the store {self.shown_url} was deleted or replaced while this process had it open: "
                "end this process, and start it again"
            )

    def _refuse_other_revision(self, found: str | None) -> None:
        if found != REVISION:
            raise SchemaAhead(
                f"the store {self.shown_url} was changed to revision {found} while this process had it open: "
                "end this process, and start it again with the zrb-store that made the change"
            )

    def _roll_back(self) -> None:
        # SQLite may have rolled back by itself (disk full); a lost connection cannot answer.
        with contextlib.suppress(Exception):
            if self._transaction is not None:
                self._transaction.driver.execute("ROLLBACK")

    # -- the connection

    def _connection(self) -> Transaction:
        transaction = self._transaction
        if transaction is not None:
            if not self._is_replaced and not transaction.cancelled and self.dialect.is_idle(transaction.driver):
                return transaction
            self._drop()
        if self.closed:
            raise ZrbStoreError("this store was closed: open it again")
        self.refuse_replaced()
        self._held = self._engine.raw_connection()
        self._file = self.dialect.open_file(self.url)
        self._transaction = Transaction(self._held.driver_connection, self._engine.dialect)
        return self._transaction

    def _drop(self) -> None:
        held, self._held, self._transaction = self._held, None, None
        if held is None:
            return
        with contextlib.suppress(Exception):
            held.invalidate()
            if self._file is not None:
                self._file.put_log_aside()

    @property
    def under_way(self) -> Transaction | None:
        """The connection, while an operation uses it."""
        return self._transaction if self._in_use else None

    @property
    def is_overdue(self) -> bool:
        """Whether the process has to end and has waited long enough."""
        return self._stop_at is not None and time.monotonic() > self._stop_at

    def before_fork(self) -> None:
        """Close the connection, and keep other threads from opening one."""
        self._locked_for_fork = self._lock.acquire(timeout=self.timeout)
        if self._locked_for_fork and not self._in_use:
            self._drop()

    def after_fork(self, in_child: bool) -> None:
        """Let other threads work again."""
        if not in_child:
            if self._locked_for_fork:
                self._lock.release()
            return
        self._inherited = (self._held, self._transaction)  # only if forked amid a transaction: not even to be closed
        self._held = self._transaction = None
        self._in_use = False
        self._lock = threading.RLock()
