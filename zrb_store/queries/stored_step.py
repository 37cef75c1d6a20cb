"""Read in one statement what `zrb-store step` needs of a step that has completed, and use it. This imports little."""

from __future__ import annotations

from zrb_store.db.core import bindparam, literal, sa, statement, t
from zrb_store.db.dialect import schema_is_unchanged
from zrb_store.db.transaction import Executor, Row


@statement
def _completed() -> sa.Select[*Row]:
    parent, other = t.attempt.alias("parent"), t.attempt.alias("other")
    newest = sa.select(sa.func.max(other.c.id)).where(
        other.c.session_id == parent.c.session_id,
        other.c.step_of == parent.c.task,
        other.c.step == bindparam("step", type_=sa.Text),
        other.c.kind == literal("step"),
    )
    return (
        sa.select(t.attempt.c.arguments, t.attempt.c.result, parent.c.id, t.attempt.c.id)
        .select_from(t.session.join(parent, parent.c.session_id == t.session.c.id))
        .join(t.attempt, t.attempt.c.id == newest.scalar_subquery())
        .where(
            t.session.c.name == bindparam("session", type_=sa.Text),
            parent.c.task == bindparam("task", type_=sa.Text),
            parent.c.number == bindparam("number", type_=sa.Integer),
            parent.c.step_of.is_(None),
            parent.c.status == literal("running"),
            parent.c.fence == bindparam("fence", type_=sa.Integer),
            t.session.c.fence == parent.c.fence,
            t.attempt.c.status == literal("completed"),
            t.attempt.c.given_back_at.is_(None),
            t.attempt.c.restorable,
            t.attempt.c.result.is_not(None),
            t.attempt.c.arguments.is_not(None),
        )
    )


def completed(executor: Executor, session: str, task: str, number: int, fence: int, step: str) -> Row | None:
    """Return what is stored of a step of a running attempt's task if it is done, otherwise None.

    These are its arguments, its result, the id of the running attempt, and its own.
    """
    params = {"session": session, "task": task, "number": number, "fence": fence, "step": step}
    return next(iter(executor.execute(_completed(), params)), None)


@statement
def _use() -> sa.sql.dml.ReturningUpdate[int]:
    from zrb_store.queries.attempts import attempt_may_write, is_in_effect

    is_it = (t.attempt.c.id == bindparam("step_id"), is_in_effect(), attempt_may_write(), schema_is_unchanged())
    return sa.update(t.attempt).where(*is_it).values(used_by=bindparam("attempt_id")).returning(t.attempt.c.id)


def use(executor: Executor, attempt_id: int, step_id: int) -> bool:
    """Record that a running attempt gets the stored result of a step; False if that was given back meanwhile."""
    params = {"attempt_id": attempt_id, "step_id": step_id}
    return bool(executor.execute(_use(), params, lambda other: other.execute(_use(), params)))
