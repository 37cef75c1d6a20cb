"""Deleting a session, and pinning one so that it is not deleted."""

from __future__ import annotations

from zrb_store import lease
from zrb_store.db.engine import Database
from zrb_store.db.transaction import Transaction
from zrb_store.errors import SessionNotFound, ZrbStoreError
from zrb_store.process import identity
from zrb_store.queries import attempts, removal, sessions, values
from zrb_store.records import SessionRecord


def remove(database: Database, name: str) -> None:
    """Delete a session. What its unfinished attempts did to queues of other sessions is given back first.

    Raises:
        SessionNotFound: There is no such session.
        SessionBusy: A process runs it.
        ZrbStoreError: It is pinned.
    """

    def work(transaction: Transaction) -> None:
        session = _locked(transaction, name)
        lease.refuse_live(transaction, session, values.moment(transaction))
        if session.pinned:
            raise ZrbStoreError(f"session {name} is pinned: `zrb-store unpin {name}` lets it be deleted")
        delete(transaction, session)
        sessions.note_change(transaction, identity(), "rm", name, None)

    database.transact(work, "rm")


def pin(database: Database, name: str, pinned: bool) -> None:
    """Keep a session from being deleted by `rm` and `prune`, or let it be.

    Raises:
        SessionNotFound: There is no such session.
    """

    def work(transaction: Transaction) -> None:
        removal.pin(transaction, _locked(transaction, name).id, pinned)
        sessions.note_change(transaction, identity(), "pin" if pinned else "unpin", name, None)

    database.transact(work, "pin")


def delete(transaction: Transaction, session: SessionRecord) -> None:
    """Delete a locked session that may be deleted."""
    attempts.give_back_unfinished(transaction, session.id)
    removal.delete_session(transaction, session.id, session.name)


def _locked(transaction: Transaction, name: str) -> SessionRecord:
    session = sessions.by_name(transaction, name, lock=True)
    if session is None:
        raise SessionNotFound(f"there is no session {name}; `zrb-store list` shows which there are")
    return session
