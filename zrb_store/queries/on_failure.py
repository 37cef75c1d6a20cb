"""What is told when a run fails or a value dies, and whether somebody has been told already."""

from __future__ import annotations

from typing import Any, NamedTuple

from zrb_store.db.columns import RUN
from zrb_store.db.core import attempt, bindparam, literal_column, queue, returned, run, sa, session, value
from zrb_store.db.dialect import now, schema_is_unchanged
from zrb_store.db.transaction import Executor
from zrb_store.queries import runs, sessions
from zrb_store.queries.last_errors import LastError
from zrb_store.queries.requeue import is_dead
from zrb_store.records import RunRecord

_CLAIM = (
    sa.update(run)
    .where(
        run.c.id == bindparam("run_id"),
        run.c.told_at.is_(None),
        # It lives if it has renewed its lease meanwhile.
        run.c.lease_expires_at == bindparam("seen", type_=sa.BigInteger),
        schema_is_unchanged,
    )
    .values(told_at=now())
    .returning(run.c.id)
)


def claim(executor: Executor, dead: RunRecord) -> bool:
    """Record that somebody is told of the death of a run.

    Returns:
        False if somebody was told before, by this process or by another one, or if the run has renewed its lease.
    """
    return bool(executor.execute(_CLAIM, {"run_id": dead.id, "seen": dead.lease_expires_at}))


_UNTOLD = (
    sa.select(session.c.name, *(run.c[name] for name in RUN))
    .select_from(session.join(run, sa.and_(run.c.session_id == session.c.id, run.c.number == session.c.fence)))
    .where(
        session.c.status == literal_column("'running'"),
        sessions.is_not_completed,
        session.c.parent.is_(None),
        run.c.ended_at.is_(None),
        run.c.told_at.is_(None),
    )
    .order_by(run.c.id)
)


def running_and_untold(executor: Executor) -> list[tuple[str, RunRecord]]:
    """Return the newest run of each session that runs, or did when it died, unless somebody was told of its death.

    Child sessions are left out.

    Returns:
        The name of the session, and the run.
    """
    return [(name, runs.record(tuple(columns))) for name, *columns in executor.execute(_UNTOLD)]


class DiedValue(NamedTuple):
    """A value that is dead.

    Attributes:
        session: Name of its session.
        project: The folder of the session's project.
        task: The main task of the session.
        queue: Name of its queue.
        deliveries: How often it was delivered.
        error: The error of the last attempt that took it.
    """

    session: str
    project: str | None
    task: str | None
    queue: str
    deliveries: int
    error: LastError | None


_DIED: sa.Select[Any] = (
    sa.select(
        session.c.name,
        session.c.project,
        session.c.task,
        queue.c.name,
        value.c.deliveries,
        attempt.c.task,
        attempt.c.error_type,
        attempt.c.error_message,
    )
    .select_from(
        value.join(queue, queue.c.id == value.c.queue_id)
        .join(session, session.c.id == queue.c.session_id)
        .outerjoin(returned, sa.and_(returned.c.queue_id == value.c.queue_id, returned.c.seq == value.c.seq))
        .outerjoin(attempt, attempt.c.id == returned.c.taken_by)
    )
    .where(value.c.queue_id == bindparam("queue_id"), value.c.seq == bindparam("seq", type_=sa.BigInteger), is_dead)
    .order_by(returned.c.id.desc())
    .limit(literal_column("1"))
)


def died_value(executor: Executor, queue_id: int, seq: int) -> DiedValue | None:
    """Return what is known of a dead value; None if it is not dead any more."""
    rows = executor.execute(_DIED, {"queue_id": queue_id, "seq": seq})
    if not rows:
        return None
    name, project, main_task, queue_name, count, task, type_, message = rows[0]
    error = None if task is None else LastError(task, type_, message)
    return DiedValue(name, project, main_task, queue_name, count, error)
