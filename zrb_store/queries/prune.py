"""What `prune` reads and deletes: sessions, and values that have left the queues of open sessions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from zrb_store.db.columns import SESSION, readable
from zrb_store.db.core import attempt, bindparam, change, literal_column, queue, sa, session, value
from zrb_store.db.transaction import Executor, Row, Transaction
from zrb_store.queries.changes import is_push_or_pop
from zrb_store.queries.programs import PROGRAM, program

_ONE: sa.ColumnClause[Any] = literal_column("1")


class Candidate(NamedTuple):
    """A session, with the columns that decide whether it is pruned. The status is the stored one.

    Attributes:
        of: What it is a session of: its task; or else the program that its last run was of; or None.
    """

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
    of: str | None = None
    damage: tuple[str, ...] = ()


_COLUMNS = {name: SESSION[name] for name in Candidate._fields if name in SESSION}
_CANDIDATE = sa.select(*(session.c[name] for name in _COLUMNS), *PROGRAM)
_ended = sa.func.coalesce(session.c.finished_tick, session.c.created_tick)
_NEWEST_FIRST = _CANDIDATE.order_by(_ended.desc(), session.c.id.desc())
_BY_ID = _CANDIDATE.where(session.c.id == bindparam("session_id"))


def candidates(transaction: Transaction) -> Iterator[Candidate]:
    """Yield all sessions in descending order of their end. A session that has not ended is ordered by its creation."""
    return map(_candidate, transaction.stream(_NEWEST_FIRST))


def candidate(executor: Executor, session_id: int) -> Candidate | None:
    """Return the session with this id, or None."""
    rows = executor.execute(_BY_ID, {"session_id": session_id})
    return _candidate(rows[0]) if rows else None


def _candidate(row: Row) -> Candidate:
    named, damage = readable(_COLUMNS, row[: len(_COLUMNS)])
    return Candidate(**named, of=named["task"] or program(row[len(_COLUMNS) :]), damage=damage)


_DELETE_CHANGES = sa.delete(change).where(
    change.c.session == bindparam("name"),
    is_push_or_pop,
    change.c.at < bindparam("before", type_=sa.BigInteger),
)


def delete_old_changes(executor: Executor, name: str, before: int) -> None:
    """Delete the records of a session's pushes and pops by hand that are older than a moment."""
    executor.execute(_DELETE_CHANGES, {"name": name, "before": before})


_taker_session = session.alias("taker_session")
_is_completed = attempt.c.status == literal_column("'completed'")
is_delivery = attempt.c.role == literal_column("'delivery'")
"""The condition that an attempt is a delivery. One that has completed is never given back."""


def _taken_by(*conditions: Any) -> Any:
    """Return the condition that a completed attempt, which meets these conditions, has taken the value."""
    return sa.exists(
        sa.select(_ONE)
        .select_from(attempt.join(_taker_session, _taker_session.c.id == attempt.c.session_id))
        .where(attempt.c.id == value.c.taken_by, _is_completed, *conditions)
    )


_old = sa.and_(
    value.c.queue_id == bindparam("queue_id"),
    value.c.ended_at < bindparam("before", type_=sa.BigInteger),
    value.c.state != literal_column("'dead'"),
    # A task's result is kept as long as its attempt.
    ~sa.exists(
        sa.select(_ONE).where(
            attempt.c.id == value.c.pushed_by,
            attempt.c.result_queue_id == value.c.queue_id,
            attempt.c.result_seq == value.c.seq,
        )
    ),
)
_delivered = sa.and_(_old, _taken_by(is_delivery))
# A value is settled if it can no longer return to its queue: its taker cannot be given back.
_settled = sa.and_(
    _old,
    sa.or_(
        value.c.taken_by.is_(None),
        _taken_by(sa.or_(is_delivery, _taker_session.c.status == literal_column("'completed'"))),
    ),
)


_LOWEST, _HIGHEST = bindparam("lowest", type_=sa.BigInteger), bindparam("highest", type_=sa.BigInteger)


class _Statements(NamedTuple):
    count: Any
    bounds: Any
    delete: Any


def _statements(chosen: Any) -> _Statements:
    batch = (
        sa.select(value.c.seq)
        .where(chosen, value.c.seq > bindparam("after", type_=sa.BigInteger))
        .order_by(value.c.seq)
        .limit(bindparam("size"))
        .subquery()
    )
    return _Statements(
        count=sa.select(sa.func.count()).select_from(value).where(chosen),
        bounds=sa.select(sa.func.min(batch.c.seq), sa.func.max(batch.c.seq), sa.func.count()),
        delete=sa.delete(value).where(chosen, value.c.seq.between(_LOWEST, _HIGHEST)).returning(value.c.seq),
    )


_KEEP_NUMBERS = (
    sa.update(queue)
    .where(queue.c.id == bindparam("queue_id"), sa.or_(queue.c.low > _LOWEST, queue.c.high < _HIGHEST))
    .values(
        low=sa.case((queue.c.low > _LOWEST, _LOWEST), else_=queue.c.low),
        high=sa.case((queue.c.high < _HIGHEST, _HIGHEST), else_=queue.c.high),
    )
)
_OF_ANY_TAKER, _OF_DELIVERIES = _statements(_settled), _statements(_delivered)


def count_settled(executor: Executor, queue_ids: Sequence[int], before: int, *, delivered: bool = False) -> int:
    """Count the values that left these queues before a moment and can no longer return to them.

    With `delivered`, only those that completed deliveries took are counted.
    """
    count = (_OF_DELIVERIES if delivered else _OF_ANY_TAKER).count
    return sum(executor.execute(count, {"queue_id": queue_id, "before": before})[0][0] for queue_id in queue_ids)


def delete_settled(
    executor: Executor, queue_id: int, before: int, after: int, size: int, *, delivered: bool = False
) -> tuple[int, int] | None:
    """Delete a batch of values that left a queue before a moment and can no longer return to it.

    Their numbers are never used again.

    Args:
        executor: The open transaction.
        queue_id: The queue.
        before: The moment.
        after: Delete only values with a higher seq.
        size: How many values to delete at most.
        delivered: Delete only those that completed deliveries took.

    Returns:
        How many values were deleted, and the highest seq of the batch; None if no values were left.
    """
    where = {"queue_id": queue_id, "before": before}
    statements = _OF_DELIVERIES if delivered else _OF_ANY_TAKER
    lowest, highest, count = executor.execute(statements.bounds, {**where, "after": after, "size": size})[0]
    if not count:
        return None
    executor.execute(_KEEP_NUMBERS, {"queue_id": queue_id, "lowest": lowest, "highest": highest})
    deleted = executor.execute(statements.delete, {**where, "lowest": lowest, "highest": highest})
    return len(deleted), highest
