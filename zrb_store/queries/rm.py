"""What `rm` and `prune` delete: whole sessions."""

from __future__ import annotations

from zrb_store.db.core import bindparam, sa, statement, t
from zrb_store.db.transaction import Executor
from zrb_store.queries.changes import is_push_or_pop


@statement
def _delete_changes() -> sa.Delete:
    of_session = t.change.c.session == bindparam("name")
    return sa.delete(t.change).where(of_session, is_push_or_pop())


@statement
def _delete_queues() -> sa.Delete:
    return sa.delete(t.queue).where(t.queue.c.session_id == bindparam("session_id"))


@statement
def _delete() -> sa.Delete:
    return sa.delete(t.session).where(t.session.c.id == bindparam("session_id"))


def delete_session(executor: Executor, session_id: int, name: str) -> None:
    """Delete a session with everything in it, and the records of pushes and pops by hand."""
    # Queues first: deleting an attempt updates the returns that this transaction wrote, and PostgreSQL then checks them
    # again, when their values are already deleted.
    executor.execute(_delete_queues(), {"session_id": session_id})
    executor.execute(_delete(), {"session_id": session_id})
    executor.execute(_delete_changes(), {"name": name})
