"""Dead values: find them, and make them live again."""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from zrb_store.db.core import bindparam, literal_column, queue, returned, sa, session, value
from zrb_store.db.dialect import among
from zrb_store.db.transaction import Executor
from zrb_store.queries.clock import MOMENT, TICK, Moment

_ONE: sa.ColumnClause[Any] = literal_column("1")
is_dead = value.c.state == literal_column("'dead'")
"""The condition that a value is dead, in the form that lets SQLite use the index of dead values."""

_OF_SESSION = (
    sa.select(_ONE)
    .select_from(queue.join(value, value.c.queue_id == queue.c.id))
    .where(queue.c.session_id == bindparam("session_id"), is_dead)
    .limit(_ONE)
)
_OF_QUEUE = sa.select(value.c.seq).where(value.c.queue_id == bindparam("queue_id"), is_dead).order_by(value.c.seq)
_dead = (
    sa.select(value.c.queue_id, sa.func.count().label("count"))
    .where(is_dead)
    .group_by(value.c.queue_id)
    .with_hint(value, "INDEXED BY ix_zrb_value_dead", "sqlite")
    .subquery()
)
_STATE = sa.select(value.c.state).where(
    value.c.queue_id == bindparam("queue_id"), value.c.seq == bindparam("seq", type_=sa.BigInteger)
)


def has_dead_values(executor: Executor, session_id: int) -> bool:
    """Whether a queue of the session has a dead value."""
    return bool(executor.execute(_OF_SESSION, {"session_id": session_id}))


def dead_values(executor: Executor, queue_id: int) -> list[int]:
    """Return the seqs of the queue's dead values in ascending order."""
    return [row[0] for row in executor.execute(_OF_QUEUE, {"queue_id": queue_id})]


class DeadValues(NamedTuple):
    """How many dead values a queue has."""

    session_id: int
    session: str
    queue: str
    dead: int


_COUNTS = (
    sa.select(session.c.id, session.c.name, queue.c.name, _dead.c.count)
    .select_from(_dead.join(queue, queue.c.id == _dead.c.queue_id).join(session, session.c.id == queue.c.session_id))
    .order_by(queue.c.id)
)


def dead_by_queue(executor: Executor) -> list[DeadValues]:
    """Return every queue of the store that has dead values. This reads the index of dead values, which are few."""
    return [DeadValues(*row) for row in executor.execute(_COUNTS)]


def state_of(executor: Executor, queue_id: int, seq: int) -> str | None:
    """Return the state of a value, or None if there is no such value."""
    rows = executor.execute(_STATE, {"queue_id": queue_id, "seq": seq})
    return rows[0][0] if rows else None


@functools.cache
def _revive(dialect_name: str) -> tuple[Any, Any]:
    chosen = (value.c.queue_id == bindparam("of_queue"), among(dialect_name, value.c.seq, "seqs"), is_dead)
    zero: sa.ColumnClause[Any] = literal_column("0")
    record = sa.insert(returned).from_select(
        ["queue_id", "seq", "taken_at", "taken_tick", "returned_at", "returned_tick", "reason", "deliveries"],
        sa.select(
            *(value.c.queue_id, value.c.seq, value.c.ended_at, value.c.ended_tick, MOMENT, TICK),
            *(bindparam("reason", type_=sa.Text), zero),
        ).where(*chosen),
    )
    revive = (
        sa.update(value)
        .where(*chosen)
        .values(state=literal_column("'live'"), ended_at=sa.null(), ended_tick=sa.null(), deliveries=zero)
    )
    return record, revive


def revive(executor: Executor, queue_id: int, seqs: Sequence[int], moment: Moment, reason: str) -> None:
    """Make dead values live again at their old places, with no deliveries.

    Args:
        executor: The open transaction, in which the queue is locked.
        queue_id: The queue.
        seqs: The values.
        moment: The moment of the change.
        reason: Stored in the history of each value.
    """
    params = {"of_queue": queue_id, "seqs": json.dumps(list(seqs)), "reason": reason, **moment.params}
    for statement in _revive(executor.dialect_name):
        executor.execute(statement, params)
