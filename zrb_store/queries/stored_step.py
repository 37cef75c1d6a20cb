"""Read in one statement what `zrb-store step` needs of a step that has completed. It imports little."""

from __future__ import annotations

from typing import NamedTuple

from zrb_store.db.core import bindparam, literal, sa, statement, t
from zrb_store.db.transaction import Executor, Row


class StoredStep(NamedTuple):
    """A completed step that stands, as another attempt of its task finds it."""

    arguments: str | None
    result: str | None


@statement
def _completed() -> sa.Select[*Row]:
    parent, other = t.attempt.alias("parent"), t.attempt.alias("other")
    newest = sa.select(sa.func.max(other.c.id)).where(
        other.c.session_id == parent.c.session_id,
        other.c.step_of == parent.c.task,
        other.c.step == bindparam("step", type_=sa.Text),
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
        )
    )


def completed(executor: Executor, session: str, task: str, number: int, fence: int, step: str) -> StoredStep | None:
    """Return a step of the task of a running attempt, if the step is done; None if it has to run, or for an error."""
    params = {"session": session, "task": task, "number": number, "fence": fence, "step": step}
    return next((StoredStep(*row) for row in executor.execute(_completed(), params)), None)
