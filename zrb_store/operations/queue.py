"""`queue`: what a queue allows."""

from __future__ import annotations

from zrb_store.db.engine import Database
from zrb_store.db.transaction import Transaction
from zrb_store.errors import InvalidArgument
from zrb_store.names import check_name, check_session_name
from zrb_store.queries import queues
from zrb_store.queries.changes import record_change

_MOST = 1_000_000


def max_deliveries(database: Database, session: str, queue: str) -> int | None:
    """Return how often a value of a queue is delivered at most; None if that is not limited."""
    queue_id = queues.find_queue(database, session, queue)
    return None if queue_id is None else queues.max_deliveries(database, queue_id)


def set_max_deliveries(database: Database, session: str, queue: str, limit: int | None) -> None:
    """Limit how often a value of a queue is delivered. Create the session and the queue if they do not exist.

    A delivery counts if the attempt that took the value failed or its process died. A value that is given back for the
    last time that its queue allows becomes dead. A change of the limit is recorded with user, host and pid.

    Args:
        database: The store.
        session: Full name of the session.
        queue: Name of the queue.
        limit: The number of deliveries, at least 1; None: without limit.

    Raises:
        InvalidArgument: No session, or no queue, can have this name, or the limit is not such a number.
        SessionNotFound: Another process is deleting the session.
    """
    check_session_name(session)
    check_name(queue, "queue")
    if limit is not None and (type(limit) is not int or not 1 <= limit <= _MOST):
        raise InvalidArgument(f"max_deliveries is a number from 1 to {_MOST:,}, or None for no limit, not {limit!r}")
    found = queues.find_queue(database, session, queue)
    if found is not None and queues.max_deliveries(database, found) == limit:
        return

    def work(transaction: Transaction) -> None:
        queues.set_max_deliveries(transaction, queues.ensure_queue(transaction, session, queue), limit)
        allowed = "unlimited" if limit is None else limit
        record_change(transaction, "queue", session, f"{queue}: max_deliveries {allowed}")

    database.transact(work, "queue")
