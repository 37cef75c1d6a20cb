"""What shell scripts do to queues: one push or one pop per process, recorded or part of the attempt around it."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from zrb_store import codec
from zrb_store.db.transaction import Transaction
from zrb_store.errors import SessionNotFound, ValueNotFound
from zrb_store.process import identity
from zrb_store.queries import sessions, values

if TYPE_CHECKING:
    from zrb_store.store import Store

_FIRST_PAUSE = 0.01
_LONGEST_PAUSE = 1.0


def push(store: Store, session: str, queue: str, value: Any) -> None:
    """Add a value at the end of a queue; session and queue are made where they are not there.

    It belongs to the attempt that started this process (`ZRB_STORE_ATTEMPT`). Without one it is final, and is recorded
    with user, host and pid.

    Raises:
        InvalidName: No session can have this name.
        UnencodableValue: No codec takes a part of the value.
        ValueTooLarge: It is larger than the limit.
        AttemptClosed: The attempt has ended.
        LeaseLost: Another process has taken the session of the attempt over.
        SessionNotFound: Another process removes the session at this moment.
    """
    xcoms = store.session(session).xcom
    if store.ambient:
        xcoms[queue].push(value)
        return
    item = codec.encode(value, limit=store.max_value)

    def work(transaction: Transaction) -> None:
        seq = values.push(transaction, xcoms.make(transaction, queue), item, None)
        if seq is None:
            raise SessionNotFound(f"session {session} is being removed by another process")
        sessions.note_change(transaction, identity(), "push", session, f"{queue}#{seq}")

    store.database.transact(work, "push")


def pop(store: Store, session: str, queue: str, wait: float = 0.0) -> tuple[int, str]:
    """Take the oldest value of a queue; nothing is made. It belongs to an attempt or is recorded, as with `push`.

    Args:
        store: An opened store.
        session: Name of the session, which need not exist yet.
        queue: Name of the queue, likewise.
        wait: For how many seconds to wait for a value.

    Returns:
        Its seq and the encoded value.

    Raises:
        ValueNotFound: The queue was empty all the time.
        AttemptClosed: The attempt has ended.
        LeaseLost: Another process has taken the session of the attempt over.
    """
    xcoms = store.session(session).xcom
    owner = store.ambient
    attempt_id = owner.id if owner else None

    def work(transaction: Transaction) -> tuple[int, str] | None:
        found = values.take(transaction, queue_id, attempt_id)
        if found is not None and owner is None:
            sessions.note_change(transaction, identity(), "pop", session, f"{queue}#{found[0]}")
        return found

    for _ in _moments(wait):
        queue_id = xcoms.known_id(queue, anew=True) or 0
        # Looking first: it locks nothing, however many processes wait for the same queue.
        while values.peek(store.database, queue_id) is not None:
            found = store.database.transact(work, "pop")
            if found is not None:
                return found
            if owner:
                owner.refuse_if_closed()
        if owner:
            owner.refuse_if_closed()
    raise ValueNotFound(f"queue {queue!r} of session {session} is empty" + (f" after {wait:g} s" if wait else ""))


def _moments(seconds: float) -> Iterator[None]:
    """Now, and again after growing random pauses until the time is over."""
    deadline = time.monotonic() + seconds
    pause = _FIRST_PAUSE
    while True:
        yield
        left = deadline - time.monotonic()
        if left <= 0:
            return
        # Random, so that processes that wait for one queue do not all ask at once.
        time.sleep(min(left, pause * random.uniform(0.5, 1.0)))
        pause = min(pause * 1.5, _LONGEST_PAUSE)
