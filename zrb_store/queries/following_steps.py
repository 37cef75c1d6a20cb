"""The steps of a task that began with or after another: they rest on what it did."""

from __future__ import annotations

from typing import Any, NamedTuple

from zrb_store.db.core import attempt, bindparam, literal_column, sa
from zrb_store.db.transaction import Executor
from zrb_store.queries.steps import standing

_ONE: sa.ColumnClause[Any] = literal_column("1")
_parent, _newer = attempt.alias("parent"), attempt.alias("newer")
_of_task = (
    attempt.c.session_id
    == sa.select(_parent.c.session_id).where(_parent.c.id == bindparam("attempt_id")).scalar_subquery(),
    attempt.c.step_of == bindparam("task"),
    attempt.c.id >= bindparam("since"),
    attempt.c.id < bindparam("before"),
)
_STANDING = sa.select(attempt.c.id).where(*_of_task, standing).order_by(attempt.c.id.desc())


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
    return [row[0] for row in executor.execute(_STANDING, span._asdict())]


_UNCERTAIN = (
    sa.select(attempt.c.task, attempt.c.step, standing)
    .where(
        *_of_task,
        attempt.c.once,
        attempt.c.status != literal_column("'failed'"),
        ~sa.exists(
            sa.select(_ONE).where(
                _newer.c.session_id == attempt.c.session_id,
                _newer.c.step_of == attempt.c.step_of,
                _newer.c.step == attempt.c.step,
                _newer.c.id > attempt.c.id,
                _newer.c.id < bindparam("before"),
            )
        ),
    )
    .order_by(attempt.c.id)
    .limit(_ONE)
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
    rows = executor.execute(_UNCERTAIN, span._asdict())
    return UncertainStep(rows[0][0], rows[0][1], bool(rows[0][2])) if rows else None
