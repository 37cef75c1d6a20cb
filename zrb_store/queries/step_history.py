"""The steps of a session as readers see them: how many each task has, and their attempts with results."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from dataclasses import replace
from typing import NamedTuple

from zrb_store.db.columns import ATTEMPT, readable
from zrb_store.db.core import bindparam, literal_column, sa, statement, t
from zrb_store.db.dialect import among
from zrb_store.db.transaction import Executor, Row, Transaction
from zrb_store.queries import attempts
from zrb_store.queries.clock import Moment, by_then
from zrb_store.queries.show import attempts_without
from zrb_store.records import UNSUCCESSFUL, AttemptRecord


class StepCounts(NamedTuple):
    """How many steps a task has, and how many attempts these have had.

    Attributes:
        task: Name of the task.
        steps: How many steps it has.
        standing: How many of them have completed and were not given back.
        running: How many attempts of steps are running.
        failed: How many attempts of steps failed.
        interrupted: How many were interrupted.
        lost: How many were lost.
        prompts: How many attempts of a step named `prompt` there are: the first step of an agent has this name.
    """

    task: str
    steps: int
    standing: int
    running: int
    failed: int
    interrupted: int
    lost: int
    prompts: int


@statement
def _counts(dialect_name: str, then: bool) -> sa.Select[*Row]:
    status: sa.ColumnElement[str] = t.attempt.c.status
    given_back: sa.ColumnElement[bool] = t.attempt.c.given_back_at.is_not(None)
    if then:
        status = sa.case((by_then(t.attempt, "ended"), status), else_=literal_column("'running'"))
        given_back = sa.and_(given_back, by_then(t.attempt, "given_back"))
    is_dead = sa.and_(status == literal_column("'running'"), among(dialect_name, t.attempt.c.run_id, "dead_runs"))
    status = sa.case((is_dead, literal_column("'lost'")), else_=status)
    stands = sa.and_(status == literal_column("'completed'"), ~given_back)
    counted = (stands, *(status == literal_column(f"'{word}'") for word in ("running", *UNSUCCESSFUL)))
    return (
        sa.select(
            t.attempt.c.step_of,
            sa.func.count(t.attempt.c.step_number.distinct()),
            *(sa.func.count(sa.case((condition, literal_column("1")))) for condition in counted),
            sa.func.count(sa.case((t.attempt.c.step == literal_column("'prompt'"), literal_column("1")))),
        )
        .where(
            t.attempt.c.session_id == bindparam("session_id"),
            t.attempt.c.step_of.is_not(None),
            *[by_then(t.attempt, "started")] * then,
        )
        .group_by(t.attempt.c.step_of)
        .order_by(sa.func.min(t.attempt.c.id))
    )


def counts(
    executor: Executor, session_id: int, moment: Moment | None = None, *, dead_runs: Collection[int] = ()
) -> list[StepCounts]:
    """Count the steps of a session's tasks, in the order of their first steps. Tasks without steps are left out.

    Args:
        executor: The database, or the open transaction.
        session_id: The session.
        moment: Count as it was at this moment.
        dead_runs: Runs whose running attempts count as lost.
    """
    params = {"session_id": session_id, "dead_runs": json.dumps(list(dead_runs)), **(moment.bounds if moment else {})}
    found = executor.execute(_counts(executor.dialect_name, moment is not None), params)
    return [StepCounts(*row) for row in found]


@statement
def _with_results(then: bool) -> sa.Select[*Row]:
    found = (
        attempts_without("arguments", "error_traceback")
        .add_columns(t.attempt.c.result)
        .where(t.attempt.c.step_of == bindparam("task"))
        .order_by(t.attempt.c.step_number, t.attempt.c.number)
    )
    return found.where(by_then(t.attempt, "started")) if then else found


_RESULT = {"result": ATTEMPT["result"]}


def of_task(
    transaction: Transaction, session_id: int, task: str, moment: Moment | None = None
) -> Iterator[tuple[AttemptRecord, str | None]]:
    """Yield the attempts of a task's steps, step by step, each with its encoded result, without arguments.

    Args:
        transaction: A snapshot.
        session_id: The session.
        task: Name of the task.
        moment: Yield only attempts that had started by then.
    """
    params = {"session_id": session_id, "task": task, **(moment.bounds if moment else {})}
    for *columns, result in transaction.stream(_with_results(moment is not None), params):
        record = attempts.record(tuple(columns))
        named, damage = readable(_RESULT, (result,))
        yield replace(record, damage=record.damage + damage) if damage else record, named["result"]


@statement
def _running() -> sa.Select[*Row]:
    return attempts_without("arguments", "error_traceback").where(
        t.attempt.c.step_of.is_not(None), t.attempt.c.status == literal_column("'running'")
    )


def running(executor: Executor, session_id: int) -> list[AttemptRecord]:
    """Return the attempts of steps of a session that run, or ran when their process died."""
    return [attempts.record(row) for row in executor.execute(_running(), {"session_id": session_id})]


@statement
def _of_step() -> sa.Select[*Row]:
    return (
        attempts_without("error_traceback")
        .where(t.attempt.c.step_of.is_not(None), t.attempt.c.task == bindparam("step_id"))
        .order_by(t.attempt.c.number.desc())
        .limit(literal_column("1"))
    )


def newest(executor: Executor, session_id: int, step_id: str) -> AttemptRecord | None:
    """Return the newest attempt of the step with the id `TASK/NUMBER`, or None if the session has no such step."""
    rows = executor.execute(_of_step(), {"session_id": session_id, "step_id": step_id})
    return attempts.record(rows[0]) if rows else None
