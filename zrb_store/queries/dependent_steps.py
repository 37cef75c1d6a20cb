"""Steps given back with the attempt around them, because they depend on its changes (promise 11).

In a fork, the attempts that had not completed at its moment count as given back.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Literal

from zrb_store.db.core import Params, bindparam, exists, literal, sa, statement, t
from zrb_store.db.dialect import among
from zrb_store.db.transaction import Executor, Row, first_column
from zrb_store.queries import attempts
from zrb_store.queries.attempts import attempt_as, is_in_effect, is_step
from zrb_store.queries.clock import given_tick
from zrb_store.queries.steps import StepRecord, completed_of_task, is_running, of_task, select_steps, step_record
from zrb_store.queries.values import is_same_value

if TYPE_CHECKING:
    from zrb_store.db.core import Runnable

_parent = functools.partial(attempt_as, "parent")

Extent = Literal["everything", "queues", "fork"]
"""What is undone of an attempt: all now, what it did to the queues `:queue_ids`, or all as of the moment of a fork."""


def within(dialect_name: str, in_queues: bool) -> list[sa.ColumnElement[bool]]:
    """Return the condition that a value is in one of `:queue_ids`, if only these queues are meant."""
    return [among(dialect_name, t.value.c.queue_id, "queue_ids")] if in_queues else []


def source_id() -> sa.BindParameter[int]:
    """Return the session that is copied."""
    return bindparam("source", type_=t.session.c.id.type)


def _is_left_out(table: sa.FromClause) -> sa.ColumnElement[bool]:
    """Return the condition that an attempt is of the task `:task`, or of its step `:step` (NULL: any of them)."""
    task = bindparam("task", type_=sa.Text)
    return sa.and_(
        table.c.session_id == source_id(),
        sa.case(
            (
                is_step(table),
                sa.and_(
                    table.c.step_of == task,
                    sa.func.coalesce(bindparam("step", type_=sa.Text), table.c.step) == table.c.step,
                ),
            ),
            else_=table.c.task == task,
        ),
    )


def stood(table: sa.FromClause) -> sa.ColumnElement[bool]:
    """Return the condition that an attempt had completed and was not given back by then."""
    return sa.and_(
        table.c.status == literal("completed"),
        table.c.ended_tick <= given_tick(),
        sa.or_(table.c.given_back_at.is_(None), table.c.given_back_tick > given_tick()),
    )


def stood_alone(table: sa.FromClause) -> sa.ColumnElement[bool]:
    """Return the condition that an attempt had completed, was not given back by then, and is not left out."""
    return sa.and_(stood(table), sa.not_(_is_left_out(table)))


def _was_held() -> tuple[sa.ColumnElement[bool], ...]:
    """Return the condition that a value, which has come back since, was held at the moment of a fork."""
    return t.returned.c.taken_tick <= given_tick(), t.returned.c.returned_tick > given_tick()


@statement
def _first_takes(dialect_name: str, extent: Extent) -> sa.Select[int | None] | sa.CompoundSelect[int | None]:
    """Select the tick at which an attempt, outside of steps, first took a value of other sessions that comes back."""
    foreign = t.queue.c.session_id != _parent().c.session_id
    held = (
        sa.select(sa.func.min(t.value.c.ended_tick))
        .select_from(t.value.join(t.queue).join(_parent(), _parent().c.id == t.value.c.taken_by))
        .where(t.value.c.taken_by == bindparam("attempt_id"), foreign, *within(dialect_name, extent == "queues"))
    )
    if extent != "fork":
        return held
    rows = t.value.join(t.queue).join(t.returned, is_same_value(t.returned, t.value))
    returned = (
        sa.select(sa.func.min(t.returned.c.taken_tick))
        .select_from(rows.join(_parent(), _parent().c.id == t.returned.c.taken_by))
        .where(t.returned.c.taken_by == bindparam("attempt_id"), foreign, *_was_held())
    )
    return sa.union_all(held.where(t.value.c.ended_tick <= given_tick()), returned)


def _of_same_task() -> sa.ColumnElement[bool]:
    """Return the condition that an attempt is of a step of the parent's task, as an index has them."""
    return sa.and_(t.attempt.c.session_id == _parent().c.session_id, t.attempt.c.step_of == _parent().c.task)


def _steps_in() -> sa.Select[int]:
    """Select the attempts of steps that the attempt `:attempt_id` began."""
    found = sa.select(t.attempt.c.id).select_from(_parent().join(t.attempt, _of_same_task()))
    return found.where(_parent().c.id == bindparam("attempt_id"), t.attempt.c.parent_id == bindparam("attempt_id"))


@statement
def _begun_since(at_fork: bool) -> sa.Select[int]:
    return _steps_in().where(
        stood_alone(t.attempt) if at_fork else is_in_effect(),
        t.attempt.c.started_tick >= bindparam("since", type_=sa.BigInteger),
        # What a person marked depends on nothing.
        t.attempt.c.run_id.is_not(None),
    )


@statement
def _taking_from(dialect_name: str, extent: Extent) -> sa.Select[int] | sa.CompoundSelect[int]:
    """Select the steps of an attempt that took what it, or one of its steps, pushed."""
    of_step = (
        t.value.c.pushed_by == bindparam("pusher_id"),
        t.attempt.c.parent_id == bindparam("attempt_id"),
        stood_alone(t.attempt) if extent == "fork" else is_in_effect(),
    )
    taken = (
        sa.select(t.attempt.c.id)
        .select_from(t.value.join(t.attempt, t.attempt.c.id == t.value.c.taken_by))
        .where(*of_step, *within(dialect_name, extent == "queues"))
    )
    if extent != "fork":
        return taken
    rows = t.value.join(t.returned, is_same_value(t.returned, t.value))
    returned = (
        sa.select(t.attempt.c.id)
        .select_from(rows.join(t.attempt, t.attempt.c.id == t.returned.c.taken_by))
        .where(*of_step, *_was_held())
    )
    return sa.union(taken.where(t.value.c.ended_tick <= given_tick()), returned)


def of_attempt(
    executor: Executor, attempt_id: int, queue_ids: Sequence[int] | None = None, *, fork: Params | None = None
) -> list[int]:
    """Return the completed steps of an attempt that depend on what comes back if it is undone, the newest first.

    These are the steps that began after the attempt, outside of steps, had taken a value of another session; those that
    took what the attempt had pushed outside of steps; and those that took what such a step had pushed. It is undone in
    all queues, only in some, or as of the moment of a `fork`.
    """
    name = executor.dialect_name
    everywhere: Extent = "everything" if fork is None else "fork"
    extent = everywhere if queue_ids is None else "queues"
    params = {**(fork or {}), "attempt_id": attempt_id, "queue_ids": json.dumps(list(queue_ids or ()))}
    found = ids(executor, _taking_from(name, extent), {**params, "pusher_id": attempt_id})
    takes = [tick for (tick,) in executor.execute(_first_takes(name, extent), params) if tick is not None]
    if takes:
        found |= ids(executor, _begun_since(fork is not None), {**params, "since": min(takes)})
    new = list(found)
    while new:
        more = ids(executor, _taking_from(name, everywhere), {**params, "pusher_id": new.pop()}) - found
        new += more
        found |= more
    return sorted(found, reverse=True)


def of_attempts(executor: Executor, attempt_ids: Iterable[int]) -> set[int]:
    """Return the completed steps that depend on what comes back if all these attempts are given back."""
    having_steps = ids(executor, _have_steps(executor.dialect_name), {"ids": json.dumps(list(attempt_ids))})
    return {step_id for attempt_id in having_steps for step_id in of_attempt(executor, attempt_id)}


def ids(executor: Executor, statement: Runnable, params: Params) -> set[int]:
    """Return the ids that a statement selects."""
    return set(map(first_column, executor.execute(statement, params)))


@statement
def _running() -> sa.Select[int]:
    return sa.select(t.attempt.c.id).where(is_running()).with_for_update(of=t.attempt, key_share=True)


@statement
def _waiting() -> sa.Select[int]:
    return _steps_in().where(t.attempt.c.status == literal("waiting"), t.attempt.c.given_back_at.is_(None))


@statement
def _have_steps(dialect_name: str) -> sa.Select[int]:
    return sa.select(_parent().c.id).where(
        among(dialect_name, _parent().c.id, "ids"),
        exists(_of_same_task()),
    )


def with_steps(executor: Executor, chosen: Sequence[tuple[int, str]]) -> list[tuple[int, str]]:
    """Add to attempts, each with a reason, the steps that are undone with them, each step before its attempt."""
    params = {"ids": json.dumps([attempt_id for attempt_id, _ in chosen])}
    having_steps = ids(executor, _have_steps(executor.dialect_name), params)
    found: dict[int, str] = {}
    for attempt_id, reason in chosen:
        if attempt_id in having_steps:
            around = {"attempt_id": attempt_id}
            open_steps = ids(executor, _running(), around) | ids(executor, _waiting(), around)
            for step_id in sorted(open_steps.union(of_attempt(executor, attempt_id)), reverse=True):
                found.setdefault(step_id, reason)
        found.setdefault(attempt_id, reason)
    return list(found.items())


@statement
def _in_span(with_results: bool, lock: bool) -> sa.Select[*Row]:
    since, before = t.attempt.c.id >= bindparam("since"), t.attempt.c.id < bindparam("before")
    found = select_steps() if with_results else select_steps("result")
    found = found.where(of_task(of_parent=True), since, before).order_by(t.attempt.c.id)
    return found.with_for_update(of=t.attempt, key_share=True) if lock else found


def steps_to_resume(executor: Executor, session_id: int, task: str) -> list[StepRecord]:
    """Return the steps of a task as a resume finds them: what it gives back before the task runs is not in effect."""
    last = [record.id for record in attempts.of_session(executor, session_id) if record.task == task][-1:]
    last = last or [step.id for step in completed_of_task(executor, session_id, task)][:1]  # that a fork has copied
    undone = of_attempts(executor, [record.id for record in attempts.unfinished(executor, session_id)])
    found = steps_in(executor, last[0], task, results=True) if last else []
    return [step._replace(given_back=step.given_back or step.id in undone) for step in found]


def steps_in(
    executor: Executor,
    attempt_id: int,
    task: str,
    *,
    since: int = 0,
    before: int | None = None,
    results: bool,
    lock: bool = False,
) -> list[StepRecord]:
    """Return the steps of a task, known by one of its attempts, with their results or without, the oldest first.

    They began `since` a step, and `before` an attempt of a step or of the task; both are ids. With `lock`, no other
    process uses or gives them back until the transaction ends.
    """
    params = {"attempt_id": attempt_id, "task": task, "since": since, "before": before or 2**62}
    found = list(map(step_record, executor.execute(_in_span(results, lock), params)))
    newest = {step.key: step for step in found}
    return [step for step in found if newest[step.key] is step]
