"""The invariants of steps, as statements that find the rows that violate them."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy import literal_column

from zrb_store.db.tables import attempt, value
from zrb_store.queries.doctor.invariants import ATTEMPTS, REPORT, VALUES, Invariant

_EMPTY: sa.ColumnClause[Any] = literal_column("''")
_SLASH: sa.ColumnClause[Any] = literal_column("'/'")
_parent = attempt.alias("parent")
_taking_step, _its_parent = attempt.alias("taking_step"), attempt.alias("its_parent")


def _is(column: Any, *words: str) -> Any:
    return column.in_([literal_column(f"'{word}'") for word in words])


def _inconsistent(name: str, other: str) -> Any:
    """Return the condition that a step is the first of those that share `name`, but not all of these share `other`."""
    twin = attempt.alias("twin")
    return attempt.c.id.in_(
        sa.select(sa.func.min(twin.c.id))
        .where(twin.c.step_of.is_not(None))
        .group_by(twin.c.session_id, twin.c.step_of, twin.c[name])
        .having(sa.func.min(twin.c[other]) != sa.func.max(twin.c[other]))
    )


_is_step = _is(attempt.c.role, "step")
_has_parent = attempt.c.parent_id.is_not(None)
_id = attempt.c.step_of + _SLASH + sa.cast(attempt.c.step_number, sa.Text)
# A fork does not copy attempts that had not completed, and a person who marks a step is no attempt.
_has_good_parent = sa.exists(
    sa.select(literal_column("1")).where(
        _parent.c.id == attempt.c.parent_id,
        _parent.c.id < attempt.c.id,
        _parent.c.session_id == attempt.c.session_id,
        _parent.c.task == attempt.c.step_of,
        ~_is(_parent.c.role, "step", "delivery"),
    )
)
_runs_in_parent = sa.exists(
    sa.select(literal_column("1")).where(_parent.c.id == attempt.c.parent_id, _is(_parent.c.status, "running"))
)

STEPS = [
    Invariant(
        "step-id",
        "are no steps but have what only steps have, or are steps without a task, a name or a number, or not named "
        "after these",
        REPORT,
        ATTEMPTS.where(
            sa.case(
                (
                    _is_step,
                    # If one of them is NULL, the id is too.
                    sa.or_(
                        attempt.c.step.is_(None),
                        attempt.c.task != sa.func.coalesce(_id, _EMPTY),
                        attempt.c.result_queue_id.is_not(None),
                    ),
                ),
                else_=sa.or_(
                    attempt.c.step_of.is_not(None),
                    attempt.c.step.is_not(None),
                    attempt.c.step_number.is_not(None),
                    attempt.c.result.is_not(None),
                    attempt.c.once,
                    _has_parent,
                ),
            )
        ),
    ),
    Invariant(
        "step-number",
        "are steps that have two numbers, or a number that two steps have",
        REPORT,
        ATTEMPTS.where(
            sa.or_(_inconsistent("step", "step_number"), _inconsistent("step_number", "step")),
        ),
    ),
    Invariant(
        "step-parent",
        "are steps of an attempt that is not there, or is of another task",
        REPORT,
        ATTEMPTS.where(_is_step, _has_parent, ~_has_good_parent),
    ),
    Invariant(
        "step-running",
        "are steps that run although the attempt around them does not",
        "start or resume the session, which gives them back",
        ATTEMPTS.where(_is_step, _is(attempt.c.status, "running"), ~_runs_in_parent),
    ),
    Invariant(
        "step-unfinished",
        "are steps that failed and were not given back, or have a result without having completed",
        REPORT,
        ATTEMPTS.where(
            _is_step,
            sa.or_(
                sa.and_(
                    _is(attempt.c.status, "failed", "interrupted"),
                    attempt.c.given_back_at.is_(None),
                    attempt.c.run_id.is_not(None),
                ),
                sa.and_(~_is(attempt.c.status, "completed"), attempt.c.result.is_not(None)),
            ),
        ),
    ),
]
"""What must hold of attempts."""

STEPS_AND_VALUES = [
    Invariant(
        "step-rests",
        "are held by a step although the attempt around it, which pushed them, was given back",
        REPORT,
        VALUES.where(
            sa.exists(
                sa.select(literal_column("1"))
                .select_from(_taking_step.join(_its_parent, _its_parent.c.id == _taking_step.c.parent_id))
                .where(
                    _taking_step.c.id == value.c.taken_by,
                    _its_parent.c.id == value.c.pushed_by,
                    _its_parent.c.given_back_at.is_not(None),
                )
            )
        ),
    ),
]
"""What must hold of values."""
