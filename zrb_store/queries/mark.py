"""What `mark` reads and writes of steps."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zrb_store.db.core import Params, bindparam, literal_column, sa, statement, t
from zrb_store.db.dialect import new_id
from zrb_store.db.transaction import Executor, Row
from zrb_store.queries import attempts
from zrb_store.records import AttemptRecord

if TYPE_CHECKING:
    from sqlalchemy.sql.dml import ReturningInsert


def _of_task() -> sa.ColumnElement[bool]:
    return sa.and_(t.attempt.c.session_id == bindparam("session_id"), t.attempt.c.step_of == bindparam("task"))


@statement
def _newest_step() -> sa.Select[*Row]:
    newest = attempts.selection().where(_of_task(), t.attempt.c.step == bindparam("step"))
    return newest.order_by(t.attempt.c.id.desc()).limit(literal_column("1"))


def newest_step(executor: Executor, session_id: int, task: str, step: str) -> AttemptRecord | None:
    """Return the newest attempt of a step, or None if the step never began."""
    rows = executor.execute(_newest_step(), {"session_id": session_id, "task": task, "step": step})
    return attempts.record(rows[0]) if rows else None


@statement
def _highest() -> sa.Select[int | None]:
    return sa.select(sa.func.max(t.attempt.c.step_number)).where(_of_task())


def highest_number(executor: Executor, session_id: int, task: str) -> int:
    """Return the highest number that a step of a task has; 0 if the task has no steps."""
    return executor.execute(_highest(), {"session_id": session_id, "task": task})[0][0] or 0


_GIVEN = (
    *("session_id", "fence", "task", "status", "arguments", "error_message", "parent_id"),
    *("step_of", "step", "step_number", "once", "result"),
    *("started_at", "started_tick", "ended_at", "ended_tick", "given_back_at", "given_back_tick"),
)


@statement
def _insert() -> ReturningInsert[int]:
    other = t.attempt.alias("other")
    return (
        sa.insert(t.attempt)
        .values({name: bindparam(name, type_=t.attempt.c[name].type) for name in _GIVEN})
        .values(
            id=new_id("zrb_attempt"),
            role=literal_column("'step'"),
            number=sa.select(sa.func.coalesce(sa.func.max(other.c.number), literal_column("0")) + literal_column("1"))
            .where(other.c.session_id == bindparam("session_id"), other.c.task == bindparam("task"))
            .scalar_subquery(),
        )
        .returning(t.attempt.c.number)
    )


def insert_step(executor: Executor, row: Params) -> int:
    """Insert an attempt of a step that has ended already, and return its number.

    Args:
        executor: The open transaction, in which the session is locked.
        row: Its columns, without role and number.
    """
    number: int = executor.execute(_insert(), row)[0][0]
    return number
