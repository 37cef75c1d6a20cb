"""The steps of a task that began with or after another: they rest on what it did."""

from __future__ import annotations

from typing import NamedTuple

from zrb_store.db.core import bindparam, literal_column, sa, statement, t
from zrb_store.db.transaction import Executor
from zrb_store.queries.steps import standing


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
def _standing() -> sa.Select[int]:
    return sa.select(t.attempt.c.id).where(*_of_task(), standing()).order_by(t.attempt.c.id.desc())


class Span(NamedTuple):
    """Which steps of a task: those that began since one, and before something else.

    Attributes:
        attempt_id: An attempt of the task.
        task: Name of the task.
        since: The id of the attempt of the first step.
        before: The id of an attempt, of a step or of the task, that began after all of them.
    """

    attempt_id: int
    task: str
    since: int
    before: int


def standing_in(executor: Executor, span: Span) -> list[int]:
    """Return the ids of the attempts of completed steps that were not given back, the newest first."""
    return [row[0] for row in executor.execute(_standing(), span._asdict())]


@statement
def _uncertain() -> sa.Select[str, str | None, bool]:
    newer = t.attempt.alias("newer")
    return (
        sa.select(t.attempt.c.task, t.attempt.c.step, standing())
        .where(
            *_of_task(),
            t.attempt.c.once,
            t.attempt.c.status != literal_column("'failed'"),
            ~sa.exists(
                sa.select(literal_column("1")).where(
                    newer.c.session_id == t.attempt.c.session_id,
                    newer.c.step_of == t.attempt.c.step_of,
                    newer.c.step == t.attempt.c.step,
                    newer.c.id > t.attempt.c.id,
                    newer.c.id < bindparam("before"),
                )
            ),
        )
        .order_by(t.attempt.c.id)
        .limit(literal_column("1"))
    )


class UncertainStep(NamedTuple):
    """A step that was declared `once` and happened, or may have happened.

    Attributes:
        task: The step's id within its session: TASK/NUMBER.
        step: Its name.
        stands: Whether it has completed and has not been given back since.
    """

    task: str
    step: str
    stands: bool


def uncertain_in(executor: Executor, span: Span) -> UncertainStep | None:
    """Return the first step that was declared `once` and is not known to have failed, if there is one."""
    rows = executor.execute(_uncertain(), span._asdict())
    return UncertainStep(rows[0][0], rows[0][1], bool(rows[0][2])) if rows else None
