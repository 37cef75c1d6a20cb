"""`pin` and `unpin`: protect sessions from being deleted."""

from __future__ import annotations

from zrb_store.db.engine import Database
from zrb_store.db.transaction import Transaction
from zrb_store.queries import sessions
from zrb_store.queries.changes import record_change


def pin(database: Database, *names: str, pinned: bool = True) -> None:
    """Protect sessions from `rm` and `prune`, or end their protection; all of them or none.

    Args:
        database: The store.
        *names: Full names of the sessions.
        pinned: Whether they are to be protected.

    Raises:
        SessionNotFound: There is no session of one of these names.
    """

    def work(transaction: Transaction) -> None:
        for name in names:
            session = sessions.get(transaction, name, lock=True, even_damaged=True)
            sessions.pin(transaction, session.id, pinned)
            record_change(transaction, "pin" if pinned else "unpin", name)

    database.transact(work, "pin")
