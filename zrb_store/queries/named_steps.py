"""Find the step that a person means."""

from __future__ import annotations

from typing import Any

from zrb_store.db.core import attempt, bindparam, literal_column, sa
from zrb_store.db.transaction import Executor

_of_task = sa.and_(attempt.c.session_id == bindparam("session_id"), attempt.c.step_of == bindparam("task"))
_NAME = sa.select(attempt.c.step).where(_of_task)
_BY_NAME = _NAME.where(attempt.c.step == bindparam("step")).limit(literal_column("1"))
_BY_NUMBER = _NAME.where(attempt.c.step_number == bindparam("number", type_=sa.Integer)).limit(literal_column("1"))
_NAMES = _NAME.distinct().order_by(attempt.c.step)


def number_of(task: str, reference: str) -> int | None:
    """Return the number in a step's id, TASK/NUMBER; None if the text is no such id."""
    number = reference.removeprefix(f"{task}/")
    return int(number) if number != reference and number.isascii() and number.isdecimal() and len(number) < 10 else None


def find(executor: Executor, session_id: int, task: str, reference: str) -> str | None:
    """Return the name of a step that has begun, or None.

    Args:
        executor: The database, or the open transaction.
        session_id: The session.
        task: Name of the task.
        reference: Name of the step, or its id. The name goes first.
    """
    of_task: dict[str, Any] = {"session_id": session_id, "task": task}
    rows = executor.execute(_BY_NAME, {**of_task, "step": reference})
    number = number_of(task, reference)
    if not rows and number is not None:
        rows = executor.execute(_BY_NUMBER, {**of_task, "number": number})
    return rows[0][0] if rows else None


def names(executor: Executor, session_id: int, task: str) -> list[str]:
    """Return the names of the steps of a task that have begun."""
    return [row[0] for row in executor.execute(_NAMES, {"session_id": session_id, "task": task})]
