"""One opened database: a held connection, a lock and retries."""

from __future__ import annotations

import contextlib
import os
import random
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.engine import URL

from zrb_store import points
from zrb_store.db import schema
from zrb_store.db.dialect import dialect_of
from zrb_store.db.transaction import Params, Row, Transaction
from zrb_store.errors import ZrbStoreError

T = TypeVar("T")

_databases: weakref.WeakSet[Database] = weakref.WeakSet()


class Database:
    """The connection of this process to one store.

    One connection and one lock serve all threads: of the arrangements measured it is the fairest and as fast as a
    connection per thread. After a fork both processes open their own.

    Attributes:
        closed: Whether `close` was called: nothing can be done with it any more.
        patience: Seconds for which a locked or unreachable database is tried again before the caller gets an error.
    """

    patience = 30.0

    def __init__(self, url: URL, *, read_only: bool = False, durability: str = "normal", check: bool = True) -> None:
        self.url = url
        self.read_only = read_only
        self.dialect = dialect_of(url)
        self._engine = self.dialect.engine(url, read_only=read_only, durability=durability)
        self._lock = threading.RLock()
        self._transaction: Transaction | None = None
        self._held: Any = None
        self._in_use = False
        self.closed = False
        self._forking = False
        self._given_up = False
        _databases.add(self)
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
        """Where it is, the password left out."""
        return self.url.render_as_string(hide_password=True)

    @property
    def engine(self) -> sa.Engine:
        """The SQLAlchemy engine, for migrations and backups; everything else uses the held connection."""
        return self._engine

    def close(self) -> None:
        """Close the connection; a transaction in another thread ends first."""
        with self._lock:
            self.closed = True
            held, self._held, self._transaction = self._held, None, None
            if held is not None:
                # No PRAGMA optimize: by what it learns of a store that is small yet, SQLite scans it when it is large.
                held.close()

    def execute(self, statement: sa.sql.Executable, params: Params = {}, /) -> list[Row]:  # noqa: B006 - never changed
        """Run one statement in a transaction of its own.

        Raises:
            StoreUnavailable: The database could not be used in time.
        """
        with self._lock:
            if self._in_use:
                raise self._used_within()
            try:
                self._in_use = True
                return self._retried(Transaction.execute, statement, params)
            finally:
                self._in_use = False

    def transact(self, work: Callable[[Transaction], T], name: str = "") -> T:
        """Run `work` in one write transaction, again from its start if another one was in the way.

        Args:
            work: Gets the transaction. Whatever it changes besides the database must bear being done twice.
            name: Names the points `NAME:inside` and `NAME:after` for crash tests.

        Raises:
            StoreUnavailable: The database could not be used in time.
        """

        def in_transaction(transaction: Transaction) -> T:
            try:  # from here on, lest a Ctrl-C right after BEGIN leaves the transaction open
                transaction.driver.execute(self.dialect.begin)
                result = work(transaction)
                if name:
                    points.reach(f"{name}:inside")
                transaction.driver.execute("COMMIT")
            except BaseException:
                self._roll_back()
                raise
            return result

        with self._lock:
            if self._in_use:
                raise self._used_within()
            if name:
                points.reach(f"{name}:before")
            try:
                self._in_use = True
                result = self._retried(in_transaction)
            finally:
                self._in_use = False
            if name:
                points.reach(f"{name}:after")
            return result

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[Transaction]:
        """Read several statements as of one moment. Keep it short: an old snapshot stops SQLite's checkpoints."""
        with self._lock:
            if self._in_use:
                raise self._used_within()
            try:
                self._in_use = True
                yield self._retried(self._begin_snapshot)
            except Exception as error:
                if explained := self.dialect.explain(error, self.url):
                    raise explained from error
                raise
            finally:
                try:
                    self._roll_back()
                finally:
                    self._in_use = False

    def _used_within(self) -> RuntimeError:
        # What it did would be undone with the statement around it, although it was told that it is done.
        return RuntimeError(
            f"the store {self.shown_url} is in use by this thread at this moment: "
            "a signal handler, a codec or a comparison of values must not use it"
        )

    def _begin_snapshot(self, transaction: Transaction) -> Transaction:
        transaction.driver.execute(self.dialect.begin_snapshot)
        return transaction

    def _roll_back(self) -> None:
        # SQLite may have rolled back by itself (disk full); a lost connection cannot answer.
        with contextlib.suppress(Exception):
            if self._transaction is not None:
                self._transaction.driver.execute("ROLLBACK")

    def _retried(self, work: Callable[..., T], *args: Any) -> T:
        deadline = 0.0
        tries = 0
        while True:
            tries += 1
            sent = False
            try:
                transaction = self._connection()
                sent = True
                return work(transaction, *args)
            except ZrbStoreError:
                raise
            except Exception as error:
                if isinstance(error.__context__, KeyboardInterrupt):  # psycopg makes an error of its own of it
                    raise error.__context__ from None
                gone = self.dialect.is_gone(error)
                if gone:
                    self._drop()
                # A lost connection leaves open whether the statement was carried out: only connecting is tried again.
                if self.dialect.is_busy(error) or (gone and not sent):
                    deadline = deadline or time.monotonic() + (0 if self._given_up else self.patience)
                    if time.monotonic() < deadline:
                        time.sleep(random.uniform(0.05, 0.25) if gone else _wait_for_lock(tries))
                        continue
                # Who was told already that the store is away must not wait again for each thing that is left to do.
                self._given_up = gone and not sent
                if explained := self.dialect.explain(error, self.url):
                    raise explained from error
                raise

    def _connection(self) -> Transaction:
        transaction = self._transaction
        if transaction is not None:
            if self.dialect.is_idle(transaction.driver):
                return transaction
            self._drop()
        if self.closed:
            raise ZrbStoreError("this store was closed: open it again")
        self._held = self._engine.raw_connection()
        self._given_up = False
        self._transaction = Transaction(self._held.driver_connection, self._engine.dialect)
        return self._transaction

    def _before_fork(self) -> None:
        self._forking = self._lock.acquire(timeout=self.patience)
        if self._forking and not self._in_use:
            self._drop()

    def _after_fork(self, in_child: bool) -> None:
        if not in_child:
            if self._forking:
                self._lock.release()
            return
        self._inherited = (self._held, self._transaction)  # only if forked amid a transaction: not even to be closed
        self._held = self._transaction = None
        self._in_use = False
        self._lock = threading.RLock()

    def _drop(self) -> None:
        held, self._held, self._transaction = self._held, None, None
        if held is not None:
            with contextlib.suppress(Exception):
                held.invalidate()

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


def _wait_for_lock(tries: int) -> float:
    """Seconds to wait for SQLite's one writer's lock, after it was asked for so many times.

    Who had it a moment ago waits long, so that it seldom changes hands: each time costs pages to read again. Who waits
    asks ever more often, so that all get their share. Random, lest several keep in step.
    """
    return random.uniform(0.003, 0.008) / (1 << min(tries - 1, 4))


# No connection crosses a fork. SQLite keeps its file locks per process and counts them in memory: a child that inherits
# an open connection believes to hold the lock that keeps others from deleting the -wal file under it, and loses what
# it commits once the parent has closed the store. So each connection is closed before a fork, and opened anew by
# whoever needs it next. (subprocess and asyncio do not fork in this sense.)
_one_fork = threading.Lock()
_forking: list[Database] = []


def _before_fork() -> None:
    _one_fork.acquire()
    _forking.extend(_databases)
    for database in _forking:
        database._before_fork()


def _after_fork(in_child: bool) -> None:
    for database in _forking:
        database._after_fork(in_child)
    _forking.clear()
    _one_fork.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork,
        after_in_parent=lambda: _after_fork(in_child=False),
        after_in_child=lambda: _after_fork(in_child=True),
    )
