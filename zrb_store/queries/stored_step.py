"""Read in one statement what `zrb-store step` needs of a step that has completed. It imports little."""

from __future__ import annotations

from zrb_store.db.core import bindparam, literal, sa, statement, t
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
        sa.select(t.attempt.c.arguments, t.attempt.c.result)
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
    """Return arguments and result of a step of a running attempt's task, if it is done; else, or for an error, None."""
    params = {"session": session, "task": task, "number": number, "fence": fence, "step": step}
    return next(iter(executor.execute(_completed(), params)), None)
