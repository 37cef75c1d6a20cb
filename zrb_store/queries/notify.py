"""The content of notifications of failed runs and dead values, and whether they were sent already."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import NamedTuple

from zrb_store.db.columns import RUN
from zrb_store.db.core import bindparam, exists, is_one_of, literal, sa, statement, t
from zrb_store.db.dialect import among, now, schema_is_unchanged
from zrb_store.db.rows import sound
from zrb_store.db.transaction import Executor, Row
from zrb_store.queries import runs, sessions
from zrb_store.queries.values import is_dead, is_same_value
from zrb_store.records import UNSUCCESSFUL, RunRecord


class LastError(NamedTuple):
    """An error that ended an attempt, or a run outside of its attempts: then there is no task."""

    task: str | None
    type: str | None
    message: str | None
    others: int = 0  # how many other tasks of the run did not complete

    def text(self) -> str:
        """Return it as text: `load and 2 more: ValueError: no column 'price'`."""
        parts = [self.named(), self.type, self.message]
        return ": ".join(part for part in parts if part)

    def named(self) -> str | None:
        """Return the task, and how many others did not complete: `load and 2 more`."""
        return self.task and self.task + (f" and {self.others} more" if self.others else "")


@statement
def _last_errors(dialect_name: str) -> sa.Select[*Row]:
    later = t.attempt.alias("later")
    is_first_choice = sa.or_(t.attempt.c.status == literal("failed"), t.attempt.c.kind == literal("delivery"))
    chosen = sa.func.coalesce(sa.func.max(sa.case((is_first_choice, t.attempt.c.id))), sa.func.max(t.attempt.c.id))
    last = (
        sa.select(chosen.label("id"), sa.func.count(t.attempt.c.task.distinct()).label("tasks"))
        .where(
            among(dialect_name, t.attempt.c.run_id, "ids"),
            is_one_of(t.attempt.c.status, *UNSUCCESSFUL),
            t.attempt.c.error_type.is_not(None),
            t.attempt.c.step_of.is_(None),  # the error of a step is its task's, too
            # What a consumer took later was another value.
            sa.or_(
                t.attempt.c.kind == literal("delivery"),
                ~exists(
                    later.c.run_id == t.attempt.c.run_id,
                    later.c.task == t.attempt.c.task,
                    later.c.id > t.attempt.c.id,
                    sa.or_(later.c.status == literal("completed"), later.c.error_type.is_not(None)),
                ),
            ),
        )
        .group_by(t.attempt.c.run_id)
        .subquery()
    )
    columns = (t.attempt.c.run_id, t.attempt.c.task, t.attempt.c.error_type, t.attempt.c.error_message)
    return sa.select(*columns, last.c.tasks - literal(1)).join(last, last.c.id == t.attempt.c.id)


@statement
def _own_errors(dialect_name: str) -> sa.Select[int, str | None, str | None, str | None]:
    return sa.select(t.run.c.id, sa.null(), t.run.c.error_type, t.run.c.error_message).where(
        among(dialect_name, t.run.c.id, "ids"), t.run.c.error_type.is_not(None)
    )


def last_errors(executor: Executor, run_ids: Sequence[int]) -> dict[int, LastError]:
    """Return by run why it did not complete: the failure that `list`, `check`, `stats`, cards and notifications name.

    It is the newest delivery that did not complete, or else the last attempt of a task that failed, or was interrupted
    if none failed; the newest, if several did. A run without such an attempt has the error outside of its attempts.
    """
    ids = {"ids": json.dumps(list(run_ids))}
    rows = [
        *executor.execute(_own_errors(executor.dialect_name), ids),
        *executor.execute(_last_errors(executor.dialect_name), ids),
    ]
    return {run_id: LastError(*error) for run_id, *error in rows}


@statement
def _claim() -> sa.sql.dml.ReturningUpdate[int]:
    return (
        sa.update(t.run)
        .where(
            t.run.c.id == bindparam("run_id"),
            t.run.c.notified_at.is_(None),
            # It lives if it has renewed its lease meanwhile.
            t.run.c.lease_expires_at == bindparam("seen", type_=sa.BigInteger),
            schema_is_unchanged(),
        )
        .values(notified_at=now())
        .returning(t.run.c.id)
    )


def claim(executor: Executor, dead: RunRecord) -> bool:
    """Claim the notification of a dead run; return False if it is claimed, or the run has renewed its lease."""
    return bool(executor.execute(_claim(), {"run_id": dead.id, "seen": dead.lease_expires_at}))


@statement
def _unreported() -> sa.Select[*Row]:
    newest_run = sa.and_(t.run.c.session_id == t.session.c.id, t.run.c.number == t.session.c.fence)
    return (
        sa.select(t.session.c.name, *(t.run.c[name] for name in RUN))
        .select_from(t.session.join(t.run, newest_run))
        .where(
            t.session.c.status == literal("running"),
            sessions.is_not_completed(),
            t.session.c.parent.is_(None),
            t.run.c.ended_at.is_(None),
            t.run.c.notified_at.is_(None),
            t.run.c.acknowledged_at.is_(None),
        )
        .order_by(t.run.c.id)
    )


def running_unreported(executor: Executor) -> list[tuple[str, RunRecord]]:
    """Return session and run of root sessions that run, or did when they died, and were not reported."""
    return list(sound(lambda row: (row[0], runs.record(row[1:])), executor.execute(_unreported())))


class DiedValue(NamedTuple):
    """A value that is dead."""

    session: str
    project: str | None  # the folder of the session's project
    task: str | None  # the main task of the session
    queue: str
    failed_deliveries: int
    error: LastError | None  # the error of the last attempt that took it


@statement
def _died() -> sa.Select[*Row]:
    value = (t.session.c.name, t.session.c.project, t.session.c.task, t.queue.c.name, t.value.c.failed_deliveries)
    error = (t.attempt.c.task, t.attempt.c.error_type, t.attempt.c.error_message)
    return (
        sa.select(*value, *error)
        .select_from(
            t.value.join(t.queue)
            .join(t.session, t.session.c.id == t.queue.c.session_id)
            .outerjoin(t.returned, is_same_value(t.returned, t.value))
            .outerjoin(t.attempt, t.attempt.c.id == t.returned.c.taken_by)
        )
        .where(
            t.value.c.queue_id == bindparam("queue_id"),
            t.value.c.seq == bindparam("seq", type_=sa.BigInteger),
            is_dead(),
        )
        .order_by(t.returned.c.id.desc())
        .limit(literal(1))
    )


def died_value(executor: Executor, queue_id: int, seq: int) -> DiedValue | None:
    """Return what is known of a dead value; None if it is not dead any more."""
    rows = executor.execute(_died(), {"queue_id": queue_id, "seq": seq})
    if not rows:
        return None
    *value, task, type_, message = rows[0]
    return DiedValue._make((*value, None if task is None else LastError(task, type_, message)))
