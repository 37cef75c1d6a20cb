"""The last values of a queue, and how many come before them: what `show` shows of a long queue."""

from __future__ import annotations

from typing import TypeVarTuple

from zrb_store.db.core import bindparam, literal_column, sa, statement, t
from zrb_store.db.transaction import Executor
from zrb_store.queries.clock import Moment, by_then
from zrb_store.queries.requeue import is_dead
from zrb_store.queries.value_history import Only
from zrb_store.queries.values import was_live

Ts = TypeVarTuple("Ts")


def _restricted(statement: sa.Select[*Ts], only: Only | None, then: bool) -> sa.Select[*Ts]:
    statement = statement.where(t.value.c.queue_id == bindparam("queue_id"))
    if only == "live":
        return statement.where(was_live() if then else t.value.c.ended_at.is_(None))
    if only == "dead":
        return statement.where(is_dead())
    return statement.where(by_then(t.value, "pushed")) if then else statement


@statement
def _first_of_last(only: Only | None, then: bool) -> sa.Select[int]:
    before = bindparam("before", type_=sa.Integer)
    ordered = sa.select(t.value.c.seq).order_by(t.value.c.seq.desc()).limit(literal_column("1")).offset(before)
    return _restricted(ordered, only, then)


def first_of_last(
    executor: Executor, queue_id: int, count: int, *, only: Only | None = None, at: Moment | None = None
) -> int | None:
    """Return the number of the first one of a queue's last values; None if the queue has fewer.

    Args:
        executor: The database, or the open transaction.
        queue_id: The queue.
        count: How many values count as the last.
        only: Only values that are live, or dead now.
        at: The moment at which the queue is seen; None for now.
    """
    params = {"queue_id": queue_id, "before": count - 1, **(at.bounds if at else {})}
    rows = executor.execute(_first_of_last(only, at is not None), params)
    return rows[0][0] if rows else None


@statement
def _earlier(only: Only | None, then: bool) -> sa.Select[str, int]:
    state: sa.ColumnElement[str] = t.value.c.state
    if then:  # what had become of the others by then, only their whole history tells
        state = sa.case((was_live(), literal_column("'live'")), else_=literal_column("'no longer live'"))
    counted = sa.select(state.label("state"), sa.func.count()).where(
        t.value.c.seq < bindparam("seq", type_=sa.BigInteger)
    )
    return _restricted(counted, only, then).group_by(literal_column("1"))


def earlier(
    executor: Executor, queue_id: int, seq: int, *, only: Only | None = None, at: Moment | None = None
) -> dict[str, int]:
    """Count the values before one of a queue by their state; at a moment, by whether they were live.

    Args:
        executor: The database, or the open transaction.
        queue_id: The queue.
        seq: The number of the value.
        only: Only values that are live, or dead now.
        at: The moment at which the queue is seen; None for now.
    """
    params = {"queue_id": queue_id, "seq": seq, **(at.bounds if at else {})}
    return {row[0]: row[1] for row in executor.execute(_earlier(only, at is not None), params)}
