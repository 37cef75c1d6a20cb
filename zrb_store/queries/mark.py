"""What `mark` reads and writes of steps."""

from __future__ import annotations

import functools
from typing import Any

from zrb_store.db.core import attempt, bindparam, literal_column, sa
from zrb_store.db.transaction import Executor
from zrb_store.queries import attempts
from zrb_store.records import AttemptRecord

_of_task = sa.and_(attempt.c.session_id == bindparam("session_id"), attempt.c.step_of == bindparam("task"))


@functools.cache
def _newest_step() -> sa.Select[Any]:
    newest = attempts.selection().where(_of_task, attempt.c.step == bindparam("step"))
    return newest.order_by(attempt.c.id.desc()).limit(literal_column("1"))


def newest_step(executor: Executor, session_id: int, task: str, step: str) -> AttemptRecord | None:
    """Return the newest attempt of a step, or None if the step never began."""
    rows = executor.execute(_newest_step(), {"session_id": session_id, "task": task, "step": step})
    return attempts.record(rows[0]) if rows else None


_HIGHEST = sa.select(sa.func.max(attempt.c.step_number)).where(_of_task)


def highest_number(executor: Executor, session_id: int, task: str) -> int:
    """Return the highest number that a step of a task has; 0 if the task has no steps."""
    return executor.execute(_HIGHEST, {"session_id": session_id, "task": task})[0][0] or 0


_other = attempt.alias("other")
_GIVEN = (
    *("session_id", "fence", "task", "status", "arguments", "error_message", "parent_id"),
    *("step_of", "step", "step_number", "once", "result"),
    *("started_at", "started_tick", "ended_at", "ended_tick", "given_back_at", "given_back_tick"),
)
_INSERT = (
    sa.insert(attempt)
    .values({name: bindparam(name, type_=attempt.c[name].type) for name in _GIVEN})
    .values(
        role=literal_column("'step'"),
        number=sa.select(sa.func.coalesce(sa.func.max(_other.c.number), literal_column("0")) + literal_column("1"))
        .where(_other.c.session_id == bindparam("session_id"), _other.c.task == bindparam("task"))
        .scalar_subquery(),
    )
    .returning(attempt.c.number)
)


def insert_step(executor: Executor, row: dict[str, Any]) -> int:
    """Insert an attempt of a step that has ended already, and return its number.

    Args:
        executor: The open transaction, in which the session is locked.
        row: Its columns, without role and number.
    """
    number: int = executor.execute(_INSERT, row)[0][0]
    return number
