"""A value of a queue as readers see it: who pushed, took and returned it. And the note about damaged rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from zrb_store import codec
from zrb_store.db.transaction import Transaction
from zrb_store.errors import ValueNotFound
from zrb_store.names import full_name, nearest
from zrb_store.queries import history as value_history
from zrb_store.queries.by_hand import Act, Change, acts_from, acts_on
from zrb_store.queries.clock import Moment
from zrb_store.queries.history import AttemptName, ValueHistory
from zrb_store.queries.queues import queue_ids
from zrb_store.records import (
    Damage,
    ErrorRecord,
    JsonObject,
    JsonTree,
    JsonValue,
    ReturnRecord,
    SessionRecord,
    ValueRecord,
    iso,
    json_or_null,
)


class Returned(NamedTuple):
    """A return of a value to its queue."""

    record: ReturnRecord
    taken_by: str | None  # name of the attempt that held the value before, if it still exists
    error: ErrorRecord | None  # with which that attempt ended; its message may be cut

    @property
    def is_requeue(self) -> bool:
        """Whether the value was dead and somebody made it live again."""
        return self.record.failed_deliveries == 0

    def to_json(self) -> JsonObject:
        """Return it as `show --format json` shows it."""
        return {
            "taken_by": self.taken_by,
            "taken_at": iso(self.record.taken_at),
            "returned_at": iso(self.record.returned_at),
            "reason": self.record.reason,
            "failed_deliveries": self.record.failed_deliveries,
            "error": json_or_null(self.error),
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
    taken_from: Change | None  # who took it from a shell
    returns: list[Returned]  # the oldest first
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
        return cls(
            name,
            record,
            codec.to_json(record.data),
            _owner_name(pusher, session),
            history.pushed_from,
            _owner_name(history.taker, session),
            history.taken_from,
            returns,
            None if pusher is None else pusher.undone(session),
        )

    @property
    def taken_at(self) -> int | None:
        """When it was taken or removed, if it is."""
        return self.record.ended_at if self.record.state in ("taken", "removed") else None

    def to_json(self) -> JsonObject:
        """Return it as `show --format json` shows it."""
        record = self.record
        shown: JsonObject = {
            "id": self.id,
            "seq": record.seq,
            "state": record.state,
            "type": record.type,
            "size": record.size,
            "value": self.content,
            "pushed_at": iso(record.pushed_at),
            "pushed_by": self.pushed_by,
            "pushed_from": process_json(self.pushed_from),
            "taken_at": iso(self.taken_at),
            "taken_by": self.taken_by,
            "taken_from": process_json(self.taken_from),
            "moved_from": record.moved_from,
            "orphaned": record.orphaned,
            "failed_deliveries": record.failed_deliveries,
            "due_at": iso(record.due_at),
            "returns": [each.to_json() for each in self.returns],
        }
        return shown if self.beginning is None else {**shown, "beginning": self.beginning}


def process_json(change: Change | None) -> JsonTree:
    """Return the user, host and pid of what somebody did by hand."""
    return None if change is None else {"user": change.user, "host": change.host, "pid": change.pid}


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
    return with_acts(transaction, found, session.name, queue, Damage() if damage is None else damage)


def with_acts(
    transaction: Transaction, history: ValueHistory, session: str, queue: str, damage: Damage
) -> ValueHistory:
    """Return the history of one value, as of now, with who pushed and took it from a shell, if that is recorded."""
    if _is_incomplete(history):
        for act in acts_on(transaction, session, queue, (history.value.queue_id, history.value.seq)):
            history = _with(history, act, session, damage)
    return history


def each_with_acts(
    transaction: Transaction, session: SessionRecord, histories: Iterable[ValueHistory], damage: Damage
) -> Iterator[ValueHistory]:
    """Yield histories of values of one queue, as of now and in order, as `with_acts` returns each.

    What was done from a shell is read by one statement, which begins at the first value that needs it.
    """
    acts: Iterator[Act] | None = None
    act: Act | None = None
    for history in histories:
        place = (history.value.queue_id, history.value.seq)
        if _is_incomplete(history):
            if acts is None:
                acts = acts_from(transaction, session.name, session.id, place)
                act = next(acts, None)
            while act is not None and act.place <= place:
                if act.place == place:
                    history = _with(history, act, session.name, damage)
                act = next(acts, None)
        yield history


def _is_incomplete(history: ValueHistory) -> bool:
    """Whether a value was pushed or taken, but by no attempt that is still stored."""
    return history.pusher is None or (history.value.state == "taken" and history.taker is None)


def _with(history: ValueHistory, act: Act, session: str, damage: Damage) -> ValueHistory:
    if act.change.action == "push" and history.pusher is None:
        history = history._replace(pushed_from=act.change)
    elif act.change.action == "pop" and history.value.state == "taken" and history.taker is None:
        history = history._replace(taken_from=act.change)
    else:
        return history
    damage.note(f"a change of session {session}", act.damage)
    return history
