"""`rm`: delete sessions."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence

from zrb_store.db.engine import Database
from zrb_store.db.transaction import Transaction
from zrb_store.errors import SessionNotFound, ZrbStoreError
from zrb_store.name_pattern import NamePattern
from zrb_store.queries import lease, sessions
from zrb_store.queries.changes import record_change
from zrb_store.queries.clock import now_micros
from zrb_store.queries.give_back import give_back_unfinished
from zrb_store.queries.session_names import matching_names
from zrb_store.records import SessionRecord

_AT_ONCE = 100  # sessions that one transaction deletes


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
            _refuse(transaction, session)
            delete(transaction, session)
            record_change(transaction, "rm", name)

    database.transact(work, "rm")


def remove_matching(database: Database, pattern: NamePattern, *, dry_run: bool = False) -> Iterator[str]:
    """Delete the sessions whose names match a pattern; none of them if one is being run or is pinned.

    This is found out first. Then they are deleted by several transactions, so that others can write in between. A
    session that somebody runs or pins meanwhile stays, and the error says so when the others are deleted.

    Args:
        database: The store.
        pattern: The pattern.
        dry_run: Delete nothing.

    Yields:
        The name of each session after it was deleted, or that would be deleted, in order.

    Raises:
        SessionNotFound: No name matches.
        SessionBusy: A process is running one of them.
        ZrbStoreError: One of them is pinned.
    """
    with database.snapshot() as transaction:
        names = list(matching_names(transaction, pattern))
        if not names:
            raise SessionNotFound(f"no session matches {pattern.text!r}; `zrb-store list` shows all sessions")
        _check(transaction, list(matching_names(transaction, pattern, perhaps_kept=True)))
    if dry_run:
        yield from names
        return
    refusals: list[ZrbStoreError] = []
    while names:
        batch, names = names[:_AT_ONCE], names[_AT_ONCE:]
        deleted, refused = database.transact(functools.partial(_remove_batch, names=batch), "rm")
        yield from deleted
        refusals += refused
    if refusals:
        raise refusals[0]


def _remove_batch(transaction: Transaction, names: Sequence[str]) -> tuple[list[str], list[ZrbStoreError]]:
    deleted: list[str] = []
    refused: list[ZrbStoreError] = []
    for name in names:
        session = sessions.find(transaction, name, lock=True, even_damaged=True)
        if session is None:
            continue  # somebody else has deleted it
        try:
            _refuse(transaction, session)
        except ZrbStoreError as error:
            refused.append(error)
            continue
        delete(transaction, session)
        record_change(transaction, "rm", name)
        deleted.append(name)
    return deleted, refused


def check_removable(database: Database, names: Sequence[str]) -> None:
    """Raise the error with which `remove_sessions` refuses to delete these sessions, if it does."""
    with database.snapshot() as transaction:
        _check(transaction, names)


def _check(transaction: Transaction, names: Sequence[str]) -> None:
    for name in names:
        _refuse(transaction, sessions.get(transaction, name))


def _refuse(transaction: Transaction, session: SessionRecord) -> None:
    """Raise an error if a session must not be deleted: it is being run, or is pinned."""
    lease.refuse_live(transaction, session, now_micros(transaction))
    if session.pinned:
        raise ZrbStoreError(f"session {session.name} is pinned: `zrb-store unpin {session.name}` lets it be deleted")


def delete(transaction: Transaction, session: SessionRecord) -> None:
    """Delete a session, which is locked and may be deleted, in the open transaction."""
    give_back_unfinished(transaction, session.id, counted=False)
    sessions.delete(transaction, session.id, session.name)
