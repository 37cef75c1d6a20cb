"""Find and create queues, and what they allow."""

from __future__ import annotations

import functools
from typing import Any

from zrb_store.db.columns import QUEUE
from zrb_store.db.core import bindparam, queue, sa, session
from zrb_store.db.dialect import insert_if_absent, random_token
from zrb_store.db.transaction import Executor, Transaction
from zrb_store.errors import SessionNotFound
from zrb_store.queries import sessions

_QUEUE_ID = (
    sa.select(queue.c.id)
    .select_from(queue.join(session, session.c.id == queue.c.session_id))
    .where(session.c.name == bindparam("session"), queue.c.name == bindparam("queue"))
)


def find_queue(executor: Executor, session_name: str, queue_name: str) -> int | None:
    """Return the id of a queue, or None if no value was ever pushed to it."""
    rows = executor.execute(_QUEUE_ID, {"session": session_name, "queue": queue_name})
    return rows[0][0] if rows else None


def create_queue(executor: Executor, session_name: str, queue_name: str) -> int | None:
    """Return the id of a queue, which is created if necessary; None if there is no such session."""
    params = {"session": session_name, "queue": queue_name}
    rows = executor.execute(_create_queue(executor.dialect_name), params)
    return rows[0][0] if rows else find_queue(executor, session_name, queue_name)


def ensure_queue(transaction: Transaction, session_name: str, queue_name: str) -> int:
    """Return the id of a queue. Create the queue, and its session, if they do not exist.

    Raises:
        SessionNotFound: Another process is removing the session.
    """
    found = create_queue(transaction, session_name, queue_name)
    if found is None:
        sessions.create(transaction, session_name)
        found = create_queue(transaction, session_name, queue_name)
    if found is None:
        raise SessionNotFound(sessions.being_removed(session_name))
    return found


@functools.cache
def _create_queue(dialect_name: str) -> Any:
    of_session = sa.select(session.c.id, bindparam("queue", type_=sa.Text), random_token()).where(
        session.c.name == bindparam("session")
    )
    insert = insert_if_absent(dialect_name, queue).from_select(["session_id", "name", "token"], of_session)
    return insert.returning(queue.c.id)


_QUEUES = (
    sa.select(queue.c.name, queue.c.id)
    .select_from(queue.join(session, session.c.id == queue.c.session_id))
    .where(session.c.name == bindparam("session"))
    .order_by(queue.c.id)
)


def queue_ids(executor: Executor, session_name: str) -> dict[str, int]:
    """Return the ids of a session's queues by name, in the order of their first pushes."""
    return {row[0]: row[1] for row in executor.execute(_QUEUES, {"session": session_name})}


_LIMIT = QUEUE["max_deliveries"]
_OF_QUEUE = bindparam("of_queue", type_=queue.c.id.type)
_READ_LIMIT = sa.select(queue.c.max_deliveries).where(queue.c.id == _OF_QUEUE)
_SET_LIMIT = sa.update(queue).where(queue.c.id == _OF_QUEUE).values(max_deliveries=bindparam("limit", type_=sa.Integer))


def max_deliveries(executor: Executor, queue_id: int) -> int | None:
    """Return how often a value of the queue is delivered at most; None if that is not limited."""
    rows = executor.execute(_READ_LIMIT, {"of_queue": queue_id})
    return readable_limit(rows[0][0]) if rows else None


def readable_limit(limit: Any) -> int | None:
    """Return a limit as it is stored, or None if it is damaged."""
    return None if _LIMIT.problem(limit) else limit


def set_max_deliveries(executor: Executor, queue_id: int, limit: int | None) -> None:
    """Limit the deliveries of each value of the queue, in the open transaction. Values that are live stay live."""
    executor.execute(_SET_LIMIT, {"of_queue": queue_id, "limit": limit})
