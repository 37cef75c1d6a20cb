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
from zrb_store.queries.clock import Moment
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
    # The sort is stable: events of the same tick keep their order.
    return {"value": value, "events": [event for _, event in sorted(events, key=lambda event: event[0])]}


_Event = tuple[int, dict[str, Any]]  # its tick, and what is shown of it


def _event(
    tick: int | None,
    event: str,
    at: str | None,
    by: str | None,
    attempt: AttemptName | None = None,
    *,
    reason: str | None = None,
    value: str | None = None,
    pushed_from: dict[str, Any] | None = None,
    popped_by: dict[str, Any] | None = None,
) -> _Event:
    step = None if attempt is None else attempt.step
    return tick or 0, {
        "at": at,
        "event": event,
        "by": by,
        "step": step,
        "reason": reason,
        "value": value,
        "pushed_from": pushed_from,
        "popped_by": popped_by,
    }


def _own_events(history: ValueHistory, session: str, shape: dict[str, Any]) -> Iterator[_Event]:
    """Yield what happened to the value itself."""
    row, pusher = history.value, history.pusher
    undone = None if pusher is None else pusher.undone(session)
    origin = None if row.moved_from is None else shape["id"].rpartition("#")[0] + f"#{row.moved_from}"
    pushed_from = shape["pushed_from"]
    pushed_by = shape["pushed_by"]
    yield _event(
        row.pushed_tick, "pushed", shape["pushed_at"], pushed_by, pusher, value=origin, pushed_from=pushed_from
    )
    died = _died(history, undone)
    for each, (record, taker, _) in zip(shape["returns"], history.returns, strict=True):
        if each["deliveries"] == 0:
            yield _event(record.returned_tick, "requeued", each["returned_at"], None, reason=each["reason"])
            continue
        yield _event(record.taken_tick, "taken", each["taken_at"], each["taken_by"], taker)
        back = record.returned_tick, "given back", each["returned_at"], each["taken_by"], taker
        yield _event(*back, reason=each["reason"])
        if each["deliveries"] is not None and died.pop(record.returned_tick, None):
            yield _death(record.returned_tick, each["returned_at"], each["deliveries"])
    # A copy has no returns.
    for tick, at in died.items():
        yield _death(tick, at, row.deliveries)
    if row.state in ("taken", "removed"):
        popped_by = shape["popped_by"]
        taken = row.ended_tick, row.state, shape["taken_at"], shape["taken_by"], history.taker
        yield _event(*taken, popped_by=popped_by)
    if pusher is not None and undone is not None and (row.orphaned or row.state == "retracted"):
        is_retracted = row.state == "retracted"
        reason = f"{pushed_by} {'was given back' if pusher.given_back else 'did not complete'}"
        # A dead value that is retracted later still has the moment of its death.
        later = is_retracted and row.ended_at is not None and (row.ended_tick or 0) > (undone.tick or 0)
        when = Moment(row.ended_at or 0, row.ended_tick) if later else undone
        word = "retracted" if is_retracted else "orphaned"
        yield _event(when.tick, word, iso(when.at), pushed_by, pusher, reason=reason)


def _died(history: ValueHistory, undone: Moment | None) -> dict[int, str | None]:
    """Return the time of each death of the value, by tick: after it the value was requeued or retracted, or is dead."""
    row = history.value
    died = {each.record.taken_tick: each.record.taken_at for each in history.returns if each.record.deliveries == 0}
    was_dead = row.state == "retracted" and undone is not None and (row.ended_tick or 0) < (undone.tick or 0)
    if (row.state == "dead" or was_dead) and row.ended_at is not None:
        died[row.ended_tick or 0] = row.ended_at
    return {tick: iso(at) for tick, at in died.items()}


def _death(tick: int, at: str | None, count: int) -> _Event:
    return _event(tick, "died", at, None, reason=f"after {'1 delivery' if count == 1 else f'{count} deliveries'}")


def _moves(
    transaction: Transaction, history: ValueHistory, session: str, queue: str, damage: Damage
) -> Iterator[_Event]:
    """Yield the moves of the value to other places of its queue, where it has other numbers."""
    for seq in continued_as(transaction, history.value.queue_id, history.value.seq):
        moved = value_history.of_value(transaction, history.value.queue_id, seq)
        if moved is not None:
            shape = value_shape(moved, session, queue, damage)
            place = moved.value.pushed_tick, "moved", shape["pushed_at"], shape["pushed_by"], moved.pusher
            yield _event(*place, value=shape["id"])


def _copies(transaction: Transaction, session: SessionRecord, queue: str, history: ValueHistory) -> Iterator[_Event]:
    """Yield what `fork` copied: the value that this one is a copy of, and the copies of this one."""
    source, row = session.forked_from, history.value
    place = (queue, row.seq, row.pushed_at)
    if source is not None and row.pushed_tick < session.created_tick:
        reason = None if fork.has_original(transaction, source, *place) else "removed since"
        original = full_name(source, queue, row.seq)
        created = session.created_tick, "copied from", iso(session.created_at), None
        yield _event(*created, reason=reason, value=original)
    for copy in fork.copies(transaction, session.name, *place):
        yield _event(copy.tick, "copied to", iso(copy.at), None, value=full_name(copy.session, queue, row.seq))
