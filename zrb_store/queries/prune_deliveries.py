"""What `prune` deletes of consumers: queues whose values were delivered, old deliveries, and old runs without any."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from zrb_store.db.core import bindparam, literal_column, sa, statement, t
from zrb_store.db.transaction import Executor
from zrb_store.queries.prune import is_delivery

if TYPE_CHECKING:
    from sqlalchemy.sql.dml import ReturningDelete


class DeliveredQueue(NamedTuple):
    """A queue with values that deliveries took.

    Attributes:
        session: Name of its session, which is neither `open` nor pinned.
    """

    id: int
    session: str


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
            t.session.c.status != literal_column("'open'"),
            t.session.c.pinned.is_(sa.false()),
        )
        .distinct()
        .order_by(t.queue.c.id)
    )


def delivered_queues(executor: Executor, before: int) -> list[DeliveredQueue]:
    """Return the queues, of sessions that had a run, from which deliveries took values before a moment."""
    return [DeliveredQueue(*row) for row in executor.execute(_queues(), {"before": before})]


@statement
def _delete() -> ReturningDelete[int]:
    newest = t.attempt.alias("newest")
    ended = sa.or_(t.attempt.c.status == literal_column("'completed'"), t.attempt.c.given_back_at.is_not(None))
    is_named = sa.or_(
        *(
            sa.exists(sa.select(literal_column("1")).where(link == t.attempt.c.id))
            for link in (t.value.c.pushed_by, t.value.c.taken_by, t.returned.c.taken_by)
        )
    )
    # The newest stays, so that no number is used twice.
    number = (
        sa.select(sa.func.max(newest.c.number))
        .where(newest.c.session_id == t.attempt.c.session_id, newest.c.task == t.attempt.c.task)
        .scalar_subquery()
    )
    is_pinned = sa.exists(
        sa.select(literal_column("1")).where(t.session.c.id == t.attempt.c.session_id, t.session.c.pinned)
    )
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
    """Delete deliveries that ended before a moment and that no value names any more.

    Args:
        executor: The open transaction.
        before: The moment.
        after: Delete only attempts with a higher id.
        size: How many to delete at most.

    Returns:
        The ids of those that were deleted.
    """
    return sorted(row[0] for row in executor.execute(_delete(), {"before": before, "after": after, "size": size}))


@statement
def _delete_runs() -> ReturningDelete[int]:
    other = t.attempt.alias("other")
    return (
        sa.delete(t.run)
        .where(
            t.run.c.ended_at < bindparam("before", type_=sa.BigInteger),
            t.run.c.number
            < sa.select(t.session.c.fence)
            .where(t.session.c.id == t.run.c.session_id, ~t.session.c.pinned)
            .scalar_subquery(),
            ~sa.exists(sa.select(literal_column("1")).where(other.c.run_id == t.run.c.id)),
            sa.exists(
                sa.select(literal_column("1")).where(t.attempt.c.session_id == t.run.c.session_id, is_delivery())
            ),
        )
        .returning(t.run.c.id)
    )


def delete_runs(executor: Executor, before: int) -> int:
    """Delete the runs of consumers that ended before a moment and have no attempts any more. Return how many."""
    return len(executor.execute(_delete_runs(), {"before": before}))
