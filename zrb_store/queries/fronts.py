"""Search a queue for its first live value from where the live ones begin, if this process knows that.

PostgreSQL only, where the entries of values that were taken stay in the index of the live ones for as long as any
snapshot may need them.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from zrb_store.db.core import bindparam, literal_column, queue, sa, value
from zrb_store.db.dialect import now
from zrb_store.db.engine import Database
from zrb_store.db.fronts import Front
from zrb_store.db.transaction import Executor, Transaction

_SLOW = 250  # microseconds for which the server may search; as a rule it takes ten

_ONE: sa.ColumnClause[Any] = literal_column("1")
_QUEUE_ID: sa.BindParameter[Any] = bindparam("queue_id")
# Whatever makes a value live again records a return, while it has the queue locked. A sequence tells its last number at
# once, before the commit.
_RETURNS: sa.ColumnClause[int] = literal_column(
    "coalesce(pg_catalog.pg_sequence_last_value('zrb_return_id_seq'::regclass), 0)"
)
_other = value.alias("other")
_is_valid = sa.and_(
    bindparam("returns", type_=sa.BigInteger) == _RETURNS,
    # Not EXISTS: without the order, PostgreSQL might read the table, hoping to find a row at once.
    sa.select(_other.c.seq)
    .where(_other.c.queue_id == _QUEUE_ID, _other.c.seq < bindparam("low", type_=sa.BigInteger))
    .order_by(_other.c.seq.desc())
    .limit(_ONE)
    .scalar_subquery()
    .is_(None),
)
not_before_front = (
    value.c.seq
    >= sa.select(
        sa.case((_is_valid, bindparam("first", type_=sa.BigInteger)), else_=literal_column("-9223372036854775807"))
    ).scalar_subquery()
)
"""The condition that a value does not lie before the front, whose fields are parameters, if the front still holds.

A change that makes it invalid, and that the statement sees, is committed; so its number is seen too.
"""

_MAY_KNOW: sa.ColumnClause[bool] = literal_column("has_sequence_privilege('zrb_return_id_seq', 'USAGE')")
_LOCK = sa.select(queue.c.low, queue.c.high, _MAY_KNOW).where(queue.c.id == _QUEUE_ID).with_for_update(key_share=True)
_FIRST_LIVE = (
    sa.select(value.c.seq)
    .where(value.c.queue_id == _QUEUE_ID, value.c.ended_at.is_(None))
    .order_by(value.c.seq)
    .limit(_ONE)
)
# The columns are evaluated in their order.
_TIMED = sa.select(now(), _FIRST_LIVE.scalar_subquery(), now())
_STATE = sa.select(_RETURNS, _FIRST_LIVE.scalar_subquery())


def _look(database: Database, queue_id: int) -> None:
    """Find out where the live values of a queue begin.

    The lock waits for changes that make values live again. Those that come later record returns with higher numbers.
    """

    def work(transaction: Transaction) -> Front | None:
        locked = transaction.execute(_LOCK, {"queue_id": queue_id})
        if not locked or not locked[0][2]:
            return None
        low, high, _ = locked[0]
        # Read after the lock, since a statement that has to wait for a lock may have read it before.
        returns, first = transaction.execute(_STATE, {"queue_id": queue_id})[0]
        return Front(first=high + 1 if first is None else first, low=low, returns=returns)

    front = database.transact(work)
    if front is not None:
        database.fronts.remember(queue_id, front)


def known_front(database: Database, queue_id: int) -> Front | None:
    """Return where the live values of a queue begin; None if that is not known, or not worth knowing."""
    front = database.fronts.of(queue_id)
    if front is None and database.fronts.is_due(queue_id):
        began, _, ended = database.execute(_TIMED, {"queue_id": queue_id})[0]
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


_HAS_LIVE = sa.select(_ONE).where(value.c.queue_id == _QUEUE_ID, value.c.ended_at.is_(None)).limit(_ONE)
_HAS_LIVE_INDEXED = _HAS_LIVE.with_hint(value, "INDEXED BY ix_zrb_value_live", "sqlite")
_HAS_LIVE_FROM_FRONT = _HAS_LIVE.where(not_before_front)


def has_live(executor: Executor, queue_id: int, front: Front | None) -> bool:
    """Whether a queue has a live value. Only an index is read."""
    statement = _HAS_LIVE_INDEXED if front is None else _HAS_LIVE_FROM_FRONT
    return bool(executor.execute(statement, {"queue_id": queue_id, **parameters(front)}))
