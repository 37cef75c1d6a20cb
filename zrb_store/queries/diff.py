"""What `diff` reads: the values of a queue that stand, that is, are live or taken, and the results of steps."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from zrb_store.db.core import bindparam, literal_column, made_once, sa, statement, t
from zrb_store.db.dialect import whole_text
from zrb_store.db.transaction import Transaction


@statement
def _standing() -> sa.Select[str]:
    return (
        sa.select(whole_text())
        .where(
            t.value.c.queue_id == bindparam("queue_id"),
            t.value.c.state.in_([literal_column("'live'"), literal_column("'taken'")]),
        )
        .order_by(t.value.c.seq)
    )


@statement
def _count_standing() -> sa.Select[int]:
    return sa.select(sa.func.count()).where(
        t.value.c.queue_id == bindparam("queue_id"),
        t.value.c.state.in_([literal_column("'live'"), literal_column("'taken'")]),
    )


def standing_data(transaction: Transaction, queue_id: int) -> Iterator[str]:
    """Yield the encoded values of a queue that are live or taken, in the order of the queue."""
    return (row[0] for row in transaction.stream(_standing(), {"queue_id": queue_id}))


def count_standing(transaction: Transaction, queue_id: int) -> int:
    """Count the values that `standing_data` reads."""
    number: int = transaction.execute(_count_standing(), {"queue_id": queue_id})[0][0]
    return number


@made_once
def _a() -> sa.FromClause:
    return t.attempt.alias("a")


@made_once
def _b() -> sa.FromClause:
    return t.attempt.alias("b")


def _of(step: sa.FromClause, session: str) -> sa.ColumnElement[bool]:
    """Return the condition that an attempt is one of a step of a session that is done, with a stored result."""
    return sa.and_(
        step.c.session_id == bindparam(session),
        step.c.step_of.is_not(None),
        step.c.step.is_not(None),
        step.c.status == literal_column("'completed'"),
        step.c.given_back_at.is_(None),
        step.c.restorable,
    )


@statement
def _steps_of_a() -> sa.Select[str | None, str | None, str | None, str | None]:
    return (
        sa.select(_a().c.step_of, _a().c.step, _a().c.result, _b().c.result)
        .select_from(
            _a().outerjoin(
                _b(), sa.and_(_of(_b(), "b"), sa.and_(_b().c.step_of == _a().c.step_of, _b().c.step == _a().c.step))
            )
        )
        .where(_of(_a(), "a"), sa.or_(_b().c.id.is_(None), _a().c.result != _b().c.result))
        .order_by(_a().c.id)
    )


@statement
def _steps_of_b() -> sa.Select[str | None, str | None, str | None, str | None]:
    return (
        sa.select(_b().c.step_of, _b().c.step, sa.null(), _b().c.result)
        .where(
            _of(_b(), "b"),
            ~sa.exists(
                sa.select(literal_column("1")).where(
                    _of(_a(), "a"), sa.and_(_b().c.step_of == _a().c.step_of, _b().c.step == _a().c.step)
                )
            ),
        )
        .order_by(_b().c.id)
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
    for steps in (_steps_of_a(), _steps_of_b()):
        for row in transaction.stream(steps, {"a": a, "b": b}):
            yield ComparedStep(*row)
