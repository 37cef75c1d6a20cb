"""Rows for `stats`, `check` and notifications: ends and durations of runs, and unfinished work."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import NamedTuple, TypeVarTuple

from zrb_store.db.columns import RUN
from zrb_store.db.core import bindparam, exists, is_one_of, literal, sa, statement, t
from zrb_store.db.dialect import among, now, schema_is_unchanged
from zrb_store.db.rows import fit, sound
from zrb_store.db.transaction import Executor, Row, Transaction, first_column
from zrb_store.process import Projects
from zrb_store.queries import runs, sessions
from zrb_store.queries.attempts import attempt_as
from zrb_store.queries.last_errors import LastError
from zrb_store.queries.values import is_dead, is_same_value
from zrb_store.records import UNSUCCESSFUL, RunRecord, SessionRecord

Ts = TypeVarTuple("Ts")


def _chosen(statement: sa.Select[*Ts], task: str | None, since: int | None) -> sa.Select[*Ts]:
    # What reclaims a dead run is stored as a run too.
    statement = statement.select_from(t.run.join(t.session)).where(t.run.c.origin != literal("reclaim"))
    if task is not None:
        statement = statement.where(t.session.c.task == task)
    return statement if since is None else statement.where(t.run.c.started_at >= since)


def waited(executor: Executor, task: str | None, since: int | None) -> list[tuple[str | None, str | None, int]]:
    """Return project, main task and how long, in microseconds, nothing ran after runs that ended because they wait."""
    later = t.run.alias("later")
    following = sa.select(sa.func.min(later.c.started_at)).where(
        later.c.session_id == t.run.c.session_id, later.c.number > t.run.c.number
    )
    # `stop` may have ended the wait.
    last = sa.case((t.session.c.status == literal("waiting"), now()), else_=t.run.c.ended_at)
    until = sa.func.coalesce(following.scalar_subquery(), last)
    waited = sa.func.sum(sa.case((until > t.run.c.ended_at, until - t.run.c.ended_at), else_=literal(0)))
    statement = sa.select(t.session.c.project, t.session.c.task, sa.cast(waited, sa.BigInteger))
    statement = statement.where(t.run.c.status == literal("waiting")).group_by(t.session.c.project, t.session.c.task)
    return [(row[0], row[1], row[2]) for row in executor.execute(_chosen(statement, task, since), {})]


class PastRun(NamedTuple):
    """What counts of a run of a main task."""

    project: str | None  # the folder of the project, None for none
    task: str | None  # the main task, None if it is not known
    session: str
    session_id: int
    id: int
    status: str | None  # `completed`, `failed`, `interrupted`, `lost` or `waiting`; None if it has not ended
    started_at: int
    ended_at: int | None
    lease_expires_at: int


def every_run(transaction: Transaction, task: str | None, since: int | None) -> Iterator[PastRun]:
    """Yield the runs of main tasks, ordered by project, task and session, and those of a session as they began."""
    place = (t.session.c.project, t.session.c.task)
    columns = {name: RUN[name] for name in PastRun._fields[3:]}

    def past(row: Row) -> PastRun:
        fit("zrb_run", columns, row[3:])
        return PastRun._make(row)

    selected = sa.select(*place, t.session.c.name, *(t.run.c[name] for name in columns))
    ordered = _chosen(selected, task, since).order_by(*place, t.run.c.session_id, t.run.c.number)
    return sound(past, transaction.stream(ordered))


class TaskRun(NamedTuple):
    """A run of a main task; one that has not ended, or was lost, with its last sign of life."""

    project: str | None  # the folder of the project, None for none
    task: str | None  # the main task, None if it is not known
    session: str
    run: RunRecord


def _task_runs(executor: Executor, statement: sa.Select[*Row]) -> list[TaskRun]:
    of_session = (t.session.c.project, t.session.c.task, t.session.c.name)
    rows = executor.execute(statement.add_columns(*of_session).order_by(t.run.c.id.desc()), {})
    found = list(sound(lambda row: TaskRun._make((*row[-3:], runs.record(row[:-3]))), rows))
    lost = [each.run for each in found if each.run.status in (None, "lost")]
    seen = {run.id: run for run in runs.with_last_signs(executor, lost)}
    return [each._replace(run=seen.get(each.run.id, each.run)) for each in found]


def running(executor: Executor, task: str | None, since: int | None) -> list[TaskRun]:
    """Return the runs that have not ended."""
    return _task_runs(executor, _chosen(runs.selection(), task, since).where(t.run.c.ended_at.is_(None)))


def recent_runs(executor: Executor, task: str | None, since: int | None, most: int) -> list[TaskRun]:
    """Return the runs that have ended, but not to wait, those that began last first; at most so many."""
    has_ended = (t.run.c.ended_at.is_not(None), t.run.c.status != literal("waiting"))
    return _task_runs(executor, _chosen(runs.selection(), task, since).where(*has_ended).limit(most))


def with_ids(executor: Executor, run_ids: Sequence[int]) -> list[TaskRun]:
    """Return these runs."""
    return _task_runs(executor, _chosen(runs.selection(), None, None).where(t.run.c.id.in_(run_ids)))


def _not_completed(of: sa.FromClause) -> tuple[sa.ColumnElement[bool], ...]:
    """Return the conditions that a session is a root session that has not completed, in the form for their index."""
    return of.c.status != literal("completed"), of.c.parent.is_(None)


def _last_of_each_task() -> sa.Subquery:
    """Select the session that completed last for each project and main task with sessions that have not completed."""
    failed, done, other = t.session.alias("failed"), t.session.alias("done"), t.session.alias("other")
    of = sa.select(failed.c.task, failed.c.project).where(*_not_completed(failed)).distinct()
    each = of.with_hint(failed, _BY_STATUS, "sqlite").subquery("each")
    last = (
        sa.select(other.c.id)
        .where(
            # Not =, with which PostgreSQL may search the ends of all tasks for one of a task that never completed.
            other.c.task.between(each.c.task, each.c.task),
            other.c.project.is_not_distinct_from(each.c.project),
            other.c.status == literal("completed"),
            other.c.ended_tick.is_not(None),
        )
        .order_by(other.c.task.desc(), other.c.ended_tick.desc())
        .limit(literal(1))
        .scalar_subquery()
    )
    found = sa.select(each.c.task, each.c.project, done.c.id, done.c.ended_tick)
    return found.select_from(each.join(done, done.c.id == last)).subquery("last_of_task")


_BY_STATUS = "INDEXED BY ix_zrb_session_not_completed"


@statement
def _not_done() -> sa.Select[*Row]:
    # Most of those that failed lie before the last completion of their task: they are left out by an index alone.
    halted, last = t.session.alias("halted"), _last_of_each_task()
    of_task = sa.and_(halted.c.task == last.c.task, halted.c.project.is_not_distinct_from(last.c.project))
    is_before = sa.and_(halted.c.ended_tick < last.c.ended_tick, halted.c.id < last.c.id)
    found = (
        sa.select(halted.c.id)
        .select_from(halted.outerjoin(last, of_task))
        .where(
            is_one_of(halted.c.status, "running", "failed", "interrupted", "waiting"),
            *_not_completed(halted),
            sa.func.coalesce(sa.case((is_before, literal(0))), literal(1)) == literal(1),
        )
        .with_hint(halted, _BY_STATUS, "sqlite")
    )
    return sessions.selection().where(t.session.c.id.in_(found)).order_by(t.session.c.id.desc())


def not_done(transaction: Transaction, projects: Projects | None = None) -> Iterator[SessionRecord]:
    """Yield the root sessions that run, wait, failed or were interrupted, as they are stored, the newest first.

    Left out are those that were created, and ended, before the session of their task that completed last did so.
    """
    statement = _not_done() if projects is None else _not_done().construct.where(runs.is_of(projects))
    return sound(sessions.record, transaction.stream(statement))


@statement
def _with_failed_step() -> sa.Select[*Row]:
    of_last_run = sa.and_(t.run.c.session_id == t.session.c.id, t.run.c.number == t.session.c.fence)
    return (
        sessions.selection()
        .add_columns(t.run.c.id)
        .select_from(t.run.join(t.session, of_last_run))
        .with_hint(t.run, "INDEXED BY ix_zrb_run_incomplete", "sqlite")
        .where(
            t.run.c.status == literal("completed"),
            t.run.c.error_type.is_not(None),
            t.run.c.acknowledged_at.is_(None),
            t.session.c.status == literal("completed"),
            t.session.c.parent.is_(None),
        )
    )


def with_failed_step(transaction: Transaction, projects: Projects | None = None) -> list[tuple[SessionRecord, int]]:
    """Return the root sessions of scripts that completed although a step failed, and the id of the last run of each.

    Left out are those that a person has acknowledged.
    """
    statement = _with_failed_step() if projects is None else _with_failed_step().construct.where(runs.is_of(projects))
    return list(sound(lambda row: (sessions.record(row[:-1]), row[-1]), transaction.stream(statement)))


class Completion(NamedTuple):
    """The completion of a session: the tick of its end, and the session's id."""

    tick: int
    session_id: int


@statement
def _last_completion(in_project: bool, newer: bool) -> sa.Select[int | None, int]:
    has_completed = t.session.c.status == literal("completed")
    # Not IS NOT DISTINCT FROM, for which PostgreSQL uses no index.
    project = t.session.c.project == bindparam("project") if in_project else t.session.c.project.is_(None)
    completed = (t.session.c.task == bindparam("task"), project, has_completed, t.session.c.ended_tick.is_not(None))
    statement = (
        sa.select(t.session.c.ended_tick, t.session.c.id)
        .where(*completed)
        .order_by(t.session.c.ended_tick.desc())
        .limit(literal(1))
    )
    return statement.where(t.session.c.id > bindparam("after_id")) if newer else statement


def last_completion(
    executor: Executor, task: str, project: str | None, after_id: int | None = None
) -> Completion | None:
    """Return how a session of this task and project last completed, of those created after that id; or None."""
    statement = _last_completion(project is not None, after_id is not None)
    rows = executor.execute(statement, {"task": task, "project": project, "after_id": after_id})
    return Completion(*rows[0]) if rows else None


@statement
def _with_deliveries(dialect_name: str) -> sa.Select[int]:
    return (
        sa.select(t.attempt.c.session_id)
        .where(among(dialect_name, t.attempt.c.session_id, "ids"), t.attempt.c.kind == literal("delivery"))
        .distinct()
    )


def with_deliveries(executor: Executor, session_ids: Sequence[int]) -> set[int]:
    """Return which of these sessions have taken values as deliveries."""
    rows = executor.execute(_with_deliveries(executor.dialect_name), {"ids": json.dumps(list(session_ids))})
    return set(map(first_column, rows))


@statement
def _unresolved(dialect_name: str) -> sa.Select[int | None, int]:
    holder = attempt_as("holder")
    is_settled = sa.or_(
        is_one_of(t.value.c.state, "removed", "retracted"),
        sa.and_(
            t.value.c.state == literal("taken"),
            sa.or_(t.value.c.taken_by.is_(None), holder.c.status == literal("completed")),
        ),
    )
    returned = t.returned.join(t.value, is_same_value(t.value, t.returned))
    with_holder = returned.outerjoin(holder, holder.c.id == t.value.c.taken_by)
    returned_value = exists(t.returned.c.taken_by == t.attempt.c.id, ~is_settled, rows=with_holder)
    is_unresolved = sa.or_(t.attempt.c.kind != literal("delivery"), returned_value)
    return (
        sa.select(t.attempt.c.run_id, sa.func.sum(sa.case((is_unresolved, literal(1)), else_=literal(0))))
        .where(among(dialect_name, t.attempt.c.run_id, "ids"), is_one_of(t.attempt.c.status, *UNSUCCESSFUL))
        .group_by(t.attempt.c.run_id)
    )


def unresolved_failures(executor: Executor, run_ids: Sequence[int]) -> dict[int, int]:
    """Count by run its unsuccessful attempts, if any, but no deliveries whose value was settled or dropped since."""
    rows = executor.execute(_unresolved(executor.dialect_name), {"ids": json.dumps(list(run_ids))})
    return {run_id: int(count) for run_id, count in rows if run_id is not None}


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


@statement
def _acknowledge() -> sa.sql.dml.ReturningUpdate[int]:
    return (
        sa.update(t.run)
        .where(t.run.c.session_id == bindparam("of_session"), t.run.c.id != bindparam("but", type_=sa.BigInteger))
        .values(acknowledged_at=sa.func.coalesce(t.run.c.acknowledged_at, now()))
        .returning(t.run.c.id)
    )


def acknowledge(transaction: Transaction, session_id: int, but: int | None) -> bool:
    """Acknowledge how the runs of a session have ended, `but` one that has not; return False if there are no others."""
    return bool(transaction.execute(_acknowledge(), {"of_session": session_id, "but": but or 0}))
