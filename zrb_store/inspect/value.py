"""The values of a queue as readers find them, with who pushed, took or replaced them from a shell."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from zrb_store.db.transaction import Transaction
from zrb_store.errors import ValueNotFound
from zrb_store.names import full_name, nearest
from zrb_store.queries import history
from zrb_store.queries.by_hand import Act, acts_from
from zrb_store.queries.history import Value
from zrb_store.queries.queues import queue_ids
from zrb_store.records import SessionRecord


def find_queue(transaction: Transaction, session: SessionRecord, queue: str) -> int:
    """Return the id of a session's queue."""
    ids = queue_ids(transaction, session.name)
    if queue not in ids:
        raise ValueNotFound(f"session {session.name} has no queue {queue!r}{nearest(queue, ids)}")
    return ids[queue]


def find_value(transaction: Transaction, session: SessionRecord, queue: str, queue_id: int, seq: int) -> Value:
    """Return a value of a session, as of now, with who pushed and took it from a shell."""
    found = history.of_value(transaction, queue_id, seq, session.name, queue)
    if found is None:
        raise ValueNotFound(f"there is no value {full_name(session.name, queue, seq)}")
    return next(each_with_acts(transaction, session, [found]))


def each_with_acts(transaction: Transaction, session: SessionRecord, values: Iterable[Value]) -> Iterator[Value]:
    """Yield values of one queue, as of now and in order, with who pushed and took each from a shell.

    What was done so is read by one statement, which begins at the first value that needs it.
    """
    acts: Iterator[Act] | None = None
    act: Act | None = None
    for value in values:
        place = (value.record.queue_id, value.record.seq)
        if _is_incomplete(value):
            if acts is None:
                acts = acts_from(transaction, session.name, session.id, place)
                act = next(acts, None)
            own = []
            while act is not None and act.place <= place:
                if act.place == place:
                    own.append(act)
                act = next(acts, None)
            value = _with(value, own)
        yield value


def _is_incomplete(value: Value) -> bool:
    """Whether a value was pushed, taken or dropped, but by no attempt that is still stored, or replaced."""
    is_held = value.record.state in ("taken", "removed")
    return value.pusher is None or (is_held and value.taker is None) or bool(value.replaced)


def _with(value: Value, acts: Sequence[Act]) -> Value:
    ends = {"taken": "pop", "removed": "drop"}.get(value.record.state)
    for act in acts:
        if act.change.action == "push" and value.pusher is None:
            value = replace(value, pushed_from=act.change)
        elif act.change.action == ends and value.taker is None:
            value = replace(value, taken_from=act.change)
    # The records of old replacements may have been pruned.
    known = [act.change for act in acts if act.change.action == "replace"]
    pairs = zip(reversed(value.replaced), reversed(known), strict=False)
    replaced = [each._replace(by=by) for each, by in pairs][::-1]
    return replace(value, replaced=[*value.replaced[: len(value.replaced) - len(replaced)], *replaced])
