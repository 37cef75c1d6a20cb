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
from zrb_store.queries.value_history import AttemptName, ValueHistory
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
        found = find_history(transaction, record, queue, queue_id, seq, damage)
        value = value_shape(found, session, queue, damage)
        events = [
            *_own_events(found, session, value),
            *_moves(transaction, found, session, queue, damage),
            *_copies(transaction, record, queue, found),
        ]
    # The sort is stable: events of the same microsecond keep their order.
    return {"value": value, "events": sorted(events, key=lambda event: str(event["at"]))}


def _event(
    event: str,
    at: str | None,
    by: str | None,
    attempt: AttemptName | None = None,
    *,
    reason: str | None = None,
    value: str | None = None,
    pushed_from: dict[str, Any] | None = None,
    popped_by: dict[str, Any] | None = None,
) -> dict[str, Any]:
    step = None if attempt is None else attempt.step
    return {
        "at": at,
        "event": event,
        "by": by,
        "step": step,
        "reason": reason,
        "value": value,
        "pushed_from": pushed_from,
        "popped_by": popped_by,
    }


def _own_events(history: ValueHistory, session: str, shape: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield what happened to the value itself."""
    row, pusher = history.value, history.pusher
    undone_at = None if pusher is None else pusher.undone_at(session)
    origin = None if row.moved_from is None else shape["id"].rpartition("#")[0] + f"#{row.moved_from}"
    pushed_from = shape["pushed_from"]
    yield _event("pushed", shape["pushed_at"], shape["pushed_by"], pusher, value=origin, pushed_from=pushed_from)
    died_at = _died_at(history, undone_at)
    for each, returned in zip(shape["returns"], history.returns, strict=True):
        if each["deliveries"] == 0:
            yield _event("requeued", each["returned_at"], None, reason=each["reason"])
            continue
        yield _event("taken", each["taken_at"], each["taken_by"], returned.taker)
        yield _event("given back", each["returned_at"], each["taken_by"], returned.taker, reason=each["reason"])
        if each["deliveries"] is not None and each["returned_at"] in died_at:
            died_at.remove(each["returned_at"])
            yield _death(each["returned_at"], each["deliveries"])
    # A copy has no returns.
    yield from (_death(at, row.deliveries) for at in died_at)
    if row.state in ("taken", "removed"):
        popped_by = shape["popped_by"]
        yield _event(row.state, shape["taken_at"], shape["taken_by"], history.taker, popped_by=popped_by)
    if pusher is not None and undone_at is not None and (row.orphaned or row.state == "retracted"):
        is_retracted = row.state == "retracted"
        # A dead value that is retracted later still has the time of its death.
        at = iso(max(row.ended_at or 0, undone_at) if is_retracted else undone_at)
        reason = f"{shape['pushed_by']} {'was given back' if pusher.given_back_at else 'did not complete'}"
        yield _event("retracted" if is_retracted else "orphaned", at, shape["pushed_by"], pusher, reason=reason)


def _died_at(history: ValueHistory, undone_at: int | None) -> list[str | None]:
    """Return when the value died, each time: after that it was requeued, or was retracted, or is still dead."""
    row = history.value
    died_at = [each.record.taken_at for each in history.returns if each.record.deliveries == 0]
    was_dead = row.state == "retracted" and undone_at is not None and row.ended_at and row.ended_at < undone_at
    if (row.state == "dead" or was_dead) and row.ended_at is not None:
        died_at.append(row.ended_at)
    return [iso(moment) for moment in died_at]


def _death(at: str | None, count: int) -> dict[str, Any]:
    return _event("died", at, None, reason=f"after {'1 delivery' if count == 1 else f'{count} deliveries'}")


def _moves(
    transaction: Transaction, history: ValueHistory, session: str, queue: str, damage: Damage
) -> Iterator[dict[str, Any]]:
    """Yield the moves of the value to other places of its queue, where it has other numbers."""
    for seq in continued_as(transaction, history.value.queue_id, history.value.seq):
        moved = value_history.of_value(transaction, history.value.queue_id, seq)
        if moved is not None:
            shape = value_shape(moved, session, queue, damage)
            yield _event("moved", shape["pushed_at"], shape["pushed_by"], moved.pusher, value=shape["id"])


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
