"""Search a queue for its first live value from where the live ones begin, if this process knows that.

PostgreSQL only, where the entries of values that were taken stay in the index of the live ones for as long as any
snapshot may need them.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from zrb_store.db.core import bindparam, literal_column, sa, statement, t
from zrb_store.db.dialect import now
from zrb_store.db.engine import Database
from zrb_store.db.fronts import Front
from zrb_store.db.transaction import Executor, Transaction

_SLOW = 250  # microseconds for which the server may search; as a rule it takes ten


def _returns() -> sa.ColumnElement[int]:
    # Whatever makes a value live again records a return, while it has the queue locked. A sequence tells its last
    # number at once, before the commit.
    return literal_column("coalesce(pg_catalog.pg_sequence_last_value('zrb_return_id_seq'::regclass), 0)")


def not_before_front() -> sa.ColumnElement[bool]:
    """Return the condition that a value does not lie before the front, if the front still holds.

    The fields of the front are parameters. A change that makes it invalid, and that the statement sees, is committed;
    so its number is seen too.
    """
    other = t.value.alias("other")
    is_valid = sa.and_(
        bindparam("returns", type_=sa.BigInteger) == _returns(),
        # Not EXISTS: without the order, PostgreSQL might read the table, hoping to find a row at once.
        sa.select(other.c.seq)
        .where(other.c.queue_id == bindparam("queue_id"), other.c.seq < bindparam("low", type_=sa.BigInteger))
        .order_by(other.c.seq.desc())
        .limit(literal_column("1"))
        .scalar_subquery()
        .is_(None),
    )
    return (
        t.value.c.seq
        >= sa.select(
            sa.case((is_valid, bindparam("first", type_=sa.BigInteger)), else_=literal_column("-9223372036854775807"))
        ).scalar_subquery()
    )


@statement
def _lock() -> sa.Select[int, int, bool]:
    may_know = literal_column("has_sequence_privilege('zrb_return_id_seq', 'USAGE')")
    return (
        sa.select(t.queue.c.low, t.queue.c.high, may_know)
        .where(t.queue.c.id == bindparam("queue_id"))
        .with_for_update(key_share=True)
    )


def _first_live() -> sa.Select[int]:
    return (
        sa.select(t.value.c.seq)
        .where(t.value.c.queue_id == bindparam("queue_id"), t.value.c.ended_at.is_(None))
        .order_by(t.value.c.seq)
        .limit(literal_column("1"))
    )


@statement
def _timed() -> sa.Select[int, int | None, int]:
    # The columns are evaluated in their order.
    return sa.select(now(), _first_live().scalar_subquery(), now())


@statement
def _state() -> sa.Select[int, int | None]:
    return sa.select(_returns(), _first_live().scalar_subquery())


def _look(database: Database, queue_id: int) -> None:
    """Find out where the live values of a queue begin.

    The lock waits for changes that make values live again. Those that come later record returns with higher numbers.
    """

    def work(transaction: Transaction) -> Front | None:
        locked = transaction.execute(_lock(), {"queue_id": queue_id})
        if not locked or not locked[0][2]:
            return None
        low, high, _ = locked[0]
        # Read after the lock, since a statement that has to wait for a lock may have read it before.
        returns, first = transaction.execute(_state(), {"queue_id": queue_id})[0]
        return Front(first=high + 1 if first is None else first, low=low, returns=returns)

    front = database.transact(work)
    if front is not None:
        database.fronts.remember(queue_id, front)


def known_front(database: Database, queue_id: int) -> Front | None:
    """Return where the live values of a queue begin; None if that is not known, or not worth knowing."""
    front = database.fronts.of(queue_id)
    if front is None and database.fronts.is_due(queue_id):
        began, _, ended = database.execute(_timed(), {"queue_id": queue_id})[0]
        if ended - began > _SLOW:  # else the takes have waited for something else, such as those of other processes
            _look(database, queue_id)
            front = database.fronts.of(queue_id)
    return front


def parameters(front: Front | None) -> dict[str, int]:
    """Return the parameters of `not_before_front`; none for a statement without it."""
    return {} if front is None else front._asdict()


class Search:
    """A search for the first live value of a queue, whose time is measured. On SQLite that is never noted."""

    def __init__(self, database: Database, queue_id: int, front: Front | None) -> None:
        """Prepare to search.

        Args:
            database: The database.
            queue_id: The queue.
            front: Where the search begins, if that is known.
        """
        self._database = database
        self._queue_id = queue_id
        self._front = front
        self._began = self._seconds = 0.0

    def __enter__(self) -> None:
        self._began = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self._seconds = time.perf_counter() - self._began

    def note(self, taken: int | None) -> None:
        """Note the time of the search, for the next ones.

        Args:
            taken: The seq of the first live value, if it was taken and that is committed.
        """
        if self._database.dialect_name != "sqlite":
            self._database.fronts.searched(self._queue_id, self._seconds, self._front, taken)


def take_first(
    database: Database, queue_id: int, take: Callable[[Front | None], tuple[int, str] | None]
) -> tuple[int, str] | None:
    """Take the first live value of a queue, in a transaction of its own. Only PostgreSQL gains by it.

    Args:
        database: The database.
        queue_id: The queue.
        take: Takes the value, searching from a front on, and returns its seq and the encoded value.
    """
    front = known_front(database, queue_id)
    search = Search(database, queue_id, front)
    with search:
        found = take(front)
    search.note(found[0] if found else None)
    return found


def _has_live() -> sa.Select[int]:
    return (
        sa.select(literal_column("1"))
        .where(t.value.c.queue_id == bindparam("queue_id"), t.value.c.ended_at.is_(None))
        .limit(literal_column("1"))
    )


@statement
def _has_live_indexed() -> sa.Select[int]:
    return _has_live().with_hint(t.value, "INDEXED BY ix_zrb_value_live", "sqlite")


@statement
def _has_live_from_front() -> sa.Select[int]:
    return _has_live().where(not_before_front())


def has_live(executor: Executor, queue_id: int, front: Front | None) -> bool:
    """Whether a queue has a live value. Only an index is read."""
    statement = _has_live_indexed() if front is None else _has_live_from_front()
    return bool(executor.execute(statement, {"queue_id": queue_id, **parameters(front)}))
