"""`pop`: take one value from a queue."""

from __future__ import annotations

import shlex
from collections.abc import Callable

from zrb_store import codec, reclaim
from zrb_store.db.engine import Database
from zrb_store.db.transaction import Transaction
from zrb_store.errors import ValueNotFound, ZrbStoreError
from zrb_store.inspect import session_names
from zrb_store.names import check_session_name, full_name, nearest
from zrb_store.queries import queues, sessions, takes
from zrb_store.queries.changes import record_change
from zrb_store.queries.fronts import has_live
from zrb_store.queries.owner import Owner
from zrb_store.waiting import QueueWait


def pop(
    database: Database,
    session: str,
    queue: str,
    owner: Owner | None,
    wait: float = 0.0,
    check: Callable[[str], object] | None = None,
) -> tuple[int, str]:
    """Take the oldest value of a queue. Neither the session nor the queue needs to exist, and neither is created.

    The owner holds the value, which returns to its queue when the owner is given back. Without an owner the value stays
    taken, and the pop is recorded with user, host and pid in the same transaction.

    Args:
        database: The store.
        session: Full name of the session.
        queue: Name of the queue.
        owner: The attempt that started this process, or None.
        wait: How many seconds to wait for a value if the queue is empty.
        check: Gets the encoded data of the value. If it raises an error, the value stays where it is.

    Returns:
        The value's number and its encoded data.

    Raises:
        InvalidArgument: No session can have this name.
        SessionNotFound: There was no such session all the time.
        ValueNotFound: There was no such queue, or it was empty.
        ZrbStoreError: The value is damaged. It stays where it is.
        AttemptClosed: The owner has ended.
        LeaseLost: Another process has taken over the owner's session.
    """
    check_session_name(session)
    attempt_id, taker = (owner.id, owner.full_name) if owner else (None, None)

    def work(transaction: Transaction) -> tuple[int, str] | None:
        found = takes.take_whole(transaction, queue_id, attempt_id)
        if found is not None and (problem := codec.problem_of(found[1])):
            get_it = f"`zrb-store get {session} {shlex.quote(queue)} --seq {found[0]}` shows it"
            left = f"{full_name(session, queue, found[0])} is damaged, and was left where it is"
            raise ZrbStoreError(f"{left}: it {problem}; {get_it}, and a pop in Python takes it")
        if found is not None and check is not None:
            check(found[1])
        if found is not None and owner is None:
            record_change(transaction, "pop", session, f"{queue}#{found[0]}")
        return found

    waiting = QueueWait(database, session, queue, wait)
    while True:
        queue_id = (queues.find_queue(database, session, queue) or 0) if waiting.may_get_value() else 0
        if queue_id:
            # Look first, which locks nothing, however many processes wait for the same queue.
            reclaim.search(database, queue_id, taker, missing=not has_live(database, queue_id))
        while queue_id and has_live(database, queue_id):
            found = database.transact(work, "pop")
            if found is not None:
                return found
            if owner:
                owner.refuse_if_closed()
        if owner:
            owner.refuse_if_closed()
        if not waiting.wait():
            raise nothing_there(database, session, queue, f" after {wait:g} s" if wait else "")


def nothing_there(database: Database, session: str, queue: str, after: str) -> ZrbStoreError:
    """Return the error that there is no value, which says whether that may be a matter of a wrong name."""
    if sessions.find(database, session) is None:
        return session_names.not_found(database, session, after)
    known = queues.queue_ids(database, session)
    if queue not in known:
        return ValueNotFound(f"session {session} has no queue {queue!r}{after}{nearest(queue, known)}")
    return ValueNotFound(f"queue {queue!r} of session {session} is empty{after}")
