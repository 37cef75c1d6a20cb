"""Dead values: find them, and make them live again."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import NamedTuple

from zrb_store.db.core import bindparam, literal_column, sa, statement, t
from zrb_store.db.dialect import among
from zrb_store.db.transaction import Executor
from zrb_store.queries.clock import Moment, given_moment, given_tick


def is_dead() -> sa.ColumnElement[bool]:
    """Return the condition that a value is dead, in the form that lets SQLite use the index of dead values."""
    return t.value.c.state == literal_column("'dead'")


@statement
def _of_session() -> sa.Select[int]:
    return (
        sa.select(literal_column("1"))
        .select_from(t.queue.join(t.value, t.value.c.queue_id == t.queue.c.id))
        .where(t.queue.c.session_id == bindparam("session_id"), is_dead())
        .limit(literal_column("1"))
    )


@statement
def _of_queue() -> sa.Select[int]:
    return (
        sa.select(t.value.c.seq).where(t.value.c.queue_id == bindparam("queue_id"), is_dead()).order_by(t.value.c.seq)
    )


@statement
def _state() -> sa.Select[str]:
    return sa.select(t.value.c.state).where(
        t.value.c.queue_id == bindparam("queue_id"), t.value.c.seq == bindparam("seq", type_=sa.BigInteger)
    )


def has_dead_values(executor: Executor, session_id: int) -> bool:
    """Whether a queue of the session has a dead value."""
    return bool(executor.execute(_of_session(), {"session_id": session_id}))


def dead_values(executor: Executor, queue_id: int) -> list[int]:
    """Return the seqs of the queue's dead values in ascending order."""
    return [row[0] for row in executor.execute(_of_queue(), {"queue_id": queue_id})]


class DeadValues(NamedTuple):
    """How many dead values a queue has."""

    session_id: int
    session: str
    queue: str
    dead: int


@statement
def _counts() -> sa.Select[int, str, str, int]:
    dead = (
        sa.select(t.value.c.queue_id, sa.func.count().label("count"))
        .where(is_dead())
        .group_by(t.value.c.queue_id)
        .with_hint(t.value, "INDEXED BY ix_zrb_value_dead", "sqlite")
        .subquery()
    )
    return (
        sa.select(t.session.c.id, t.session.c.name, t.queue.c.name, dead.c.count)
        .select_from(
            dead.join(t.queue, t.queue.c.id == dead.c.queue_id).join(t.session, t.session.c.id == t.queue.c.session_id)
        )
        .order_by(t.queue.c.id)
    )


def dead_by_queue(executor: Executor) -> list[DeadValues]:
    """Return every queue of the store that has dead values. This reads the index of dead values, which are few."""
    return [DeadValues(*row) for row in executor.execute(_counts())]


def state_of(executor: Executor, queue_id: int, seq: int) -> str | None:
    """Return the state of a value, or None if there is no such value."""
    rows = executor.execute(_state(), {"queue_id": queue_id, "seq": seq})
    return rows[0][0] if rows else None


def _chosen(dialect_name: str) -> tuple[sa.ColumnElement[bool], ...]:
    of_queue = t.value.c.queue_id == bindparam("of_queue")
    return of_queue, among(dialect_name, t.value.c.seq, "seqs"), is_dead()


@statement
def _record_returns(dialect_name: str) -> sa.Insert:
    ended = (t.value.c.ended_at, t.value.c.ended_tick)
    returned = (given_moment(), given_tick(), bindparam("reason", type_=sa.Text), literal_column("0"))
    return sa.insert(t.returned).from_select(
        ["queue_id", "seq", "taken_at", "taken_tick", "returned_at", "returned_tick", "reason", "deliveries"],
        sa.select(t.value.c.queue_id, t.value.c.seq, *ended, *returned).where(*_chosen(dialect_name)),
    )


@statement
def _revive(dialect_name: str) -> sa.Update:
    lives = {"state": literal_column("'live'"), "ended_at": sa.null(), "ended_tick": sa.null()}
    return sa.update(t.value).where(*_chosen(dialect_name)).values(**lives, deliveries=literal_column("0"))


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
    executor.execute(_record_returns(executor.dialect_name), params)
    executor.execute(_revive(executor.dialect_name), params)
