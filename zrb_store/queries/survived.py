"""Find failures of steps that their attempt survived (guarantees.md, promise 20), and forget them.

A failure was survived if the attempt began another step after it, and was then cut off: lost, interrupted or waiting.
An attempt that fails by itself forgets them all: what stopped it is tried again.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Collection
from typing import NamedTuple

from zrb_store.db.core import bindparam, exists, is_one_of, literal, sa, statement, t
from zrb_store.db.dialect import among
from zrb_store.db.transaction import Executor, Transaction, first_column
from zrb_store.queries.attempts import attempt_as
from zrb_store.queries.steps import StepKey, of_task

_CUT_OFF = ("lost", "interrupted", "waiting")
_now, _around = functools.partial(attempt_as, "now"), functools.partial(attempt_as, "around")
_later = functools.partial(attempt_as, "later")


class SurvivedFailure(NamedTuple):
    """A failed attempt of a step, which its task survived."""

    id: int
    arguments: str | None
    raised: str  # the encoded error


def _was_survived(*cut_off: str) -> tuple[sa.ColumnElement[bool], ...]:
    """Return the conditions that an attempt is of a step of a task that survived its failure, and was then cut off."""
    task = bindparam("task", type_=sa.Text)
    return (
        t.attempt.c.step_of == task,
        t.attempt.c.status == literal("failed"),
        t.attempt.c.error_data.is_not(None),
        is_one_of(_around().c.status, *cut_off),
        exists(
            _later().c.session_id == t.attempt.c.session_id,
            _later().c.step_of == task,
            _later().c.parent_id == t.attempt.c.parent_id,
            _later().c.started_tick > t.attempt.c.ended_tick,
        ),
    )


@statement
def _failures() -> sa.Select[int, str | None, str | None]:
    rows = t.attempt.join(_now(), _now().c.session_id == t.attempt.c.session_id)
    return (
        sa.select(t.attempt.c.id, t.attempt.c.arguments, t.attempt.c.error_data)
        .select_from(rows.join(_around(), _around().c.id == t.attempt.c.parent_id))
        .where(
            _now().c.id == bindparam("attempt_id"),
            t.attempt.c.step == bindparam("step"),
            t.attempt.c.kind == bindparam("kind"),
            *_was_survived(*_CUT_OFF),
        )
        .order_by(t.attempt.c.id)
    )


def failures(executor: Executor, attempt_id: int, task: str, step: StepKey) -> list[SurvivedFailure]:
    """Return the failures of a step that earlier attempts of its task survived, the oldest first."""
    params = {"attempt_id": attempt_id, "task": task, "step": step.name, "kind": step.kind}
    rows = executor.execute(_failures(), params)
    return [SurvivedFailure(found, arguments, raised or "null") for found, arguments, raised in rows]


@statement
def _of_task() -> sa.Select[int]:
    return (
        sa.select(t.attempt.c.id)
        .select_from(t.attempt.join(_around(), _around().c.id == t.attempt.c.parent_id))
        .where(t.attempt.c.session_id == bindparam("session_id"), *_was_survived("running", *_CUT_OFF))
    )


def survived_by(executor: Executor, session_id: int, task: str) -> frozenset[int]:
    """Return the ids of the failures that a task survived in attempts that were cut off, or that run still."""
    rows = executor.execute(_of_task(), {"session_id": session_id, "task": task})
    return frozenset(map(first_column, rows))


@statement
def _forget(dialect_name: str, of_parent: bool, by_name: bool) -> sa.Update:
    named = [among(dialect_name, t.attempt.c.step, "names")] if by_name else []
    failed = (t.attempt.c.status == literal("failed"), t.attempt.c.error_data.is_not(None))
    return sa.update(t.attempt).where(of_task(of_parent), *failed, *named).values(error_data=None)


def forget(
    transaction: Transaction,
    task: str,
    *,
    session_id: int | None = None,
    attempt_id: int | None = None,
    names: Collection[str] | None = None,
) -> None:
    """Let the failed steps of a task run again, all or those of some names. An attempt gives the session, or its id."""
    params = {"session_id": session_id, "attempt_id": attempt_id, "task": task, "names": json.dumps(list(names or ()))}
    transaction.execute(_forget(transaction.dialect_name, attempt_id is not None, names is not None), params)
