"""What `diff` reads: the values of a queue that stand, that is, are live or taken, and the results of steps."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from zrb_store.db.core import attempt, bindparam, literal_column, sa, value
from zrb_store.db.dialect import whole_text
from zrb_store.db.transaction import Transaction

_of_queue = value.c.queue_id == bindparam("queue_id")
_stands = value.c.state.in_([literal_column("'live'"), literal_column("'taken'")])
_STANDING = sa.select(whole_text()).where(_of_queue, _stands).order_by(value.c.seq)
_COUNT_STANDING = sa.select(sa.func.count()).where(_of_queue, _stands)


def standing_data(transaction: Transaction, queue_id: int) -> Iterator[str]:
    """Yield the encoded values of a queue that are live or taken, in the order of the queue."""
    return (row[0] for row in transaction.stream(_STANDING, {"queue_id": queue_id}))


def count_standing(transaction: Transaction, queue_id: int) -> int:
    """Count the values that `standing_data` reads."""
    number: int = transaction.execute(_COUNT_STANDING, {"queue_id": queue_id})[0][0]
    return number


_a, _b = attempt.alias("a"), attempt.alias("b")


def _of(step: Any, session: str) -> sa.ColumnElement[bool]:
    """Return the condition that an attempt is one of a step of a session that is done, with a stored result."""
    return sa.and_(
        step.c.session_id == bindparam(session),
        step.c.step_of.is_not(None),
        step.c.step.is_not(None),
        step.c.status == literal_column("'completed'"),
        step.c.given_back_at.is_(None),
        step.c.restorable,
    )


_same_step = sa.and_(_b.c.step_of == _a.c.step_of, _b.c.step == _a.c.step)
_STEPS_OF_A = (
    sa.select(_a.c.step_of, _a.c.step, _a.c.result, _b.c.result)
    .select_from(_a.outerjoin(_b, sa.and_(_of(_b, "b"), _same_step)))
    .where(_of(_a, "a"), sa.or_(_b.c.id.is_(None), _a.c.result != _b.c.result))
    .order_by(_a.c.id)
)
_STEPS_OF_B = (
    sa.select(_b.c.step_of, _b.c.step, sa.null(), _b.c.result)
    .where(_of(_b, "b"), ~sa.exists(sa.select(literal_column("1")).where(_of(_a, "a"), _same_step)))
    .order_by(_b.c.id)
)


class ComparedStep(NamedTuple):
    """A step of which the stored results in two sessions differ.

    Attributes:
        task: Name of the task.
        step: Name of the step.
        a: Its encoded result in the one session; None if it is not done there.
        b: The same of the other session.
    """

    task: str
    step: str
    a: str | None
    b: str | None


def differing_steps(transaction: Transaction, a: int, b: int) -> Iterator[ComparedStep]:
    """Yield the steps whose stored results differ between two sessions, or that are done in only one of them."""
    for statement in (_STEPS_OF_A, _STEPS_OF_B):
        for row in transaction.stream(statement, {"a": a, "b": b}):
            yield ComparedStep(*row)
