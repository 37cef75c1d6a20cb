"""Deleting sessions, and pinning them so that they are not deleted."""

from __future__ import annotations

from zrb_store import lease
from zrb_store.db.engine import Database
from zrb_store.db.transaction import Transaction
from zrb_store.errors import ZrbStoreError
from zrb_store.process import identity
from zrb_store.queries import removal, sessions, values
from zrb_store.queries.give_back import give_back_unfinished
from zrb_store.records import SessionRecord


def remove(database: Database, *names: str) -> None:
    """Delete sessions, all or none. What their unfinished attempts did to queues of others is given back first.

    Raises:
        SessionNotFound: There is no such session.
        SessionBusy: A process runs it.
        ZrbStoreError: It is pinned.
    """

    def work(transaction: Transaction) -> None:
        for name in names:
            session = sessions.need(transaction, name, lock=True, even_damaged=True)
            lease.refuse_live(transaction, session, values.moment(transaction))
            if session.pinned:
                raise ZrbStoreError(f"session {name} is pinned: `zrb-store unpin {name}` lets it be deleted")
            delete(transaction, session)
            sessions.note_change(transaction, identity(), "rm", name, None)

    database.transact(work, "rm")


def pin(database: Database, *names: str, pinned: bool = True) -> None:
    """Keep sessions from being deleted by `rm` and `prune`, or let them be; all or none.

    Raises:
        SessionNotFound: There is no such session.
    """

    def work(transaction: Transaction) -> None:
        for name in names:
            removal.pin(transaction, sessions.need(transaction, name, lock=True, even_damaged=True).id, pinned)
            sessions.note_change(transaction, identity(), "pin" if pinned else "unpin", name, None)

    database.transact(work, "pin")


def delete(transaction: Transaction, session: SessionRecord) -> None:
    """Delete a locked session that may be deleted."""
    give_back_unfinished(transaction, session.id)
    removal.delete_session(transaction, session.id, session.name)
