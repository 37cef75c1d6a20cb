"""Which steps of a task began after one, and which of these may not be repeated: for steps that begin again."""

from __future__ import annotations

from typing import NamedTuple

from zrb_store.db.core import bindparam, exists, literal, sa, statement, t
from zrb_store.db.transaction import Executor
from zrb_store.queries.attempts import is_in_effect


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
