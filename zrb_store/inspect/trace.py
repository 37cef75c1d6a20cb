"""What `trace` shows: one value with everything that happened to it, in order."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from zrb_store.db.engine import Database
from zrb_store.db.transaction import Transaction
from zrb_store.inspect.damage import Damage
from zrb_store.inspect.shapes import value_shape
from zrb_store.inspect.stored_value import find_history, find_queue
from zrb_store.names import full_name
from zrb_store.queries import fork, sessions, value_history
from zrb_store.queries.trace import continued_as
from zrb_store.queries.value_history import ValueHistory
from zrb_store.records import SessionRecord, iso


def trace(database: Database, session: str, queue: str, seq: int, damage: Damage | None = None) -> dict[str, Any]:
    """Return a value with everything that happened to it, in the shape of `trace --format json`.

    The events name the value that it continues and those that continue it. A value that `fork` copied has the events of
    its original until the fork.

    Args:
        database: Where the session is.
        session: Full name of the session.
        queue: Name of the queue.
        seq: The value's number.
        damage: Collects damaged rows.

    Raises:
        SessionNotFound: There is no such session.
        ValueNotFound: There is no such queue or value.
    """
    damage = Damage() if damage is None else damage
    with database.snapshot() as transaction:
        record = sessions.get(transaction, session)
        queue_id = find_queue(transaction, record, queue)
        found = find_history(transaction, record, queue, queue_id, seq)
        value = value_shape(found, session, queue, damage)
        events = [
            *_own_events(found, session, value),
            *_moves(transaction, found, session, queue, damage),
            *_copies(transaction, record, queue, found),
        ]
    # The sort is stable: events of the same microsecond keep their order.
    return {"value": value, "events": sorted(events, key=lambda event: str(event["at"]))}


def _event(
    event: str, at: str | None, by: str | None, *, reason: str | None = None, value: str | None = None
) -> dict[str, Any]:
    return {"at": at, "event": event, "by": by, "reason": reason, "value": value}


def _own_events(history: ValueHistory, session: str, shape: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield what happened to the value itself."""
    row, pusher = history.value, history.pusher
    origin = None if row.moved_from is None else shape["id"].rpartition("#")[0] + f"#{row.moved_from}"
    yield _event("pushed", shape["pushed_at"], shape["pushed_by"], value=origin)
    for each in shape["returns"]:
        yield _event("taken", each["taken_at"], each["taken_by"])
        yield _event("given back", each["returned_at"], each["taken_by"], reason=each["reason"])
    if row.state in ("taken", "removed"):
        yield _event(row.state, shape["taken_at"], shape["taken_by"])
    undone_at = None if pusher is None else pusher.undone_at(session)
    if pusher is not None and undone_at is not None and (row.orphaned or row.state == "retracted"):
        is_retracted = row.state == "retracted"
        at = iso(row.ended_at) if is_retracted else iso(undone_at)
        reason = f"{shape['pushed_by']} {'was given back' if pusher.given_back_at else 'did not complete'}"
        yield _event("retracted" if is_retracted else "orphaned", at, shape["pushed_by"], reason=reason)


def _moves(
    transaction: Transaction, history: ValueHistory, session: str, queue: str, damage: Damage
) -> Iterator[dict[str, Any]]:
    """Yield the moves of the value to other places of its queue, where it has other numbers."""
    for seq in continued_as(transaction, history.value.queue_id, history.value.seq):
        moved = value_history.of_value(transaction, history.value.queue_id, seq)
        if moved is not None:
            shape = value_shape(moved, session, queue, damage)
            yield _event("moved", shape["pushed_at"], shape["pushed_by"], value=shape["id"])


def _copies(
    transaction: Transaction, session: SessionRecord, queue: str, history: ValueHistory
) -> Iterator[dict[str, Any]]:
    """Yield what `fork` copied: the value that this one is a copy of, and the copies of this one."""
    source, row = session.forked_from, history.value
    place = (queue, row.seq, row.pushed_at)
    if source is not None and row.pushed_at < session.created_at:
        reason = None if fork.has_original(transaction, source, *place) else "removed since"
        original = full_name(source, queue, row.seq)
        yield _event("copied from", iso(session.created_at), None, reason=reason, value=original)
    for copy in fork.copies(transaction, session.name, *place):
        yield _event("copied to", iso(copy.at), None, value=full_name(copy.session, queue, row.seq))
