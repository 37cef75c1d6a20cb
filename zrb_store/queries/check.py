"""What `check` reads: sessions that are not done, what completed after them, and dead values."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any, NamedTuple

from zrb_store.db.core import bindparam, literal_column, queue, sa, session, value
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


@functools.cache
def _last_completion(in_project: bool) -> Any:
    # Not IS NOT DISTINCT FROM, for which PostgreSQL uses no index.
    project = session.c.project == bindparam("project") if in_project else session.c.project.is_(None)
    return (
        sa.select(session.c.finished_tick)
        .where(session.c.task == bindparam("task"), project, _completed, session.c.finished_tick.is_not(None))
        .order_by(session.c.finished_tick.desc())
        .limit(literal_column("1"))
    )


def last_completion(executor: Executor, task: str, project: str | None) -> int | None:
    """Return the tick at which a session of a task last completed, or None.

    Args:
        executor: The open transaction.
        task: The main task.
        project: The folder of the project; None for sessions of no project.
    """
    rows = executor.execute(_last_completion(project is not None), {"task": task, "project": project})
    return rows[0][0] if rows else None


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
