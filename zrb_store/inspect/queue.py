"""What `queue` shows: what one queue allows."""

from __future__ import annotations

from typing import Any

from zrb_store.db.engine import Database
from zrb_store.inspect.stored_value import find_queue
from zrb_store.queries import queues as queries
from zrb_store.queries import sessions


def settings_of(database: Database, session: str, queue: str) -> dict[str, Any]:
    """Return what a queue allows, in the shape of `queue --format json`.

    Args:
        database: Where the session is.
        session: Full name of the session.
        queue: Name of the queue.

    Raises:
        SessionNotFound: There is no such session.
        ValueNotFound: There is no such queue.
    """
    with database.snapshot() as transaction:
        queue_id = find_queue(transaction, sessions.get(transaction, session), queue)
        return {"session": session, "queue": queue, "max_deliveries": queries.max_deliveries(transaction, queue_id)}
