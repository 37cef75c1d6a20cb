"""What `check` reads: sessions that are not done, what completed after them, and dead values."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from zrb_store.db.core import attempt, bindparam, literal_column, queue, sa, session, value
from zrb_store.db.dialect import among
from zrb_store.db.transaction import Executor, Transaction
from zrb_store.project import Projects
from zrb_store.queries import sessions
from zrb_store.queries.programs import is_of
from zrb_store.queries.requeue import is_dead
from zrb_store.records import SessionRecord

_completed = session.c.status == literal_column("'completed'")
_NOT_DONE = sessions.ALL.where(
    session.c.status.in_([literal_column(f"'{status}'") for status in ("running", "failed", "interrupted")]),
    sessions.is_not_completed,
    session.c.parent.is_(None),
).order_by(session.c.id.desc())


def not_done(transaction: Transaction, projects: Projects | None = None) -> Iterator[SessionRecord]:
    """Yield the sessions that failed, were interrupted or run, with their stored status, the newest first.

    Child sessions are left out.

    Args:
        transaction: A snapshot.
        projects: Only sessions of these projects.
    """
    statement = _NOT_DONE if projects is None else _NOT_DONE.where(is_of(projects))
    return map(sessions.record, transaction.stream(statement))


class Completion(NamedTuple):
    """The completion of a session: the tick of its end, and the session's id."""

    tick: int
    session_id: int


@functools.cache
def _last_completion(in_project: bool, newer: bool) -> Any:
    # Not IS NOT DISTINCT FROM, for which PostgreSQL uses no index.
    project = session.c.project == bindparam("project") if in_project else session.c.project.is_(None)
    completed = (session.c.task == bindparam("task"), project, _completed, session.c.finished_tick.is_not(None))
    statement = (
        sa.select(session.c.finished_tick, session.c.id)
        .where(*completed)
        .order_by(session.c.finished_tick.desc())
        .limit(literal_column("1"))
    )
    return statement.where(session.c.id > bindparam("after_id")) if newer else statement


def last_completion(
    executor: Executor, task: str, project: str | None, after_id: int | None = None
) -> Completion | None:
    """Return how a session of a task last completed, or None.

    Args:
        executor: The open transaction.
        task: The main task.
        project: The folder of the project; None for sessions of no project.
        after_id: Only sessions that were created after the one with this id count.
    """
    statement = _last_completion(project is not None, after_id is not None)
    rows = executor.execute(statement, {"task": task, "project": project, "after_id": after_id})
    return Completion(*rows[0]) if rows else None


@functools.cache
def _with_deliveries(dialect_name: str) -> Any:
    return (
        sa.select(attempt.c.session_id)
        .where(among(dialect_name, attempt.c.session_id, "ids"), attempt.c.role == literal_column("'delivery'"))
        .distinct()
    )


def with_deliveries(executor: Executor, session_ids: Sequence[int]) -> set[int]:
    """Return which of these sessions have taken values as deliveries."""
    rows = executor.execute(_with_deliveries(executor.dialect_name), {"ids": json.dumps(list(session_ids))})
    return {row[0] for row in rows}


class DeadQueue(NamedTuple):
    """A queue that has dead values.

    Attributes:
        session: Name of its session.
        project: The folder of the session's project.
        queue: Its name.
        dead: How many of its values are dead.
        at: When the last of them died, in microseconds.
    """

    session: str
    project: str | None
    queue: str
    dead: int
    at: int


_dead = (
    sa.select(value.c.queue_id, sa.func.count().label("count"), sa.func.max(value.c.ended_at).label("at"))
    .where(is_dead)
    .group_by(value.c.queue_id)
    .with_hint(value, "INDEXED BY ix_zrb_value_dead", "sqlite")
    .subquery()
)
_DEAD_QUEUES = (
    sa.select(session.c.name, session.c.project, queue.c.name, _dead.c.count, _dead.c.at)
    .select_from(_dead.join(queue, queue.c.id == _dead.c.queue_id).join(session, session.c.id == queue.c.session_id))
    .order_by(_dead.c.at.desc(), queue.c.id)
)


def dead_queues(executor: Executor, projects: Projects | None = None) -> list[DeadQueue]:
    """Return the queues that have dead values, those whose values died last first.

    Args:
        executor: The database, or the open transaction.
        projects: Only queues of sessions of these projects.
    """
    statement = _DEAD_QUEUES if projects is None else _DEAD_QUEUES.where(is_of(projects))
    return [DeadQueue(*row) for row in executor.execute(statement, {})]
