"""`requeue`: make dead values live again."""

from __future__ import annotations

from collections.abc import Iterable

from zrb_store.db.engine import Database
from zrb_store.db.transaction import Transaction
from zrb_store.errors import InvalidArgument, ValueNotFound
from zrb_store.inspect.value import find_queue
from zrb_store.names import full_name, split_id
from zrb_store.process import identity
from zrb_store.queries import requeue as queries
from zrb_store.queries import sessions
from zrb_store.queries.changes import record_change
from zrb_store.queries.clock import draw
from zrb_store.queries.give_back import lock_queue


def requeue(database: Database, ids: Iterable[str]) -> None:
    """Make dead values live again, all of them or none. Each returns to its old place, and its deliveries count anew.

    Args:
        database: The store.
        ids: The values, as SESSION/QUEUE#SEQ.

    Raises:
        InvalidArgument: One of them is not dead, or is not of this form.
        SessionNotFound: The session of one of them does not exist.
        ValueNotFound: One of them does not exist.
    """
    chosen: dict[tuple[str, str], list[int]] = {}
    for session, queue, seq in dict.fromkeys(split_id(each) for each in ids):
        chosen.setdefault((session, queue), []).append(seq)

    def work(transaction: Transaction) -> None:
        queue_ids = {_queue_id(transaction, *place): place for place in chosen}
        for queue_id in sorted(queue_ids):
            lock_queue(transaction, queue_id)
        for queue_id, (session, queue) in queue_ids.items():
            for seq in chosen[session, queue]:
                _refuse_other(queries.state_of(transaction, queue_id, seq), full_name(session, queue, seq))
            _revive(transaction, session, queue, queue_id, chosen[session, queue])

    database.transact(work, "requeue")


def requeue_all(database: Database, session: str, queue: str) -> int:
    """Make all dead values of a queue live again, as `requeue` does.

    Returns:
        How many there were.

    Raises:
        SessionNotFound: There is no such session.
        ValueNotFound: There is no such queue.
    """

    def work(transaction: Transaction) -> int:
        queue_id = _queue_id(transaction, session, queue)
        lock_queue(transaction, queue_id)
        seqs = queries.dead_values(transaction, queue_id)
        if seqs:
            _revive(transaction, session, queue, queue_id, seqs)
        return len(seqs)

    return database.transact(work, "requeue")


def _queue_id(transaction: Transaction, session: str, queue: str) -> int:
    return find_queue(transaction, sessions.get(transaction, session), queue)


def _refuse_other(state: str | None, name: str) -> None:
    if state is None:
        raise ValueNotFound(f"there is no value {name}")
    if state != "dead":
        raise InvalidArgument(f"value {name} is {state}, not dead: only dead values can be requeued")


def _revive(transaction: Transaction, session: str, queue: str, queue_id: int, seqs: list[int]) -> None:
    me = identity()
    reason = f"requeued by {me.user} on {me.host}"
    queries.revive(transaction, queue_id, seqs, draw(transaction), reason)
    shown = ", ".join(f"{queue}#{seq}" for seq in seqs[:10])
    more = f" and {len(seqs) - 10} more" if len(seqs) > 10 else ""
    record_change(transaction, "requeue", session, shown + more)
