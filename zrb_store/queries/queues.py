"""Find and create queues, and what they allow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from zrb_store.db.columns import QUEUE
from zrb_store.db.core import bindparam, sa, statement, t
from zrb_store.db.dialect import insert_if_absent, new_id
from zrb_store.db.transaction import Executor, Transaction
from zrb_store.errors import SessionNotFound
from zrb_store.queries import sessions

if TYPE_CHECKING:
    from sqlalchemy.sql.dml import ReturningInsert


@statement
def _queue_id() -> sa.Select[int]:
    return (
        sa.select(t.queue.c.id)
        .select_from(t.queue.join(t.session, t.session.c.id == t.queue.c.session_id))
        .where(t.session.c.name == bindparam("session"), t.queue.c.name == bindparam("queue"))
    )


def find_queue(executor: Executor, session_name: str, queue_name: str) -> int | None:
    """Return the id of a queue, or None if no value was ever pushed to it."""
    rows = executor.execute(_queue_id(), {"session": session_name, "queue": queue_name})
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


@statement
def _create_queue(dialect_name: str) -> ReturningInsert[int]:
    columns = (new_id("zrb_queue"), t.session.c.id, bindparam("queue", type_=sa.Text))
    of_session = sa.select(*columns).where(t.session.c.name == bindparam("session"))
    insert = insert_if_absent(dialect_name, t.queue).from_select(["id", "session_id", "name"], of_session)
    return insert.returning(t.queue.c.id)


@statement
def _queues() -> sa.Select[str, int]:
    return (
        sa.select(t.queue.c.name, t.queue.c.id)
        .select_from(t.queue.join(t.session, t.session.c.id == t.queue.c.session_id))
        .where(t.session.c.name == bindparam("session"))
        .order_by(t.queue.c.id)
    )


def queue_ids(executor: Executor, session_name: str) -> dict[str, int]:
    """Return the ids of a session's queues by name, in the order of their first pushes."""
    return {row[0]: row[1] for row in executor.execute(_queues(), {"session": session_name})}


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
