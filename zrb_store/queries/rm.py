"""What `rm` and `prune` delete: whole sessions."""

from __future__ import annotations

from zrb_store.db.core import bindparam, change, queue, sa, session
from zrb_store.db.transaction import Executor
from zrb_store.queries.changes import is_push_or_pop

_OF_SESSION = change.c.session == bindparam("name")
_DELETE_CHANGES = sa.delete(change).where(_OF_SESSION, is_push_or_pop)
_DELETE_QUEUES = sa.delete(queue).where(queue.c.session_id == bindparam("session_id"))
_DELETE = sa.delete(session).where(session.c.id == bindparam("session_id"))


def delete_session(executor: Executor, session_id: int, name: str) -> None:
    """Delete a session with everything in it, and the records of pushes and pops by hand."""
    # Queues first: deleting an attempt updates the returns that this transaction wrote, and PostgreSQL then checks them
    # again, when their values are already deleted.
    executor.execute(_DELETE_QUEUES, {"session_id": session_id})
    executor.execute(_DELETE, {"session_id": session_id})
    executor.execute(_DELETE_CHANGES, {"name": name})
