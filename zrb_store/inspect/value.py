"""A value of a queue as readers see it: who pushed, took and returned it, also as `show --format json` shows that."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from zrb_store import codec
from zrb_store.db.transaction import Transaction
from zrb_store.errors import ValueNotFound
from zrb_store.names import full_name, nearest
from zrb_store.queries import history as value_history
from zrb_store.queries.by_hand import Act, Change, acts_from
from zrb_store.queries.clock import Moment
from zrb_store.queries.history import AttemptName, ValueHistory
from zrb_store.queries.queues import queue_ids
from zrb_store.records import (
    Damage,
    ErrorRecord,
    JsonObject,
    JsonValue,
    ReplacedRecord,
    ReturnRecord,
    SessionRecord,
    ValueRecord,
    iso,
    pick,
)


class Returned(NamedTuple):
    """A return of a value to its queue."""

    record: ReturnRecord
    taken_by: str | None  # name of the attempt that held the value before, if it still exists
    error: ErrorRecord | None  # with which that attempt ended; its message may be cut

    @property
    def ended_death(self) -> str | None:
        """How somebody ended the value's death: `requeued`, `replaced` or `dropped`, as the reason begins."""
        return self.record.reason.partition(" ")[0] if self.record.failed_deliveries == 0 else None

    def to_json(self) -> JsonObject:
        return {
            "taken_by": self.taken_by,
            **pick(self.record, "taken_at", "returned_at", "reason", "failed_deliveries", "due_at"),
            **pick(self, "error"),
        }


class Replaced(NamedTuple):
    """What a value was before somebody put another content in its place."""

    record: ReplacedRecord
    content: JsonValue
    by: Change | None  # who did it, if that is recorded

    def to_json(self) -> JsonObject:
        return {
            **pick(self.record, "type", "size"),
            "value": self.content,
            **pick(self.record, "failed_deliveries", "replaced_at"),
            "replaced_by": None if self.by is None else self.by.to_json(),
        }


@dataclass(frozen=True, slots=True)
class Value:
    """A value of a queue.

    A name of an attempt is `load#1` if it is of the value's own session, else `SESSION/load#1`; None if there is none,
    or it was deleted.
    """

    id: str  # SESSION/QUEUE#SEQ
    record: ValueRecord
    content: JsonValue
    pushed_by: str | None
    pushed_from: Change | None  # who pushed it from a shell outside any attempt, if that is recorded
    taken_by: str | None
    taken_from: Change | None  # who took it from a shell, or dropped it
    returns: list[Returned]  # the oldest first
    replaced: list[Replaced]  # what it was before, the oldest first
    undone: Moment | None  # when what its pusher did was undone
    beginning: str | None = None  # in a report, of a long value, whose content is left out

    @classmethod
    def of(cls, history: ValueHistory, session: str, queue: str, damage: Damage) -> Value:
        """Make one from its history and the names of its session and queue, and note what is damaged."""
        record, pusher = history.value, history.pusher
        name = full_name(session, queue, record.seq)
        if record.damage:
            damage.note(f"value {name}", record.damage)
        returns = []
        for each in history.returns:
            damage.note(f"a return of {name}", each.record.damage)
            error = None if each.error == (None, None) else ErrorRecord(*each.error)
            returns.append(Returned(each.record, _owner_name(each.taker, session), error))
        for one in history.replaced:
            damage.note(f"an earlier content of {name}", one.record.damage)
        replaced = [Replaced(one.record, codec.to_json(one.record.data), one.by) for one in history.replaced]
        pushed = _owner_name(pusher, session), history.pushed_from
        taken = _owner_name(history.taker, session), history.taken_from
        undone = None if pusher is None else pusher.undone(session)
        return cls(name, record, codec.to_json(record.data), *pushed, *taken, returns, replaced, undone)

    @property
    def taken_at(self) -> int | None:
        """When it was taken or removed, if it is."""
        return self.record.ended_at if self.record.state in ("taken", "removed") else None

    @property
    def outcome(self) -> str:
        """What became of it: its state, or `dropped` if a person took it out."""
        return "dropped" if self.record.state == "removed" and self.taken_from is not None else self.record.state

    @property
    def past(self) -> list[Returned | Replaced]:
        """What happened to it since its push, in order, without the ends of deaths that a later event tells."""
        told: list[tuple[int, Returned | Replaced]] = [
            (each.record.returned_tick, each) for each in self.returns if each.ended_death in (None, "requeued")
        ]
        told += [(each.record.replaced_tick, each) for each in self.replaced]
        return [each for _, each in sorted(told, key=lambda pair: pair[0])]

    def to_json(self) -> JsonObject:
        record = self.record
        shown: JsonObject = {
            "id": self.id,
            **pick(record, "seq", "state", "type", "size"),
            "value": self.content,
            "pushed_at": iso(record.pushed_at),
            **pick(self, "pushed_by", "pushed_from", "taken_at", "taken_by", "taken_from"),
            **pick(record, "moved_from", "orphaned", "failed_deliveries", "due_at"),
            "returns": [each.to_json() for each in self.returns],
            "replaced": [each.to_json() for each in self.replaced],
        }
        return shown if self.beginning is None else {**shown, "beginning": self.beginning}


def _owner_name(owner: AttemptName | None, session: str) -> str | None:
    if owner is None:
        return None
    if owner.session == session:
        return f"{owner.task}#{owner.number}"
    return full_name(owner.session, owner.task, owner.number)


def find_queue(transaction: Transaction, session: SessionRecord, queue: str) -> int:
    """Return the id of a session's queue."""
    ids = queue_ids(transaction, session.name)
    if queue not in ids:
        raise ValueNotFound(f"session {session.name} has no queue {queue!r}{nearest(queue, ids)}")
    return ids[queue]


def find_history(
    transaction: Transaction, session: SessionRecord, queue: str, queue_id: int, seq: int, damage: Damage | None = None
) -> ValueHistory:
    """Return the history of a value, as of now, with who pushed and took it from a shell."""
    found = value_history.of_value(transaction, queue_id, seq)
    if found is None:
        raise ValueNotFound(f"there is no value {full_name(session.name, queue, seq)}")
    return next(each_with_acts(transaction, session, [found], Damage() if damage is None else damage))


def each_with_acts(
    transaction: Transaction, session: SessionRecord, histories: Iterable[ValueHistory], damage: Damage
) -> Iterator[ValueHistory]:
    """Yield histories of values of one queue, as of now and in order, with who pushed and took each from a shell.

    What was done so is read by one statement, which begins at the first value that needs it.
    """
    acts: Iterator[Act] | None = None
    act: Act | None = None
    for history in histories:
        place = (history.value.queue_id, history.value.seq)
        if _is_incomplete(history):
            if acts is None:
                acts = acts_from(transaction, session.name, session.id, place)
                act = next(acts, None)
            own = []
            while act is not None and act.place <= place:
                if act.place == place:
                    own.append(act)
                act = next(acts, None)
            history = _with(history, own, session.name, damage)
        yield history


def _is_incomplete(history: ValueHistory) -> bool:
    """Whether a value was pushed, taken or dropped, but by no attempt that is still stored, or replaced."""
    is_held = history.value.state in ("taken", "removed")
    return history.pusher is None or (is_held and history.taker is None) or bool(history.replaced)


def _with(history: ValueHistory, acts: Sequence[Act], session: str, damage: Damage) -> ValueHistory:
    ends = {"taken": "pop", "removed": "drop"}.get(history.value.state)
    for act in acts:
        if act.change.action == "push" and history.pusher is None:
            history = history._replace(pushed_from=act.change)
        elif act.change.action == ends and history.taker is None:
            history = history._replace(taken_from=act.change)
        elif act.change.action != "replace":
            continue
        damage.note(f"a change of session {session}", act.damage)
    # The records of old replacements may have been pruned.
    known = [act.change for act in acts if act.change.action == "replace"]
    pairs = zip(reversed(history.replaced), reversed(known), strict=False)
    replaced = [each._replace(by=by) for each, by in pairs][::-1]
    return history._replace(replaced=[*history.replaced[: len(history.replaced) - len(replaced)], *replaced])
