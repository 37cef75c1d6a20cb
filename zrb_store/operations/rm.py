"""`rm`: delete sessions."""

from __future__ import annotations

from zrb_store.db.engine import Database
from zrb_store.db.transaction import Transaction
from zrb_store.errors import ZrbStoreError
from zrb_store.queries import lease, sessions
from zrb_store.queries.changes import record_change
from zrb_store.queries.clock import now_micros
from zrb_store.queries.give_back import give_back_unfinished
from zrb_store.queries.rm import delete_session
from zrb_store.records import SessionRecord


def remove_sessions(database: Database, *names: str) -> None:
    """Delete sessions, all of them or none.

    What their unfinished attempts did to queues of other sessions is given back first, with the steps that rest on it.
    What other completed steps took stays taken.

    Args:
        database: The store.
        *names: Full names of the sessions.

    Raises:
        SessionNotFound: There is no session of one of these names.
        SessionBusy: A process is running one of them.
        ZrbStoreError: One of them is pinned.
    """

    def work(transaction: Transaction) -> None:
        for name in names:
            session = sessions.get(transaction, name, lock=True, even_damaged=True)
            lease.refuse_live(transaction, session, now_micros(transaction))
            if session.pinned:
                raise ZrbStoreError(f"session {name} is pinned: `zrb-store unpin {name}` lets it be deleted")
            delete(transaction, session)
            record_change(transaction, "rm", name)

    database.transact(work, "rm")


def delete(transaction: Transaction, session: SessionRecord) -> None:
    """Delete a session, which is locked and may be deleted, in the open transaction."""
    give_back_unfinished(transaction, session.id, counted=False)
    delete_session(transaction, session.id, session.name)
