"""Queues with dead values, and why these died."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import NamedTuple

from zrb_store.db.core import sa, statement, t
from zrb_store.db.dialect import among
from zrb_store.db.transaction import Executor, Row
from zrb_store.process import Projects
from zrb_store.queries import runs
from zrb_store.queries.last_errors import LastError
from zrb_store.queries.queues import dead_values
from zrb_store.queries.values import is_dead, is_same_value


class DeadQueue(NamedTuple):
    """A queue that has dead values."""

    id: int
    session_id: int
    session: str
    project: str | None  # the folder of the session's project
    queue: str
    dead: int  # how many of its values are dead
    at: int  # when the last of them died, in microseconds


@statement
def _dead_queues() -> sa.Select[*Row]:
    dead = dead_values().subquery()
    return (
        sa.select(
            t.queue.c.id, t.session.c.id, t.session.c.name, t.session.c.project, t.queue.c.name, dead.c.count, dead.c.at
        )
        .select_from(
            dead.join(t.queue, t.queue.c.id == dead.c.queue_id).join(t.session, t.session.c.id == t.queue.c.session_id)
        )
        .order_by(dead.c.at.desc(), t.queue.c.id)
    )


def dead_queues(executor: Executor, projects: Projects | None = None) -> list[DeadQueue]:
    """Return the queues that have dead values, those whose values died last first."""
    statement = _dead_queues() if projects is None else _dead_queues().construct.where(runs.is_of(projects))
    return [DeadQueue(*row) for row in executor.execute(statement, {})]


@statement
def _last_deaths(dialect_name: str) -> sa.Select[int, str, str | None, str | None]:
    last = (
        sa.select(sa.func.max(t.returned.c.id))
        .select_from(t.value.join(t.returned, is_same_value(t.returned, t.value)))
        .where(is_dead(), among(dialect_name, t.value.c.queue_id, "ids"))
        .with_hint(t.value, "INDEXED BY ix_zrb_value_dead", "sqlite")
        .group_by(t.value.c.queue_id)
    )
    return (
        sa.select(t.returned.c.queue_id, t.returned.c.reason, t.attempt.c.error_type, t.attempt.c.error_message)
        .select_from(t.returned.outerjoin(t.attempt, t.attempt.c.id == t.returned.c.taken_by))
        .where(t.returned.c.id.in_(last))
    )


def why_dead(executor: Executor, queue_ids: Sequence[int]) -> dict[int, str]:
    """Return the error of the last death in each queue, or how that delivery ended."""
    rows = executor.execute(_last_deaths(executor.dialect_name), {"ids": json.dumps(list(queue_ids))})
    return {queue_id: LastError(None, *error).text() or reason for queue_id, reason, *error in rows}
