"""Begin, complete and find steps: attempts inside an attempt (docs/promises.md, promise 11)."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

from zrb_store.db.core import attempt, bindparam, literal_column, sa
from zrb_store.db.dialect import insert_if_absent, next_tick, now, schema_is_unchanged
from zrb_store.db.transaction import Executor, Row, Transaction
from zrb_store.queries.attempts import BegunAttempt, attempt_may_write

_ONE: sa.ColumnClause[Any] = literal_column("1")
_ATTEMPT_ID: sa.BindParameter[Any] = bindparam("attempt_id")
_parent, _other = attempt.alias("parent"), attempt.alias("other")
_session_of_parent = sa.select(_parent.c.session_id).where(_parent.c.id == _ATTEMPT_ID).scalar_subquery()
standing = sa.and_(attempt.c.status == literal_column("'completed'"), attempt.c.given_back_at.is_(None))
"""The condition that an attempt has completed and was not given back."""

# The status is compared twice: if PostgreSQL has waited for a step that has just completed, it compares the step's own
# columns once more, but does not search for the ids again.
is_running = sa.and_(
    attempt.c.status == literal_column("'running'"),
    attempt.c.id.in_(
        sa.select(_other.c.id)
        .where(
            _other.c.status == literal_column("'running'"),
            _other.c.run_id == sa.select(_parent.c.run_id).where(_parent.c.id == _ATTEMPT_ID).scalar_subquery(),
            _other.c.parent_id == _ATTEMPT_ID,
        )
        .with_hint(_other, "INDEXED BY ix_zrb_attempt_running", "sqlite")
    ),
)
"""The condition that an attempt is a step of the attempt `:attempt_id` that runs."""


class StepRecord(NamedTuple):
    """The newest attempt of a step.

    Attributes:
        id: The attempt's id.
        number: The attempt's number.
        step_number: The step's number within its task.
        status: The attempt's status.
        restorable: Whether its result could be stored.
        given_back: Whether it was given back.
        once: Whether it may not be repeated unless a person lets it.
        kept: Whether a person has kept it: `fork` copied it, or `mark` wrote it.
        started_at: When it began, in microseconds.
        arguments: Its encoded arguments; None if a person marked the step as completed before it ever began.
        result: Its encoded result, or None.
    """

    id: int
    number: int
    step_number: int
    status: str
    restorable: bool
    given_back: bool
    once: bool
    kept: bool
    started_at: int
    arguments: str | None
    result: str | None

    @property
    def stands(self) -> bool:
        """Whether it has completed and has not been given back since."""
        return self.status == "completed" and not self.given_back

    @property
    def is_done(self) -> bool:
        """Whether its stored result is returned instead of running the step again."""
        return self.stands and self.restorable


_NEWEST = (
    sa.select(
        attempt.c.id,
        attempt.c.number,
        attempt.c.step_number,
        attempt.c.status,
        attempt.c.restorable,
        attempt.c.given_back_at.is_not(None),
        attempt.c.once,
        attempt.c.run_id.is_(None),
        attempt.c.started_at,
        attempt.c.arguments,
        attempt.c.result,
    )
    .where(
        attempt.c.session_id == _session_of_parent,
        attempt.c.step_of == bindparam("task"),
        attempt.c.step == bindparam("step"),
    )
    .order_by(attempt.c.id.desc())
    .limit(_ONE)
)


def newest(executor: Executor, parent_id: int, task: str, step: str) -> StepRecord | None:
    """Return the newest attempt of a step, in whichever attempt of its task it ran; None if the step never began.

    Args:
        executor: The database, or the open transaction.
        parent_id: An attempt of the task.
        task: Name of the task.
        step: Name of the step.
    """
    rows = executor.execute(_NEWEST, {"attempt_id": parent_id, "task": task, "step": step})
    if not rows:
        return None
    record_id, number, step_number, status, *flags, started_at, arguments, result = rows[0]
    restorable, given_back, once, kept = map(bool, flags)
    return StepRecord(
        record_id, number, step_number, status, restorable, given_back, once, kept, started_at, arguments, result
    )


_HIGHEST_NUMBER = sa.select(sa.func.max(attempt.c.step_number)).where(
    attempt.c.session_id == _session_of_parent, attempt.c.step_of == bindparam("task")
)


def highest_number(executor: Executor, parent_id: int, task: str) -> int:
    """Return the highest number that a step of a task has; 0 if the task has no steps.

    Args:
        executor: The database, or the open transaction.
        parent_id: An attempt of the task.
        task: Name of the task.
    """
    return executor.execute(_HIGHEST_NUMBER, {"attempt_id": parent_id, "task": task})[0][0] or 0


_task = bindparam("task", type_=sa.Text)
_last = (
    sa.select(sa.func.coalesce(sa.func.max(_other.c.number), literal_column("0")))
    .where(_other.c.session_id == _parent.c.session_id, _other.c.task == _task)
    .scalar_subquery()
)
_BEGUN = {
    "session_id": _parent.c.session_id,
    "run_id": _parent.c.run_id,
    "fence": _parent.c.fence,
    "task": _task,
    "number": _last + _ONE,
    "role": literal_column("'step'"),
    "status": literal_column("'running'"),
    "arguments": bindparam("arguments", type_=sa.Text),
    "started_at": now(),
    "started_tick": next_tick(),
    "parent_id": _parent.c.id,
    "step_of": _parent.c.task,
    "step": bindparam("step", type_=sa.Text),
    "step_number": bindparam("step_number", type_=sa.Integer),
    "once": bindparam("once", type_=sa.Boolean),
}


@functools.cache
def _begin(dialect_name: str) -> Any:
    rows = sa.select(*_BEGUN.values()).where(
        _parent.c.id == _ATTEMPT_ID,
        _parent.c.role.not_in([literal_column("'delivery'"), literal_column("'step'")]),
        _last == bindparam("known", type_=sa.Integer),  # a forked process may have begun one meanwhile
        schema_is_unchanged,
        attempt_may_write,
    )
    new = insert_if_absent(dialect_name, attempt).from_select(list(_BEGUN), rows)
    return new.returning(attempt.c.id, attempt.c.number)


# An attempt of a step that runs, and that nobody else knows of, was begun by the call whose answer was lost.
_BEGUN_ALREADY = (
    sa.select(attempt.c.id, attempt.c.number)
    .where(
        attempt.c.parent_id == _ATTEMPT_ID,
        attempt.c.task == bindparam("task", type_=sa.Text),
        attempt.c.step == bindparam("step", type_=sa.Text),
        attempt.c.status == literal_column("'running'"),
    )
    .order_by(attempt.c.id.desc())
    .limit(_ONE)
)


def begin(
    executor: Executor, parent_id: int, task: str, step: str, number: int, arguments: str, *, once: bool, known: int = 0
) -> BegunAttempt | None:
    """Begin the next attempt of a step.

    Args:
        executor: The database, or the open transaction.
        parent_id: The attempt that the step runs in.
        task: Name of that attempt's task.
        step: Name of the step.
        number: The step's number within the task.
        arguments: Its encoded arguments, for comparison.
        once: Whether it must not be repeated unless a person lets it.
        known: The number of its newest attempt that the caller knows of, or 0.

    Returns:
        The attempt; None if the attempt around it may no longer write, or is a delivery, or if another process has
        begun an attempt of this step, or of another one that has the number.
    """
    params = {"attempt_id": parent_id, "task": f"{task}/{number}", "step": step, "step_number": number, "known": known}

    def begun(transaction: Transaction) -> list[Row] | None:
        return transaction.execute(_BEGUN_ALREADY, params) or None

    rows = executor.execute(_begin(executor.dialect_name), {**params, "arguments": arguments, "once": once}, begun)
    return BegunAttempt(*rows[0]) if rows else None


_COMPLETE = (
    sa.update(attempt)
    .where(attempt.c.id == _ATTEMPT_ID, schema_is_unchanged, attempt_may_write)
    .values(
        status=literal_column("'completed'"),
        ended_at=now(),
        ended_tick=next_tick(),
        restorable=bindparam("restorable", type_=sa.Boolean),
        result=bindparam("result", type_=sa.Text),
    )
    .returning(attempt.c.id)
)


# Only the process that runs a step completes it.
_IS_COMPLETED = sa.select(attempt.c.id).where(
    attempt.c.id == _ATTEMPT_ID, attempt.c.status == literal_column("'completed'")
)


def complete(executor: Executor, step_id: int, result: str, *, restorable: bool) -> bool:
    """Mark a running attempt of a step as completed.

    Args:
        executor: The database, or the open transaction.
        step_id: The attempt.
        result: Its encoded result.
        restorable: Whether the stored result can stand for the step in a later attempt of its task.

    Returns:
        False if the attempt may no longer write.
    """
    params = {"attempt_id": step_id}

    def completed(transaction: Transaction) -> list[Row] | None:
        return transaction.execute(_IS_COMPLETED, params) or None

    return bool(executor.execute(_COMPLETE, {**params, "result": result, "restorable": restorable}, completed))


_CLOSE = (
    sa.update(attempt)
    .where(is_running)
    .values(status=literal_column("'interrupted'"), ended_at=now(), ended_tick=next_tick())
    .returning(attempt.c.id)
)


def close_running(executor: Executor, parent_id: int) -> list[int]:
    """End the running steps of an attempt as interrupted, in the open transaction that ends the attempt.

    Returns:
        Their ids. What they did is still to be undone.
    """
    return [row[0] for row in executor.execute(_CLOSE, {"attempt_id": parent_id})]


_STANDING_OF_TASK = (
    sa.select(attempt.c.id, attempt.c.task, attempt.c.step, attempt.c.once)
    .where(attempt.c.session_id == bindparam("session_id"), attempt.c.step_of == bindparam("task"), standing)
    .order_by(attempt.c.id.desc())
)


class StandingStep(NamedTuple):
    """A completed step that was not given back.

    Attributes:
        id: The id of the attempt that completed.
        task: The step's id within its session: TASK/NUMBER.
        step: Its name.
        once: Whether it may not be repeated unless a person lets it.
    """

    id: int
    task: str
    step: str
    once: bool


def standing_of_task(executor: Executor, session_id: int, task: str) -> list[StandingStep]:
    """Return the completed steps of a task, in whichever attempt of it they ran, the newest first."""
    rows = executor.execute(_STANDING_OF_TASK, {"session_id": session_id, "task": task})
    return [StandingStep(step_id, name, step, bool(once)) for step_id, name, step, once in rows]


_LET_REPEAT = (
    sa.update(attempt)
    .where(attempt.c.session_id == bindparam("session_id"), attempt.c.step_of == bindparam("of_task"), attempt.c.once)
    .values(once=sa.false())
)


def let_repeat(executor: Executor, session_id: int, task: str) -> None:
    """Let the steps of a task that were declared `once` run again, since a person said so."""
    executor.execute(_LET_REPEAT, {"session_id": session_id, "of_task": task})
