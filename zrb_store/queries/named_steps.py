"""Find the step that a person means."""

from __future__ import annotations

from zrb_store.db.core import Params, bindparam, literal_column, sa, statement, t
from zrb_store.db.transaction import Executor


def _name() -> sa.Select[str | None]:
    of_task = sa.and_(t.attempt.c.session_id == bindparam("session_id"), t.attempt.c.step_of == bindparam("task"))
    return sa.select(t.attempt.c.step).where(of_task)


@statement
def _by_name() -> sa.Select[str | None]:
    return _name().where(t.attempt.c.step == bindparam("step")).limit(literal_column("1"))


@statement
def _by_number() -> sa.Select[str | None]:
    return _name().where(t.attempt.c.step_number == bindparam("number", type_=sa.Integer)).limit(literal_column("1"))


@statement
def _names() -> sa.Select[str | None]:
    return _name().distinct().order_by(t.attempt.c.step)


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
    of_task: Params = {"session_id": session_id, "task": task}
    rows = executor.execute(_by_name(), {**of_task, "step": reference})
    number = number_of(task, reference)
    if not rows and number is not None:
        rows = executor.execute(_by_number(), {**of_task, "number": number})
    return rows[0][0] if rows else None


def names(executor: Executor, session_id: int, task: str) -> list[str]:
    """Return the names of the steps of a task that have begun."""
    return [row[0] for row in executor.execute(_names(), {"session_id": session_id, "task": task})]
