"""Deleting: whole sessions, and of an open session the values that have left its queues."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy import bindparam, literal_column

from zrb_store.columns import SESSION, readable
from zrb_store.db.tables import attempt, change, queue, session, value
from zrb_store.db.transaction import Executor, Row, Transaction

_ONE: sa.ColumnClause[Any] = literal_column("1")


class Candidate(NamedTuple):
    """What decides whether a session is pruned."""

    id: int
    name: str
    status: str
    project: str | None
    task: str | None
    tasks: str | None
    pinned: bool
    fence: int
    created_at: int
    finished_at: int | None
    damage: tuple[str, ...] = ()


_COLUMNS = {name: SESSION[name] for name in Candidate._fields if name in SESSION}
_CANDIDATE = sa.select(*(session.c[name] for name in _COLUMNS))
_ended = sa.func.coalesce(session.c.finished_at, session.c.created_at)
_NEWEST_FIRST = _CANDIDATE.order_by(_ended.desc(), session.c.id.desc())
_BY_ID = _CANDIDATE.where(session.c.id == bindparam("of"))


def candidates(transaction: Transaction) -> Iterator[Candidate]:
    """Every session with its stored status, the one that ended last first; one that has not counts by its beginning."""
    return map(_candidate, transaction.stream(_NEWEST_FIRST))


def candidate(executor: Executor, session_id: int) -> Candidate | None:
    """One of them, or None."""
    rows = executor.execute(_BY_ID, {"of": session_id})
    return _candidate(rows[0]) if rows else None


def _candidate(row: Row) -> Candidate:
    named, damage = readable(_COLUMNS, row)
    return Candidate(**named, damage=damage)


_OF_SESSION = change.c.session == bindparam("name")
_SMALL = change.c.action.in_([literal_column("'push'"), literal_column("'pop'")])
_DELETE_CHANGES = sa.delete(change).where(_OF_SESSION, _SMALL)
_DELETE_OLD_CHANGES = _DELETE_CHANGES.where(change.c.at < bindparam("before", type_=sa.BigInteger))
_DELETE_QUEUES = sa.delete(queue).where(queue.c.session_id == bindparam("of"))
_DELETE = sa.delete(session).where(session.c.id == bindparam("of"))


def delete_session(executor: Executor, session_id: int, name: str) -> None:
    """Delete a session with all that is in it, and the records of single pushes and pops by hand."""
    # Queues first: deleting an attempt changes the returns written in this transaction, which PostgreSQL then checks
    # once more against values that are gone by then.
    executor.execute(_DELETE_QUEUES, {"of": session_id})
    executor.execute(_DELETE, {"of": session_id})
    executor.execute(_DELETE_CHANGES, {"name": name})


def delete_old_changes(executor: Executor, name: str, before: int) -> None:
    """Delete the records of single pushes and pops by hand in a session that are older than a moment."""
    executor.execute(_DELETE_OLD_CHANGES, {"name": name, "before": before})


_PIN = sa.update(session).where(session.c.id == bindparam("of")).values(pinned=bindparam("is_pinned", type_=sa.Boolean))


def pin(executor: Executor, session_id: int, pinned: bool) -> None:
    """Keep a session from being deleted, or let it be."""
    executor.execute(_PIN, {"of": session_id, "is_pinned": pinned})


_taker_session = session.alias("taker_session")
# A value that may come back stays: its taker could still be given back. So does the result of a task.
_settled = sa.and_(
    value.c.queue_id == bindparam("queue_id"),
    value.c.ended_at < bindparam("before", type_=sa.BigInteger),
    sa.or_(
        value.c.taken_by.is_(None),
        sa.exists(
            sa.select(_ONE)
            .select_from(attempt.join(_taker_session, _taker_session.c.id == attempt.c.session_id))
            .where(
                attempt.c.id == value.c.taken_by,
                attempt.c.status == literal_column("'completed'"),
                _taker_session.c.status == literal_column("'completed'"),
            )
        ),
    ),
    ~sa.exists(
        sa.select(_ONE).where(
            attempt.c.id == value.c.pushed_by,
            attempt.c.result_queue_id == value.c.queue_id,
            attempt.c.result_seq == value.c.seq,
        )
    ),
)
_COUNT = sa.select(sa.func.count()).select_from(value).where(_settled)
_batch = (
    sa.select(value.c.seq)
    .where(_settled, value.c.seq > bindparam("after", type_=sa.BigInteger))
    .order_by(value.c.seq)
    .limit(bindparam("size"))
    .subquery()
)
_BOUNDS = sa.select(sa.func.min(_batch.c.seq), sa.func.max(_batch.c.seq), sa.func.count())
_LOWEST, _HIGHEST = bindparam("lowest", type_=sa.BigInteger), bindparam("highest", type_=sa.BigInteger)
_KEEP_NUMBERS = (
    sa.update(queue)
    .where(queue.c.id == bindparam("queue_id"), sa.or_(queue.c.low > _LOWEST, queue.c.high < _HIGHEST))
    .values(
        low=sa.case((queue.c.low > _LOWEST, _LOWEST), else_=queue.c.low),
        high=sa.case((queue.c.high < _HIGHEST, _HIGHEST), else_=queue.c.high),
    )
)
_DELETE_VALUES = sa.delete(value).where(_settled, value.c.seq.between(_LOWEST, _HIGHEST)).returning(value.c.seq)


def count_settled(executor: Executor, queue_ids: Sequence[int], before: int) -> int:
    """How many values left these queues before a moment, for good."""
    return sum(executor.execute(_COUNT, {"queue_id": of, "before": before})[0][0] for of in queue_ids)


def delete_settled(executor: Executor, of: int, before: int, after: int, size: int) -> tuple[int, int] | None:
    """Delete some values that left a queue before a moment, for good. Their numbers are never given again.

    Args:
        executor: The open transaction.
        of: Id of the queue.
        before: The moment.
        after: Only values of a higher seq.
        size: How many at the most.

    Returns:
        How many, and the highest seq; None if there were none.
    """
    where = {"queue_id": of, "before": before}
    lowest, highest, count = executor.execute(_BOUNDS, {**where, "after": after, "size": size})[0]
    if not count:
        return None
    executor.execute(_KEEP_NUMBERS, {"queue_id": of, "lowest": lowest, "highest": highest})
    gone = executor.execute(_DELETE_VALUES, {**where, "lowest": lowest, "highest": highest})
    return len(gone), highest


_LAST = sa.select(sa.func.max(change.c.at)).where(
    change.c.session.is_(None), change.c.action == bindparam("action", type_=sa.Text)
)


def last_change(executor: Executor, action: str) -> int | None:
    """When something was last done to the store as a whole, or None."""
    moment: int | None = executor.execute(_LAST, {"action": action})[0][0]
    return moment
