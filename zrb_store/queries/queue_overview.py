"""What an overview of the queues reads: those of sessions that only hold queues, and those with held values."""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from zrb_store.db.columns import RUN
from zrb_store.db.core import attempt, bindparam, literal_column, queue, run, sa, session, value
from zrb_store.db.dialect import among
from zrb_store.db.transaction import Executor
from zrb_store.queries import runs, sessions
from zrb_store.queries.requeue import is_dead
from zrb_store.records import RunRecord

_holder = session.alias("holder")


class HeldValues(NamedTuple):
    """Values of one queue that a running attempt has taken.

    Attributes:
        queue_id: The queue.
        session: Name of the attempt's session.
        task: Its task.
        number: Its number.
        values: How many values it has taken.
        since: When it took the first of them, in microseconds.
        run: Its run, whose process may have died.
    """

    queue_id: int
    session: str
    task: str
    number: int
    values: int
    since: int
    run: RunRecord


_run_columns = [run.c[name] for name in RUN]
_HELD = (
    sa.select(
        value.c.queue_id,
        _holder.c.name,
        attempt.c.task,
        attempt.c.number,
        sa.func.count(),
        sa.func.min(value.c.ended_at),
        *_run_columns,
    )
    .select_from(
        attempt.join(run, run.c.id == attempt.c.run_id)
        .join(_holder, _holder.c.id == attempt.c.session_id)
        .join(value, value.c.taken_by == attempt.c.id)
    )
    .where(attempt.c.status == literal_column("'running'"), value.c.state == literal_column("'taken'"))
    .with_hint(attempt, "INDEXED BY ix_zrb_attempt_running", "sqlite")
    .group_by(value.c.queue_id, _holder.c.name, attempt.c.task, attempt.c.number, *_run_columns)
)


def held_values(executor: Executor) -> list[HeldValues]:
    """Return what running attempts hold of each queue of the store."""
    return [
        HeldValues(queue_id, name, task, number, values, since, runs.record(tuple(columns)))
        for queue_id, name, task, number, values, since, *columns in executor.execute(_HELD)
    ]


_OPEN = (
    sa.select(queue.c.id)
    .select_from(queue.join(session, session.c.id == queue.c.session_id))
    .where(session.c.status == literal_column("'open'"), sessions.is_not_completed)
    .order_by(queue.c.id.desc())
    .limit(bindparam("most", type_=sa.Integer))
)


def queues_of_open_sessions(executor: Executor, most: int) -> list[int]:
    """Return the ids of queues whose session has had no run, the newest first, at most so many."""
    return [row[0] for row in executor.execute(_OPEN, {"most": most})]


class QueueState(NamedTuple):
    """What a queue has now.

    Attributes:
        queue_id: Its id.
        session_id: The id of its session.
        session: The name of its session.
        status: The stored status of its session.
        queue: Its name.
        max_deliveries: How often it delivers a value; None for any number.
        live: How many values are live.
        oldest_at: When the oldest of these was pushed, in microseconds.
        dead: How many values are dead.
        died_at: When the last of these died.
    """

    queue_id: int
    session_id: int
    session: str
    status: str
    queue: str
    max_deliveries: int | None
    live: int
    oldest_at: int | None
    dead: int
    died_at: int | None


@functools.cache
def _states(dialect_name: str) -> Any:
    live = (
        sa.select(value.c.queue_id, sa.func.count().label("count"), sa.func.min(value.c.seq).label("oldest"))
        .where(among(dialect_name, value.c.queue_id, "queue_ids"), value.c.ended_at.is_(None))
        .with_hint(value, "INDEXED BY ix_zrb_value_live", "sqlite")
        .group_by(value.c.queue_id)
        .subquery("live")
    )
    dead = (
        sa.select(value.c.queue_id, sa.func.count().label("count"), sa.func.max(value.c.ended_at).label("at"))
        .where(among(dialect_name, value.c.queue_id, "queue_ids"), is_dead)
        .with_hint(value, "INDEXED BY ix_zrb_value_dead", "sqlite")
        .group_by(value.c.queue_id)
        .subquery("dead")
    )
    oldest = value.alias("oldest")
    none: sa.ColumnClause[Any] = literal_column("0")
    return (
        sa.select(
            queue.c.id,
            session.c.id,
            session.c.name,
            session.c.status,
            queue.c.name,
            queue.c.max_deliveries,
            sa.func.coalesce(live.c.count, none),
            oldest.c.pushed_at,
            sa.func.coalesce(dead.c.count, none),
            dead.c.at,
        )
        .select_from(
            queue.join(session, session.c.id == queue.c.session_id)
            .outerjoin(live, live.c.queue_id == queue.c.id)
            .outerjoin(oldest, sa.and_(oldest.c.queue_id == live.c.queue_id, oldest.c.seq == live.c.oldest))
            .outerjoin(dead, dead.c.queue_id == queue.c.id)
        )
        .where(among(dialect_name, queue.c.id, "queue_ids"))
        .order_by(session.c.name, queue.c.name)
    )


def queue_states(executor: Executor, queue_ids: Sequence[int]) -> list[QueueState]:
    """Return what these queues have now, ordered by session and name."""
    params = {"queue_ids": json.dumps(list(queue_ids))}
    return [QueueState(*row) for row in executor.execute(_states(executor.dialect_name), params)]


_WITH_DEAD = (
    sa.select(value.c.queue_id)
    .where(is_dead)
    .group_by(value.c.queue_id)
    .order_by(value.c.queue_id.desc())
    .limit(bindparam("most", type_=sa.Integer))
    .with_hint(value, "INDEXED BY ix_zrb_value_dead", "sqlite")
)


def queues_with_dead(executor: Executor, most: int) -> list[int]:
    """Return the ids of queues that have dead values, at most so many."""
    return [row[0] for row in executor.execute(_WITH_DEAD, {"most": most})]
