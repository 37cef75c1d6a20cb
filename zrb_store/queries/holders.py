"""What holds values: running attempts, and completed steps of sessions that have not completed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import NamedTuple

from zrb_store.db.columns import RUN
from zrb_store.db.core import literal_column, sa, statement, t
from zrb_store.db.dialect import among
from zrb_store.db.transaction import Executor, Row
from zrb_store.queries import runs
from zrb_store.queries.steps import standing
from zrb_store.records import RunRecord


class Holder(NamedTuple):
    """An attempt that is running and holds values.

    Attributes:
        home_id: The session whose values it holds.
        session: Name of the attempt's own session.
        task: Its task.
        number: Its number.
        run: Its run, whose process may have died.
    """

    home_id: int
    session: str
    task: str
    number: int
    run: RunRecord


@statement
def _holders(dialect_name: str) -> sa.Select[*Row]:
    return (
        sa.select(
            t.queue.c.session_id,
            t.session.c.name,
            t.attempt.c.task,
            t.attempt.c.number,
            *(t.run.c[name] for name in RUN),
        )
        .select_from(
            t.attempt.join(t.run, t.run.c.id == t.attempt.c.run_id)
            .join(t.session, t.session.c.id == t.attempt.c.session_id)
            .join(t.value, t.value.c.taken_by == t.attempt.c.id)
            .join(t.queue, t.queue.c.id == t.value.c.queue_id)
        )
        .where(
            t.attempt.c.status == literal_column("'running'"), among(dialect_name, t.queue.c.session_id, "session_ids")
        )
        .with_hint(t.attempt, "INDEXED BY ix_zrb_attempt_running", "sqlite")
        .distinct()
    )


def holders(executor: Executor, session_ids: Sequence[int]) -> list[Holder]:
    """Return the running attempts, of any session, that hold values of some sessions' queues."""
    rows = executor.execute(_holders(executor.dialect_name), {"session_ids": json.dumps(list(session_ids))})
    return [
        Holder(home_id, name, task, number, runs.record(tuple(columns)))
        for home_id, name, task, number, *columns in rows
    ]


class UnfinishedSession(NamedTuple):
    """A session that has steps and has not completed.

    Attributes:
        id: Its id.
        name: Its name.
        status: Its stored status: `failed`, `interrupted`, or `running`, though the run may have died.
        run: Its newest run.
    """

    id: int
    name: str
    status: str
    run: RunRecord


def _next_with_steps(*after: sa.ColumnElement[bool]) -> sa.Select[*Row]:
    """Select the first session that has steps, found by the index of steps without reading the others."""
    return (
        sa.select(sa.func.min(t.attempt.c.session_id).label("session_id"))
        .where(t.attempt.c.step_of.is_not(None), *after)
        .with_hint(t.attempt, "INDEXED BY ix_zrb_attempt_step", "sqlite")
    )


@statement
def _unfinished() -> sa.Select[*Row]:
    found = _next_with_steps().cte("found", recursive=True)
    with_steps = found.union_all(
        sa.select(_next_with_steps(t.attempt.c.session_id > found.c.session_id).scalar_subquery()).where(
            found.c.session_id.is_not(None)
        )
    )
    return (
        sa.select(t.session.c.id, t.session.c.name, t.session.c.status, *(t.run.c[name] for name in RUN))
        .select_from(
            with_steps.join(t.session, t.session.c.id == with_steps.c.session_id).join(
                t.run, sa.and_(t.run.c.session_id == t.session.c.id, t.run.c.number == t.session.c.fence)
            )
        )
        .where(
            t.session.c.status.in_([literal_column(f"'{status}'") for status in ("running", "failed", "interrupted")])
        )
    )


def unfinished_sessions(executor: Executor) -> list[UnfinishedSession]:
    """Return the sessions that have steps and a run and have not completed."""
    return [
        UnfinishedSession(session_id, name, status, runs.record(tuple(columns)))
        for session_id, name, status, *columns in executor.execute(_unfinished())
    ]


class HoldingStep(NamedTuple):
    """A completed step of a task that has not completed, which holds values of another session.

    Attributes:
        home_id: The session whose values it holds.
        session_id: The step's own session.
        step_of: The task.
        task: The step's id: TASK/NUMBER.
        number: The number of its attempt.
        since: When it took the first of these values, in microseconds.
    """

    home_id: int
    session_id: int
    step_of: str
    task: str
    number: int
    since: int


@statement
def _holding_steps(dialect_name: str) -> sa.Select[int, int, str | None, str, int, int | None]:
    whole = t.attempt.alias("whole")
    completed = sa.exists(
        sa.select(literal_column("1")).where(
            whole.c.session_id == t.attempt.c.session_id,
            whole.c.task == t.attempt.c.step_of,
            whole.c.role.not_in([literal_column("'delivery'"), literal_column("'step'")]),
            whole.c.status == literal_column("'completed'"),
            whole.c.given_back_at.is_(None),
        )
    )
    since = sa.func.min(t.value.c.ended_at)
    columns = (t.queue.c.session_id, t.attempt.c.session_id, t.attempt.c.step_of, t.attempt.c.task, t.attempt.c.number)
    return (
        sa.select(*columns, since)
        .select_from(
            t.attempt.join(t.value, t.value.c.taken_by == t.attempt.c.id).join(
                t.queue, t.queue.c.id == t.value.c.queue_id
            )
        )
        .where(
            among(dialect_name, t.attempt.c.session_id, "step_sessions"),
            t.attempt.c.step_of.is_not(None),
            standing(),
            t.value.c.state == literal_column("'taken'"),
            among(dialect_name, t.queue.c.session_id, "session_ids"),
            t.queue.c.session_id != t.attempt.c.session_id,
            ~completed,
        )
        .group_by(*columns)
        .order_by(since)
    )


def holding_steps(executor: Executor, session_ids: Sequence[int], step_sessions: Sequence[int]) -> list[HoldingStep]:
    """Return the completed steps that hold values of other sessions, of tasks that have not completed.

    Args:
        executor: The open transaction.
        session_ids: The sessions whose values they hold.
        step_sessions: The sessions of the steps.
    """
    params = {"session_ids": json.dumps(list(session_ids)), "step_sessions": json.dumps(list(step_sessions))}
    return [HoldingStep(*row) for row in executor.execute(_holding_steps(executor.dialect_name), params)]
