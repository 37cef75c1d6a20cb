"""Steps given back with the attempt around them, because they depend on its changes (promise 11)."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from zrb_store.db.core import Params, bindparam, exists, literal, sa, statement, t
from zrb_store.db.dialect import among
from zrb_store.db.transaction import Executor
from zrb_store.queries.attempts import attempt_as, is_in_effect
from zrb_store.queries.steps import is_running

if TYPE_CHECKING:
    from zrb_store.db.core import Runnable

_parent = functools.partial(attempt_as, "parent")


def within(dialect_name: str, in_queues: bool) -> list[sa.ColumnElement[bool]]:
    """Return the condition that a value is in one of `:queue_ids`, if only these queues are meant."""
    return [among(dialect_name, t.value.c.queue_id, "queue_ids")] if in_queues else []


@statement
def _first_take(dialect_name: str, *, in_queues: bool) -> sa.Select[int | None]:
    """Select the tick at which an attempt, outside of steps, first took a value of other sessions that comes back."""
    return (
        sa.select(sa.func.min(t.value.c.ended_tick))
        .select_from(t.value.join(t.queue).join(_parent(), _parent().c.id == t.value.c.taken_by))
        .where(
            t.value.c.taken_by == bindparam("attempt_id"),
            t.queue.c.session_id != _parent().c.session_id,
            *within(dialect_name, in_queues),
        )
    )


@statement
def _begun_since() -> sa.Select[int]:
    return (
        sa.select(t.attempt.c.id)
        .select_from(
            _parent().join(
                t.attempt,
                sa.and_(t.attempt.c.session_id == _parent().c.session_id, t.attempt.c.step_of == _parent().c.task),
            )
        )
        .where(
            _parent().c.id == bindparam("attempt_id"),
            t.attempt.c.parent_id == bindparam("attempt_id"),
            is_in_effect(),
            t.attempt.c.started_tick >= bindparam("since", type_=sa.BigInteger),
            # What a person marked depends on nothing.
            t.attempt.c.run_id.is_not(None),
        )
    )


@statement
def _taking_from(dialect_name: str, *, in_queues: bool) -> sa.Select[int]:
    """Select the steps of an attempt that took what it, or one of its steps, pushed."""
    return (
        sa.select(t.attempt.c.id)
        .select_from(t.value.join(t.attempt, t.attempt.c.id == t.value.c.taken_by))
        .where(
            t.value.c.pushed_by == bindparam("pusher_id"),
            t.attempt.c.parent_id == bindparam("attempt_id"),
            is_in_effect(),
            *within(dialect_name, in_queues),
        )
    )


def of_attempt(executor: Executor, attempt_id: int, queue_ids: Sequence[int] | None = None) -> list[int]:
    """Return the completed steps of an attempt that depend on what comes back if it is undone, the newest first.

    These are the steps that began after the attempt, outside of steps, had taken a value of another session; those that
    took what the attempt had pushed outside of steps; and those that took what such a step had pushed.
    """
    name, in_queues = executor.dialect_name, queue_ids is not None
    params = {"attempt_id": attempt_id, "queue_ids": json.dumps(list(queue_ids or ()))}
    found = ids(executor, _taking_from(name, in_queues=in_queues), {**params, "pusher_id": attempt_id})
    since = executor.execute(_first_take(name, in_queues=in_queues), params)[0][0]
    if since is not None:
        found |= ids(executor, _begun_since(), {**params, "since": since})
    return sorted(with_takers(executor, found, _taking_from(name, in_queues=False), params), reverse=True)


def with_takers(executor: Executor, found: set[int], takers: Runnable, params: Params) -> set[int]:
    """Add to some steps those that took what one of them (`:pusher_id`) pushed, and so on."""
    found, new = set(found), list(found)
    while new:
        more = ids(executor, takers, {**params, "pusher_id": new.pop()}) - found
        new += more
        found |= more
    return found


def of_attempts(executor: Executor, attempt_ids: Iterable[int]) -> set[int]:
    """Return the completed steps that depend on what comes back if all these attempts are given back."""
    having_steps = ids(executor, _have_steps(executor.dialect_name), {"ids": json.dumps(list(attempt_ids))})
    return {step_id for attempt_id in having_steps for step_id in of_attempt(executor, attempt_id)}


def ids(executor: Executor, statement: Runnable, params: Params) -> set[int]:
    """Return the ids that a statement selects."""
    return {row[0] for row in executor.execute(statement, params)}


@statement
def _running() -> sa.Select[int]:
    return sa.select(t.attempt.c.id).where(is_running()).with_for_update(of=t.attempt, key_share=True)


@statement
def _waiting() -> sa.Select[int]:
    return (
        sa.select(t.attempt.c.id)
        .select_from(_parent().join(t.attempt, t.attempt.c.session_id == _parent().c.session_id))
        .where(
            _parent().c.id == bindparam("attempt_id"),
            t.attempt.c.step_of == _parent().c.task,
            t.attempt.c.parent_id == bindparam("attempt_id"),
            t.attempt.c.status == literal("waiting"),
            t.attempt.c.given_back_at.is_(None),
        )
    )


@statement
def _have_steps(dialect_name: str) -> sa.Select[int]:
    return sa.select(_parent().c.id).where(
        among(dialect_name, _parent().c.id, "ids"),
        exists(t.attempt.c.session_id == _parent().c.session_id, t.attempt.c.step_of == _parent().c.task),
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


def _of_task() -> tuple[sa.ColumnElement[bool], ...]:
    parent = t.attempt.alias("parent")
    return (
        t.attempt.c.session_id
        == sa.select(parent.c.session_id).where(parent.c.id == bindparam("attempt_id")).scalar_subquery(),
        t.attempt.c.step_of == bindparam("task"),
        t.attempt.c.id >= bindparam("since"),
        t.attempt.c.id < bindparam("before"),
    )


@statement
def _in_effect() -> sa.Select[int]:
    return sa.select(t.attempt.c.id).where(*_of_task(), is_in_effect()).order_by(t.attempt.c.id.desc())


class Span(NamedTuple):
    """Which steps of a task: those that began since one, and before something else."""

    attempt_id: int  # an attempt of the task
    task: str
    since: int  # the id of the attempt of the first step
    before: int  # the id of an attempt, of a step or of the task, that began after all of them


def completed_in(executor: Executor, span: Span) -> list[int]:
    """Return the ids of the attempts of completed steps that were not given back, the newest first."""
    return [row[0] for row in executor.execute(_in_effect(), span._asdict())]


@statement
def _uncertain() -> sa.Select[str, str | None, bool]:
    newer = t.attempt.alias("newer")
    return (
        sa.select(t.attempt.c.task, t.attempt.c.step, is_in_effect())
        .where(
            *_of_task(),
            t.attempt.c.once,
            t.attempt.c.status != literal("failed"),
            ~exists(
                newer.c.session_id == t.attempt.c.session_id,
                newer.c.step_of == t.attempt.c.step_of,
                newer.c.step == t.attempt.c.step,
                newer.c.id > t.attempt.c.id,
                newer.c.id < bindparam("before"),
            ),
        )
        .order_by(t.attempt.c.id)
        .limit(literal(1))
    )


class UncertainStep(NamedTuple):
    """A step that was declared `once` and happened, or may have happened."""

    task: str  # the step's id within its session: TASK/NUMBER
    step: str
    in_effect: bool  # whether it has completed and has not been given back since


def uncertain_in(executor: Executor, span: Span) -> UncertainStep | None:
    """Return the first step that was declared `once` and is not known to have failed, if there is one."""
    rows = executor.execute(_uncertain(), span._asdict())
    return UncertainStep(rows[0][0], rows[0][1], bool(rows[0][2])) if rows else None
