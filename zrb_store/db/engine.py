"""One opened database: a held connection, a lock, retries, and the schema's revision."""

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
from zrb_store.db.dialect import dialect_of
from zrb_store.db.tables import REVISION, run
from zrb_store.db.transaction import Params, Row, Transaction
from zrb_store.errors import SchemaAhead, SchemaBehind, StoreMissing, ZrbStoreError

T = TypeVar("T")

_VERSION: sa.Select[Any] = sa.select(sa.column("version_num")).select_from(sa.table("alembic_version"))

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
        self._open_transaction = False
        self.closed = False
        self._forking = False
        self._given_up = False
        _databases.add(self)
        if check:
            try:
                self._check_schema()
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
            return self._retried(Transaction.execute, statement, params)

    def transact(self, work: Callable[[Transaction], T], name: str = "") -> T:
        """Run `work` in one write transaction, again from its start if another one was in the way.

        Args:
            work: Gets the transaction. Whatever it changes besides the database must bear being done twice.
            name: Names the points `NAME:inside` and `NAME:after` for crash tests.

        Raises:
            StoreUnavailable: The database could not be used in time.
        """

        def attempt(transaction: Transaction) -> T:
            try:  # from here on, lest a Ctrl-C right after BEGIN leaves the transaction open
                self._open_transaction = True
                transaction.driver.execute(self.dialect.begin)
                result = work(transaction)
                if name:
                    points.reach(f"{name}:inside")
                transaction.driver.execute("COMMIT")
            except BaseException:
                self._roll_back()
                raise
            finally:
                self._open_transaction = False
            return result

        with self._lock:
            if self._open_transaction:
                raise RuntimeError("a transaction of this store is open already")
            if name:
                points.reach(f"{name}:before")
            result = self._retried(attempt)
            if name:
                points.reach(f"{name}:after")
            return result

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[Transaction]:
        """Read several statements as of one moment. Keep it short: an old snapshot stops SQLite's checkpoints."""
        with self._lock:
            try:
                self._open_transaction = True
                yield self._retried(self._begin_snapshot)
            except Exception as error:
                if explained := self.dialect.explain(error, self.url):
                    raise explained from error
                raise
            finally:
                self._open_transaction = False
                self._roll_back()

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
            if self._open_transaction or self.dialect.is_idle(transaction.driver):
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
        if self._forking and not self._open_transaction:
            self._drop()

    def _after_fork(self, in_child: bool) -> None:
        if not in_child:
            if self._forking:
                self._lock.release()
            return
        self._inherited = (self._held, self._transaction)  # only if forked amid a transaction: not even to be closed
        self._held = self._transaction = None
        self._open_transaction = False
        self._lock = threading.RLock()

    def _drop(self) -> None:
        held, self._held, self._transaction = self._held, None, None
        if held is not None:
            with contextlib.suppress(Exception):
                held.invalidate()

    def revision(self) -> str | None:
        """The revision of the schema that is there, or None if there is no schema.

        Raises:
            StoreMissing: There is no SQLite file.
        """
        if not self.execute(self.dialect.has_versions):
            return None
        rows = self.execute(_VERSION)
        return rows[0][0] if rows else None

    def _check_schema(self) -> None:
        with self._lock:  # nobody forks while a migration holds a connection of its own
            self._make_or_upgrade()

    def _make_or_upgrade(self) -> None:
        try:
            found = self.revision()
        except StoreMissing:
            if self.read_only:
                raise
            found = None
        if found == REVISION:
            return
        self.refuse_foreign(found)
        if found is None and self.read_only:
            raise self.missing()
        if found is not None and (self.read_only or not self.dialect.backs_up or self._has_live_lease()):
            raise SchemaBehind(f"the store {self.shown_url} has the older revision {found}: run `zrb-store db upgrade`")
        self.upgrade()

    def upgrade(self) -> None:
        """Bring the schema to the newest revision, and make it if there is none. A SQLite store is backed up first.

        Raises:
            StoreUnavailable: The database could not be used.
        """
        from zrb_store.db import migrate

        try:
            self.dialect.create(self.url)
            migrate.upgrade(self._engine, back_up=True)
        except (OSError, sa.exc.DBAPIError) as error:
            cause = getattr(error, "orig", None) or error
            raise self.dialect.explain(cause, self.url) or cause from error
        finally:
            # It remembers a file without tables, and while others open and close it SQLite may believe that.
            self._drop()

    def refuse_foreign(self, found: str | None) -> None:
        """Raise unless the database is ours, or nobody's yet.

        Args:
            found: The revision of the schema that is there, None if there is none.

        Raises:
            SchemaAhead: It is another program's, or was made by a newer zrb-store.
        """
        if found is None:
            with contextlib.suppress(StoreMissing):
                if self.execute(self.dialect.has_foreign):
                    raise SchemaAhead(
                        f"{self.shown_url} is another program's database: name another file in ZRB_STORE_URL"
                    )
            return
        from zrb_store.db import migrate  # only now: Alembic takes longer to import than a command may take

        if found != REVISION and not migrate.is_known(found):
            raise SchemaAhead(
                f"the store {self.shown_url} has revision {found}, unknown to this version: upgrade zrb-store; "
                "or, if it is another program's, name another file or schema in ZRB_STORE_URL"
            )

    def missing(self) -> StoreMissing:
        """The error that says that there is no store."""
        return StoreMissing(f"there is no store in {self.shown_url}; the first run or push makes it")

    def _has_live_lease(self) -> bool:
        # Only columns of the first revision: the store is older than this code.
        from zrb_store.db.dialect import now

        live: sa.Select[Any] = (
            sa.select(sa.literal_column("1")).where(run.c.ended_at.is_(None), run.c.lease_expires_at > now()).limit(1)
        )
        return bool(self.execute(live))


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
