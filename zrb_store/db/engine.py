"""An opened database: one connection that is kept open, one lock for all threads, and retries.

Connections are closed before a fork. SQLite keeps its file locks per process and counts them in memory. A child process
that inherits an open connection believes that it holds the lock that keeps others from deleting the -wal file, and
loses what it commits once the parent has closed the store. So each connection is closed before a fork, and each of the
two processes opens a new one when it needs it. (`subprocess` and asyncio are not affected: their children execute
another program.)
"""

from __future__ import annotations

import contextlib
import os
import threading
import weakref
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import TYPE_CHECKING, TypeVar, TypeVarTuple

from zrb_store.db import REVISION
from zrb_store.db.clock import clock
from zrb_store.db.core import Params, ready, sa
from zrb_store.db.dialect import revision_of
from zrb_store.db.dialect.sqlite import SQLite
from zrb_store.db.location import shown_url
from zrb_store.db.patience import FULL, LOCKED, UNREACHABLE, Backoff, Patience
from zrb_store.db.transaction import Died, Lost, Row, Transaction, failpoint, roll_back, savepoint
from zrb_store.errors import SchemaAhead, StoreUnavailable, ZrbStoreError, possibly_committed_error

if TYPE_CHECKING:
    from zrb_store.db.core import Runnable
    from zrb_store.db.dialect.lost_commits import Asking, Committing
    from zrb_store.db.dialect.postgresql import PostgreSQL
    from zrb_store.observe import Observer


T = TypeVar("T")
Ts = TypeVarTuple("Ts")


_joined: ContextVar[tuple[sa.URL, Transaction] | None] = ContextVar("zrb_store_joined", default=None)


@contextlib.contextmanager
def joined(database: Database, transaction: Transaction) -> Iterator[None]:
    """Let this context do what it does to a store in a transaction that its user has begun there, and commits."""
    token = _joined.set((database.url, transaction))
    try:
        yield
    finally:
        _joined.reset(token)


class StoreReplaced(StoreUnavailable):
    """The file of the store was deleted, or another file has taken its name."""


def dialect_of(url: sa.URL, *, read_only: bool = False, durability: str = "normal") -> SQLite | PostgreSQL:
    """Return the hooks for the database of this URL."""
    if url.drivername in ("sqlite", "sqlite+pysqlite"):
        return SQLite(url, read_only=read_only, durability=durability)
    if url.drivername in ("postgresql", "postgresql+psycopg"):
        from zrb_store.db.dialect.postgresql import PostgreSQL  # late: users of SQLite do not need it

        return PostgreSQL(url, durability=durability)
    raise StoreUnavailable(f"{url.drivername!r} is not supported: use a file path, sqlite:///PATH or postgresql://...")


class Database(Patience):
    """The connection of this process to one store.

    All threads share one connection and one lock. Of the arrangements measured, this one is the fairest, and as fast as
    a connection per thread. While an operation waits for another program, it releases the lock, so that other threads
    can read. After a fork each of the two processes opens its own connection.
    """

    # Called after a transaction in which values died, with this object, and queue id and seq of each.
    on_death: Callable[[Database, Died], object] | None = None
    observer: Observer | None = None  # of runs, attempts and steps

    def __init__(self, url: sa.URL, *, read_only: bool = False, durability: str = "normal") -> None:
        """Prepare to use a store. Its schema is checked by `schema.open_database`, not here."""
        self.shown_url = shown_url(url)  # with passwords masked
        super().__init__(self.shown_url, read_only=read_only)
        self.url = url
        self.read_only = read_only
        self.dialect = dialect_of(url, read_only=read_only, durability=durability)
        self.dialect_name = self.dialect.name
        self.connections = 0  # how many were opened up to now
        self._lock = threading.RLock()
        self._transaction: Transaction | None = None
        self._in_use = self._is_replaced = self._locked_for_fork = self.closed = False
        # When the next operation makes sure that nobody has upgraded the store, as each write does anyway.
        self.revision_due = float("inf")
        self._may_be_committed = False  # whether the server may already have committed the current change
        with _fork_lock:
            _known.add(self)

    @property
    def engine(self) -> sa.Engine:
        """The SQLAlchemy engine, for migrations and backups."""
        return self.dialect.engine

    def close(self) -> None:
        """Close the connection, once the operation of another thread, if there is one, has ended."""
        with self._lock:
            self.closed = True
            # No PRAGMA optimize: with statistics of a store that is still small, SQLite would scan it when it is large.
            self._drop()

    # -- operations

    def execute(self, statement: Runnable, params: Params = {}, lost: Lost | None = None, /) -> list[Row]:  # noqa: B006
        """Run one statement in its own transaction.

        A statement that writes must have `schema_is_unchanged` as a condition, and return the rows that it changed. If
        its answer is lost, it is an error that says so, unless `lost` can tell whether it was run.
        """
        if (transaction := self._joined) is not None:
            return transaction.execute(statement, params)
        if not ready(statement, self.dialect_name).writes:
            return self.operate(Transaction.execute, statement, params)
        if self.read_only or self.dialect.commits_unsynced:
            return self.transact(lambda transaction: transaction.execute(statement, params))
        if lost is None or not self.dialect.may_lose_answers:
            return self.operate(self.write, statement, params)
        from zrb_store.db.dialect.lost_commits import Asking

        change = Asking(self.dialect, lambda transaction: self.write(transaction, statement, params), lost)
        try:
            return self.operate(self._ask, change)
        except StoreUnavailable as error:
            raise error if change.session is None else possibly_committed_error(error) from error.__cause__

    def _ask(self, transaction: Transaction, change: Asking) -> list[Row]:
        try:
            return change(transaction)
        finally:
            self._may_be_committed &= change.session is None  # else that is found out over the next connection

    def write(self, transaction: Transaction, statement: Runnable, params: Params) -> list[Row]:
        """Run a statement that writes in its own transaction, once. It is for `operate`."""
        self._may_be_committed = True
        rows = transaction.execute(statement, params)
        if not rows:
            self._refuse_upgraded(revision_of(transaction.driver))
        if not self.dialect.is_kept():
            self.refuse_replaced()
        return rows

    def transact(
        self,
        work: Callable[[Transaction], T],
        name: str = "",
        *,
        is_made: Callable[[Transaction, T], bool] | None = None,
        in_background: bool = False,
    ) -> T:
        """Run `work` in one write transaction. If another transaction conflicts with it, run it again from the start.

        `name` begins the names of the failpoints. If a COMMIT was not answered and the server cannot tell, because it
        has crashed or another one has taken over, `is_made` tells from the rows whether it was committed. With
        `in_background` nobody waits for it: if it gives up, other operations still wait as long as ever.
        """
        if self.read_only:
            raise StoreUnavailable(f"the store {self.shown_url} does not allow this: it was opened for reading only")
        if (transaction := self._joined) is not None:
            with savepoint(transaction):
                return work(transaction)
        if name:
            failpoint(f"{name}:before")
        change = None
        if self.dialect.may_lose_answers:
            from zrb_store.db.dialect.lost_commits import Committing

            change = Committing(self.dialect, is_made)
        try:
            result, died = self.operate(self._commit, work, name, change, in_background=in_background)
        except StoreUnavailable as error:
            if change is not None and change.sent is not None:
                raise possibly_committed_error(error) from error
            raise
        if name:
            failpoint(f"{name}:after")
        if died and self.on_death is not None:
            self.on_death(self, died)
        return result

    def _commit(
        self, transaction: Transaction, work: Callable[[Transaction], T], name: str, change: Committing[T] | None
    ) -> tuple[T, Died]:
        """Run `work` in a transaction, unless an earlier try was committed. Return its result, and what died."""
        if change is not None and (earlier := change.earlier(transaction)) is not None:
            return earlier.result, earlier.died
        transaction.died = []
        try:  # includes BEGIN, since a Ctrl-C right after it must not leave the transaction open
            found, ticket = self.dialect.begin(transaction.driver)
            self._refuse_upgraded(found)
            result = work(transaction)
            if name:
                failpoint(f"{name}:inside")
            if change is not None:
                change.note(ticket, result, transaction.died)
            transaction.driver.execute("COMMIT")
        except BaseException as error:
            if change is not None and not self.dialect.is_gone(error):
                change.sent = None
            roll_back(transaction)
            raise
        if not self.dialect.is_kept():
            self.refuse_replaced()
        return result, transaction.died

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[Transaction]:
        """Yield a transaction whose statements all read the database as of one moment.

        Keep it short: as long as a snapshot is open, SQLite cannot checkpoint what was written after it began.
        """
        if (transaction := self._joined) is not None:
            yield transaction
            return
        began = clock.monotonic()
        backoff = None
        while True:
            with self._lock:
                if self._in_use:
                    raise self._nested_error()
                try:
                    self._in_use, self._may_be_committed, self.began = True, False, began
                    try:
                        transaction = self._connection()
                        transaction.driver.execute(self.dialect.begin_snapshot)
                    except Exception as error:  # noqa: BLE001 - raised again unless it is a reason to wait
                        backoff = self._wait_or_raise(error, backoff, began)
                    else:
                        if self.notice.given_for is not None:
                            self.notice.revoke_for(began)
                        yield transaction
                        return
                except Exception as error:
                    if explained := self.dialect.own_error(error, locked=self._is_cancelled):
                        raise explained from error
                    raise
                finally:
                    try:
                        if self._transaction is not None:
                            roll_back(self._transaction)
                    finally:
                        self._in_use = False
            backoff.sleep()

    @contextlib.contextmanager
    def migrating(self) -> Iterator[sa.Engine]:
        """Yield the engine for a migration. Meanwhile the process cannot fork; then a new connection is opened."""
        with self._lock:
            try:
                self.dialect.create()
                yield self.engine
            except (OSError, sa.exc.DBAPIError) as error:
                cause = getattr(error, "orig", None) or error
                raise self.dialect.own_error(cause) or cause from error
            finally:
                # It remembers a file without tables, which SQLite may believe while other processes open the file.
                self._drop()

    def make_tables(self) -> bool:
        """Make the tables of a new store, if that is possible without migrations."""
        with self._lock:
            self._drop()  # see above
            return self.dialect.make_tables()

    def operate(
        self, work: Callable[[Transaction, *Ts], T], *args: *Ts, may_be_ended: bool = False, in_background: bool = False
    ) -> T:
        """Call `work` with the connection. Repeat that while the database is locked, full or unreachable.

        With `may_be_ended`, `work` itself finds out if the server has ended the connection: nobody looks before. For
        `in_background` see `transact`.
        """
        if (transaction := self._joined) is not None:
            return work(transaction, *args)
        began = clock.monotonic()
        backoff = None
        while True:
            with self._lock:
                if self._in_use:
                    raise self._nested_error()
                try:
                    self._in_use, self._may_be_committed, self.began = True, False, began
                    result = work(self._connection(may_be_ended), *args)
                except Exception as error:  # noqa: BLE001 - raised again unless it is a reason to wait
                    backoff = self._wait_or_raise(error, backoff, began, in_background)
                else:
                    self.operations += 1
                    if self.notice.given_for is not None:
                        self.notice.revoke_for(began)
                    return result
                finally:
                    self._in_use = False
            backoff.sleep()

    def _nested_error(self) -> RuntimeError:
        # If the outer operation were rolled back, the inner one would be too, although it had been acknowledged.
        return RuntimeError(
            f"the store {self.shown_url} is in use by this thread at this moment: "
            "a signal handler, a codec or a comparison of values must not use it"
        )

    # -- errors and waiting

    def _wait_or_raise(
        self, error: Exception, backoff: Backoff | None, began: float, in_background: bool = False
    ) -> Backoff:
        """Return how to wait before the operation is repeated; raise an error for its caller if it is not."""
        if isinstance(error, ZrbStoreError):
            if self._is_replaced:
                self._drop()
            raise error
        error = getattr(error, "orig", None) or error  # SQLAlchemy wraps the driver's errors while it connects
        if isinstance(error.__context__, KeyboardInterrupt):  # psycopg replaces it by an error of its own
            raise error.__context__ from None
        gone = self.dialect.is_gone(error)
        stops = self.dialect.stops_preparing(error)  # then the statement was refused, and changed nothing
        full = self.dialect.is_full(error)
        busy = stops or self.dialect.is_busy(error) or self._is_cancelled
        if gone or stops:
            self._drop()
        # If a connection is lost during a statement that commits itself, nobody knows whether the change was made.
        if busy or full or (gone and not self._may_be_committed):
            if backoff is None:
                backoff = Backoff(self, began)
            backoff.why = UNREACHABLE if gone else FULL if full else LOCKED
            if stops or not backoff.is_over(self._stop_at):
                return backoff
            if not in_background:
                self.gave_up_at = clock.monotonic()
        if explained := self.dialect.own_error(error, locked=busy):
            raise possibly_committed_error(explained) if gone and self._may_be_committed else explained from error
        raise error

    def refuse_replaced(self) -> None:
        """Raise `StoreReplaced` if the store's path no longer leads to the file that is open here.

        This is checked after each write, so that no write is acknowledged that went to a file nobody can find again.
        """
        if lost := self.dialect.lost_file():
            self._is_replaced = True
            raise StoreReplaced(
                f"the {lost} of the store {self.shown_url} was deleted or replaced while this process had it open: "
                "end this process, and start it again"
            )

    def _refuse_upgraded(self, found: str | None) -> None:
        """Raise `SchemaAhead` if another process has changed the store to the revision `found` since it was opened."""
        if found != REVISION:
            raise SchemaAhead(
                f"the store {self.shown_url} was changed to revision {found} while this process had it open: "
                "end this process, and start it again with the zrb-store that made the change"
            )

    # -- the connection

    @property
    def is_joined(self) -> bool:
        """Whether this context uses the store in a transaction of its user, which may roll back."""
        return self._joined is not None

    @property
    def _joined(self) -> Transaction | None:
        """The transaction of its user in which this context uses the store, if it does."""
        found = _joined.get()
        return found[1] if found is not None and found[0] == self.url else None

    def _connection(self, may_be_ended: bool = False) -> Transaction:
        transaction = self._transaction
        if transaction is not None:
            usable = not self._is_replaced and not transaction.cancelled
            if usable and self.dialect.is_usable(transaction.driver, look=not may_be_ended):
                if self.began >= self.revision_due and not may_be_ended:
                    self.revision_due = self.began + 1.0
                    self._refuse_upgraded(revision_of(transaction.driver))
                return transaction
            self._drop()
        if self.closed:
            raise ZrbStoreError("this store was closed: open it again")
        if self.connections:
            self.refuse_replaced()
        self._transaction = Transaction(self.dialect.connect(self), self.dialect_name)
        self.connections += 1
        return self._transaction

    def _drop(self) -> None:
        transaction, self._transaction = self._transaction, None
        if transaction is not None:
            with contextlib.suppress(Exception):
                self.dialect.close(transaction.driver)

    @property
    def _is_cancelled(self) -> bool:
        """Whether the server was asked to cancel the statement under way, because it waits for a lock."""
        return self._transaction is not None and self._transaction.cancelled

    @property
    def under_way(self) -> Transaction | None:
        """The connection while an operation uses it, else None."""
        return self._transaction if self._in_use else None

    def before_fork(self) -> None:
        """Close the connection, and keep other threads from opening one."""
        self._locked_for_fork = self._lock.acquire(timeout=self.timeout)
        if self._locked_for_fork and not self._in_use:
            self._drop()

    def after_fork(self, in_child: bool) -> None:
        """Let other threads open connections again."""
        if not in_child:
            if self._locked_for_fork:
                self._lock.release()
            return
        # Inherited only if the fork happened during a transaction. It is kept so that it is not closed.
        self._inherited, self._transaction = self._transaction, None
        self._in_use = False
        self._lock = threading.RLock()


_known: weakref.WeakSet[Database] = weakref.WeakSet()
_about_to_fork: list[Database] = []
# If a thread opened a connection during a fork, locks inside SQLite could stay locked in the child.
_fork_lock = threading.Lock()


def _before_fork() -> None:
    _fork_lock.acquire()
    _about_to_fork.extend(_known)
    for database in _about_to_fork:
        database.before_fork()


def _after_fork(in_child: bool) -> None:
    for database in _about_to_fork:
        database.after_fork(in_child)
    _about_to_fork.clear()
    _fork_lock.release()


os.register_at_fork(
    before=_before_fork,
    after_in_parent=lambda: _after_fork(in_child=False),
    after_in_child=lambda: _after_fork(in_child=True),
)
