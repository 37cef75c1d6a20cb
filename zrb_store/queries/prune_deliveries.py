"""What `prune` deletes of consumers: queues whose values were delivered, old deliveries, and old runs without any."""

from __future__ import annotations

from typing import Any, NamedTuple

from zrb_store.db.core import attempt, bindparam, literal_column, queue, returned, run, sa, session, value
from zrb_store.db.transaction import Executor
from zrb_store.queries.prune import is_delivery

_ONE: sa.ColumnClause[Any] = literal_column("1")
_BEFORE = bindparam("before", type_=sa.BigInteger)
_AFTER = bindparam("after", type_=sa.BigInteger)


class DeliveredQueue(NamedTuple):
    """A queue with values that deliveries took.

    Attributes:
        session: Name of its session, which is neither `open` nor pinned.
    """

    id: int
    session: str


_QUEUES = (
    sa.select(queue.c.id, session.c.name)
    .select_from(
        attempt.join(value, value.c.taken_by == attempt.c.id)
        .join(queue, queue.c.id == value.c.queue_id)
        .join(session, session.c.id == queue.c.session_id)
    )
    .where(
        is_delivery,
        attempt.c.ended_at < _BEFORE,
        session.c.status != literal_column("'open'"),
        session.c.pinned.is_(sa.false()),
    )
    .distinct()
    .order_by(queue.c.id)
)


def delivered_queues(executor: Executor, before: int) -> list[DeliveredQueue]:
    """Return the queues, of sessions that had a run, from which deliveries took values before a moment."""
    return [DeliveredQueue(*row) for row in executor.execute(_QUEUES, {"before": before})]


_newest, _other = attempt.alias("newest"), attempt.alias("other")
_ended = sa.or_(attempt.c.status == literal_column("'completed'"), attempt.c.given_back_at.is_not(None))
_is_named = sa.or_(
    *(
        sa.exists(sa.select(_ONE).where(link == attempt.c.id))
        for link in (value.c.pushed_by, value.c.taken_by, returned.c.taken_by)
    )
)
# The newest stays, so that no number is used twice.
_number = (
    sa.select(sa.func.max(_newest.c.number))
    .where(_newest.c.session_id == attempt.c.session_id, _newest.c.task == attempt.c.task)
    .scalar_subquery()
)
_is_pinned = sa.exists(sa.select(_ONE).where(session.c.id == attempt.c.session_id, session.c.pinned))
_OLD = (
    sa.select(attempt.c.id)
    .where(
        attempt.c.id > _AFTER,
        is_delivery,
        _ended,
        attempt.c.ended_at < _BEFORE,
        attempt.c.number < _number,
        ~_is_named,
        ~_is_pinned,
    )
    .order_by(attempt.c.id)
    .limit(bindparam("size"))
)
_DELETE = sa.delete(attempt).where(attempt.c.id.in_(_OLD)).returning(attempt.c.id)


def delete_deliveries(executor: Executor, before: int, after: int, size: int) -> list[int]:
    """Delete deliveries that ended before a moment and that no value names any more.

    Args:
        executor: The open transaction.
        before: The moment.
        after: Delete only attempts with a higher id.
        size: How many to delete at most.

    Returns:
        The ids of those that were deleted.
    """
    return sorted(row[0] for row in executor.execute(_DELETE, {"before": before, "after": after, "size": size}))


_DELETE_RUNS = (
    sa.delete(run)
    .where(
        run.c.ended_at < _BEFORE,
        run.c.number
        < sa.select(session.c.fence).where(session.c.id == run.c.session_id, ~session.c.pinned).scalar_subquery(),
        ~sa.exists(sa.select(_ONE).where(_other.c.run_id == run.c.id)),
        sa.exists(sa.select(_ONE).where(attempt.c.session_id == run.c.session_id, is_delivery)),
    )
    .returning(run.c.id)
)


def delete_runs(executor: Executor, before: int) -> int:
    """Delete the runs of consumers that ended before a moment and have no attempts any more. Return how many."""
    return len(executor.execute(_DELETE_RUNS, {"before": before}))
