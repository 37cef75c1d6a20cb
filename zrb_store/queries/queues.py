"""Find and create queues, limit their deliveries, and read what an overview of queues shows."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from zrb_store.db.columns import QUEUE
from zrb_store.db.core import bindparam, literal, sa, statement, t
from zrb_store.db.dialect import among, insert_if_absent, new_id
from zrb_store.db.transaction import Executor, Row, Transaction
from zrb_store.errors import SessionNotFound
from zrb_store.queries import sessions
from zrb_store.queries.values import is_dead


@statement
def named_queue() -> sa.Select[int]:
    """Select the id of queue `:queue` of session `:session`."""
    of_session = sa.select(t.queue.c.id).select_from(t.queue.join(t.session))
    return of_session.where(t.session.c.name == bindparam("session"), t.queue.c.name == bindparam("queue"))


def find_queue(executor: Executor, session_name: str, queue_name: str) -> int | None:
    """Return the id of a queue, or None if no value was ever pushed to it."""
    rows = executor.execute(named_queue(), {"session": session_name, "queue": queue_name})
    return rows[0][0] if rows else None


def create_queue(executor: Executor, session_name: str, queue_name: str) -> int | None:
    """Return the id of a queue, which is created if necessary; None if there is no such session."""
    params = {"session": session_name, "queue": queue_name}
    rows = executor.execute(_create_queue(executor.dialect_name), params)
    return rows[0][0] if rows else find_queue(executor, session_name, queue_name)


def ensure_queue(transaction: Transaction, session_name: str, queue_name: str) -> int:
    """Return the id of a queue. Create the queue, and its session, if they do not exist."""
    found = create_queue(transaction, session_name, queue_name)
    if found is None:
        sessions.create(transaction, session_name)
        found = create_queue(transaction, session_name, queue_name)
    if found is None:
        raise SessionNotFound(sessions.being_removed(session_name))
    return found


@statement
def _create_queue(dialect_name: str) -> sa.sql.dml.ReturningInsert[int]:
    columns = (new_id("zrb_queue"), t.session.c.id, bindparam("queue", type_=sa.Text))
    of_session = sa.select(*columns).where(t.session.c.name == bindparam("session"))
    insert = insert_if_absent(dialect_name, t.queue).from_select(["id", "session_id", "name"], of_session)
    return insert.returning(t.queue.c.id)


@statement
def _queues() -> sa.Select[str, int]:
    return (
        sa.select(t.queue.c.name, t.queue.c.id)
        .select_from(t.queue.join(t.session))
        .where(t.session.c.name == bindparam("session"))
        .order_by(t.queue.c.id)
    )


def queue_ids(executor: Executor, session_name: str) -> dict[str, int]:
    """Return the ids of a session's queues by name, in the order of their first pushes."""
    return dict(executor.execute(_queues(), {"session": session_name}))


_LIMIT = QUEUE["max_deliveries"]


@statement
def _read_limit() -> sa.Select[int | None]:
    return sa.select(t.queue.c.max_deliveries).where(t.queue.c.id == bindparam("of_queue", type_=t.queue.c.id.type))


@statement
def _set_limit() -> sa.Update:
    return (
        sa.update(t.queue)
        .where(t.queue.c.id == bindparam("of_queue", type_=t.queue.c.id.type))
        .values(max_deliveries=bindparam("limit", type_=sa.Integer))
    )


def max_deliveries(executor: Executor, queue_id: int) -> int | None:
    """Return how often a value of the queue is delivered at most; None if that is not limited."""
    rows = executor.execute(_read_limit(), {"of_queue": queue_id})
    return readable_limit(rows[0][0]) if rows else None


def readable_limit(limit: Any) -> int | None:
    """Return a limit as it is stored, or None if it is damaged."""
    return None if _LIMIT.problem(limit) else limit


def set_max_deliveries(executor: Executor, queue_id: int, limit: int | None) -> None:
    """Limit the deliveries of each value of the queue, in the open transaction. Values that are live stay live."""
    executor.execute(_set_limit(), {"of_queue": queue_id, "limit": limit})


@statement
def _open() -> sa.Select[int]:
    return (
        sa.select(t.queue.c.id)
        .select_from(t.queue.join(t.session))
        .where(t.session.c.status == literal("open"), sessions.is_not_completed())
        .order_by(t.queue.c.id.desc())
        .limit(bindparam("most", type_=sa.Integer))
    )


def queues_of_open_sessions(executor: Executor, most: int) -> list[int]:
    """Return the ids of queues whose session has had no run, the newest first, at most so many."""
    return [row[0] for row in executor.execute(_open(), {"most": most})]


class QueueState(NamedTuple):
    """What a queue has now."""

    queue_id: int
    session_id: int
    session: str
    status: str  # the stored status of its session
    queue: str
    max_deliveries: int | None  # how often it delivers a value; None for any number
    live: int  # how many values are live
    oldest_at: int | None  # when the oldest of these was pushed, in microseconds
    dead: int  # how many values are dead
    died_at: int | None  # when the last of these died


def dead_values() -> sa.Select[int, int, int]:
    """Select the queues that have dead values, how many, and when the last of them died."""
    at = sa.func.max(t.value.c.ended_at).label("at")
    found = sa.select(t.value.c.queue_id, sa.func.count().label("count"), at).where(is_dead())
    return found.with_hint(t.value, "INDEXED BY ix_zrb_value_dead", "sqlite").group_by(t.value.c.queue_id)


@statement
def _states(dialect_name: str) -> sa.Select[*Row]:
    live = (
        sa.select(t.value.c.queue_id, sa.func.count().label("count"), sa.func.min(t.value.c.seq).label("oldest"))
        .where(among(dialect_name, t.value.c.queue_id, "queue_ids"), t.value.c.ended_at.is_(None))
        .with_hint(t.value, "INDEXED BY ix_zrb_value_live", "sqlite")
        .group_by(t.value.c.queue_id)
        .subquery("live")
    )
    dead = dead_values().where(among(dialect_name, t.value.c.queue_id, "queue_ids")).subquery("dead")
    oldest = t.value.alias("oldest")
    of_session = (t.session.c.id, t.session.c.name, t.session.c.status)
    queue = (t.queue.c.id, *of_session, t.queue.c.name, t.queue.c.max_deliveries)
    count, none = sa.func.coalesce, literal(0)
    return (
        sa.select(*queue, count(live.c.count, none), oldest.c.pushed_at, count(dead.c.count, none), dead.c.at)
        .select_from(
            t.queue.join(t.session)
            .outerjoin(live, live.c.queue_id == t.queue.c.id)
            .outerjoin(oldest, sa.and_(oldest.c.queue_id == live.c.queue_id, oldest.c.seq == live.c.oldest))
            .outerjoin(dead, dead.c.queue_id == t.queue.c.id)
        )
        .where(among(dialect_name, t.queue.c.id, "queue_ids"))
        .order_by(t.session.c.name, t.queue.c.name)
    )


def queue_states(executor: Executor, queue_ids: Sequence[int]) -> list[QueueState]:
    """Return what these queues have now, ordered by session and name."""
    params = {"queue_ids": json.dumps(list(queue_ids))}
    return [QueueState(*row) for row in executor.execute(_states(executor.dialect_name), params)]
