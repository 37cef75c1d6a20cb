"""`push`: add one value to a queue."""

from __future__ import annotations

from zrb_store.codec import Encoded
from zrb_store.db.engine import Database
from zrb_store.db.transaction import Transaction
from zrb_store.errors import SessionNotFound
from zrb_store.names import check_name, check_session_name
from zrb_store.queries import queues, values
from zrb_store.queries.changes import record_change
from zrb_store.queries.owner import Owner
from zrb_store.queries.sessions import being_removed


def push(database: Database, session: str, queue: str, item: Encoded, owner: Owner | None) -> None:
    """Add a value at the end of a queue. Create the session and the queue if they do not exist.

    The value belongs to the owner and is retracted when the owner is given back. Without an owner it stays, and the
    push is recorded with user, host and pid in the same transaction.

    Args:
        database: The store.
        session: Full name of the session.
        queue: Name of the queue.
        item: The encoded value.
        owner: The attempt that started this process, or None.

    Raises:
        InvalidArgument: No session, or no queue, can have this name.
        AttemptClosed: The owner has ended.
        LeaseLost: Another process has taken over the owner's session.
        SessionNotFound: Another process is deleting the session.
    """
    check_session_name(session)
    check_name(queue, "queue")

    def work(transaction: Transaction) -> None:
        if owner is not None and not values.may_write(transaction, owner.id):
            owner.refuse_if_closed(transaction)
        queue_id = queues.ensure_queue(transaction, session, queue)
        seq = values.push(transaction, queue_id, item, owner.id if owner else None)
        if seq is None:
            raise SessionNotFound(being_removed(session))
        if owner is None:
            record_change(transaction, "push", session, f"{queue}#{seq}")

    database.transact(work, "push")
