"""Rows to prune: sessions, values that can no longer return, old deliveries and runs of consumers."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import NamedTuple

from zrb_store.db.columns import SESSION
from zrb_store.db.core import bindparam, exists, literal, made_once, sa, statement, t
from zrb_store.db.rows import fit, sound
from zrb_store.db.transaction import Executor, Row, Transaction, first_column
from zrb_store.queries.runs import program, program_columns


class Candidate(NamedTuple):
    """A session, with the columns that decide whether it is pruned. The status is the stored one."""

    id: int
    name: str
    status: str
    project: str | None
    task: str | None
    tasks: str | None
    pinned: bool
    fence: int
    created_at: int
    ended_at: int | None
    of: str | None = None  # what it is a session of: its task; or else the program that its last run was of; or None


_COLUMNS = {name: SESSION[name] for name in Candidate._fields if name in SESSION}


@statement
def _candidates(one: bool) -> sa.Select[*Row]:
    found = sa.select(*(t.session.c[name] for name in _COLUMNS), *program_columns())
    if one:
        return found.where(t.session.c.id == bindparam("session_id"))
    ended = sa.func.coalesce(t.session.c.ended_tick, t.session.c.created_tick)
    return found.order_by(ended.desc(), t.session.c.id.desc())


def candidates(transaction: Transaction) -> Iterator[Candidate]:
    """Yield all sessions in descending order of their end. A session that has not ended is ordered by its creation."""
    return sound(_candidate, transaction.stream(_candidates(False)))


def candidate(executor: Executor, session_id: int) -> Candidate | None:
    """Return the session with this id, or None."""
    return next(map(_candidate, executor.execute(_candidates(True), {"session_id": session_id})), None)


def _candidate(row: Row) -> Candidate:
    named = fit("zrb_session", _COLUMNS, row[: len(_COLUMNS)])
    return Candidate(**named, of=named["task"] or program(row[len(_COLUMNS) :]))


@made_once
def _taker_session() -> sa.FromClause:
    return t.session.alias("taker_session")


def is_delivery() -> sa.ColumnElement[bool]:
    """Return the condition that an attempt is a delivery. One that has completed is never given back."""
    return t.attempt.c.kind == literal("delivery")


def _taken_by(*conditions: sa.ColumnElement[bool]) -> sa.Exists:
    """Return the condition that a completed attempt, which meets these conditions, has taken the value."""
    rows = t.attempt.join(_taker_session(), _taker_session().c.id == t.attempt.c.session_id)
    has_completed = t.attempt.c.status == literal("completed")
    return exists(t.attempt.c.id == t.value.c.taken_by, has_completed, *conditions, rows=rows)


def _settled(delivered: bool) -> sa.ColumnElement[bool]:
    """Return the condition that a value can no longer return to its queue; with `delivered`, as a delivery took it."""
    old = sa.and_(
        t.value.c.queue_id == bindparam("queue_id"),
        t.value.c.ended_at < bindparam("before", type_=sa.BigInteger),
        t.value.c.state != literal("dead"),
        # A task's result is kept as long as its attempt.
        ~exists(
            t.attempt.c.id == t.value.c.pushed_by,
            t.attempt.c.result_queue_id == t.value.c.queue_id,
            t.attempt.c.result_seq == t.value.c.seq,
        ),
    )
    if delivered:
        return sa.and_(old, _taken_by(is_delivery()))
    of_completed_session = _taker_session().c.status == literal("completed")
    taken_for_good = _taken_by(sa.or_(is_delivery(), of_completed_session))
    return sa.and_(old, sa.or_(t.value.c.taken_by.is_(None), taken_for_good))


@statement
def _count(delivered: bool) -> sa.Select[int]:
    return sa.select(sa.func.count()).select_from(t.value).where(_settled(delivered))


@statement
def _bounds(delivered: bool) -> sa.Select[int | None, int | None, int]:
    batch = (
        sa.select(t.value.c.seq)
        .where(_settled(delivered), t.value.c.seq > bindparam("after", type_=sa.BigInteger))
        .order_by(t.value.c.seq)
        .limit(bindparam("size"))
        .subquery()
    )
    return sa.select(sa.func.min(batch.c.seq), sa.func.max(batch.c.seq), sa.func.count())


@statement
def _delete(delivered: bool) -> sa.sql.dml.ReturningDelete[int]:
    lowest, highest = bindparam("lowest", type_=sa.BigInteger), bindparam("highest", type_=sa.BigInteger)
    return (
        sa.delete(t.value).where(_settled(delivered), t.value.c.seq.between(lowest, highest)).returning(t.value.c.seq)
    )


@statement
def _keep_numbers() -> sa.Update:
    lowest, highest = bindparam("lowest", type_=sa.BigInteger), bindparam("highest", type_=sa.BigInteger)
    return (
        sa.update(t.queue)
        .where(t.queue.c.id == bindparam("queue_id"), sa.or_(t.queue.c.low > lowest, t.queue.c.high < highest))
        .values(
            low=sa.case((t.queue.c.low > lowest, lowest), else_=t.queue.c.low),
            high=sa.case((t.queue.c.high < highest, highest), else_=t.queue.c.high),
        )
    )


def count_settled(executor: Executor, queue_ids: Collection[int], before: int, *, delivered: bool = False) -> int:
    """Count the values that left these queues before a moment and can no longer return to them."""
    return sum(
        executor.execute(_count(delivered), {"queue_id": queue_id, "before": before})[0][0] for queue_id in queue_ids
    )


def delete_settled(
    executor: Executor, queue_id: int, before: int, after: int, size: int, *, delivered: bool = False
) -> tuple[int, int] | None:
    """Delete a batch of such values after a seq; return their number and the highest seq, None if none were left."""
    where = {"queue_id": queue_id, "before": before}
    lowest, highest, count = executor.execute(_bounds(delivered), {**where, "after": after, "size": size})[0]
    if not count:
        return None
    executor.execute(_keep_numbers(), {"queue_id": queue_id, "lowest": lowest, "highest": highest})
    deleted = executor.execute(_delete(delivered), {**where, "lowest": lowest, "highest": highest})
    return len(deleted), highest


@statement
def _queues() -> sa.Select[int, str]:
    return (
        sa.select(t.queue.c.id, t.session.c.name)
        .select_from(
            t.attempt.join(t.value, t.value.c.taken_by == t.attempt.c.id)
            .join(t.queue, t.queue.c.id == t.value.c.queue_id)
            .join(t.session, t.session.c.id == t.queue.c.session_id)
        )
        .where(
            is_delivery(),
            t.attempt.c.ended_at < bindparam("before", type_=sa.BigInteger),
            t.session.c.status != literal("open"),
            t.session.c.pinned.is_(sa.false()),
        )
        .distinct()
        .order_by(t.queue.c.id)
    )


def delivered_queues(executor: Executor, before: int) -> dict[str, list[int]]:
    """Return by session the queues from which deliveries took values before a moment, if it is not pinned or open."""
    found: dict[str, list[int]] = {}
    for queue_id, session in executor.execute(_queues(), {"before": before}):
        found.setdefault(session, []).append(queue_id)
    return found


@statement
def _delete_deliveries() -> sa.sql.dml.ReturningDelete[int]:
    newest = t.attempt.alias("newest")
    ended = sa.or_(t.attempt.c.status == literal("completed"), t.attempt.c.given_back_at.is_not(None))
    is_named = sa.or_(
        *(exists(link == t.attempt.c.id) for link in (t.value.c.pushed_by, t.value.c.taken_by, t.returned.c.taken_by))
    )
    # The newest stays, so that no number is used twice.
    number = (
        sa.select(sa.func.max(newest.c.number))
        .where(newest.c.session_id == t.attempt.c.session_id, newest.c.task == t.attempt.c.task)
        .scalar_subquery()
    )
    is_pinned = exists(t.session.c.id == t.attempt.c.session_id, t.session.c.pinned)
    old = (
        sa.select(t.attempt.c.id)
        .where(
            t.attempt.c.id > bindparam("after", type_=sa.BigInteger),
            is_delivery(),
            ended,
            t.attempt.c.ended_at < bindparam("before", type_=sa.BigInteger),
            t.attempt.c.number < number,
            ~is_named,
            ~is_pinned,
        )
        .order_by(t.attempt.c.id)
        .limit(bindparam("size"))
    )
    return sa.delete(t.attempt).where(t.attempt.c.id.in_(old)).returning(t.attempt.c.id)


def delete_deliveries(executor: Executor, before: int, after: int, size: int) -> list[int]:
    """Delete deliveries that ended before a moment and that no value names any more."""
    params = {"before": before, "after": after, "size": size}
    return sorted(map(first_column, executor.execute(_delete_deliveries(), params)))


@statement
def _delete_runs() -> sa.sql.dml.ReturningDelete[int]:
    other = t.attempt.alias("other")
    return (
        sa.delete(t.run)
        .where(
            t.run.c.ended_at < bindparam("before", type_=sa.BigInteger),
            t.run.c.number
            < sa.select(t.session.c.fence)
            .where(t.session.c.id == t.run.c.session_id, ~t.session.c.pinned)
            .scalar_subquery(),
            ~exists(other.c.run_id == t.run.c.id),
            exists(t.attempt.c.session_id == t.run.c.session_id, is_delivery()),
        )
        .returning(t.run.c.id)
    )


def delete_runs(executor: Executor, before: int) -> int:
    """Delete the runs of consumers that ended before a moment and have no attempts any more. Return how many."""
    return len(executor.execute(_delete_runs(), {"before": before}))
