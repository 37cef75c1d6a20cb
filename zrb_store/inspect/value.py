"""A value of a queue as readers see it: who pushed, took and returned it. And the note about rows that are damaged."""

from __future__ import annotations

from collections.abc import Generator, Sequence
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
    ErrorRecord,
    JsonObject,
    JsonTree,
    JsonValue,
    ReturnRecord,
    RunRecord,
    SessionRecord,
    ValueRecord,
    iso,
    json_or_null,
)

_NAMED = 3  # damaged rows that the note names
_MOST_PASSED_OVER = 1000  # changes by hand: rather than pass over more, read again from the place that is asked for


class Damage:
    """A collection of rows with impossible values. It is true if it has any, and its text is the note about them."""

    def __init__(self, verdict: str = "damaged") -> None:
        """Begin without rows. The verdict is what the note says of all of them."""
        self._verdict = verdict
        self._rows: dict[str, tuple[str, ...]] = {}
        self._count = 0

    def note(self, row: str, columns: Sequence[str]) -> None:
        """Add a row by the name that the note gives it, unless no column is damaged."""
        if columns and row not in self._rows:
            self._count += 1
            if len(self._rows) < _NAMED:
                self._rows[row] = tuple(columns)

    def note_session(self, session: SessionRecord, runs: Sequence[RunRecord]) -> None:
        """Add the rows of a session and of its runs."""
        self.note(f"session {session.name}", session.damage)
        for run in runs:
            self.note(f"run {run.number} of session {session.name}", run.damage)

    def __bool__(self) -> bool:
        return bool(self._count)

    def __str__(self) -> str:
        named = "; ".join(f"{row} ({', '.join(columns)})" for row, columns in self._rows.items())
        more = f" and {self._count - len(self._rows)} more" if self._count > len(self._rows) else ""
        return f"{self._verdict}: {named}{more}; `zrb-store doctor` says what to do"


class Returned(NamedTuple):
    """A return of a value to its queue.

    Attributes:
        record: Its row.
        taken_by: Name of the attempt that held the value before, if it still exists.
        error: The error with which that attempt ended; its message may be cut.
    """

    record: ReturnRecord
    taken_by: str | None
    error: ErrorRecord | None

    @property
    def is_requeue(self) -> bool:
        """Whether the value was dead and somebody made it live again."""
        return self.record.deliveries == 0

    def to_json(self) -> JsonObject:
        """Return it as `show --format json` shows it."""
        return {
            "taken_by": self.taken_by,
            "taken_at": iso(self.record.taken_at),
            "returned_at": iso(self.record.returned_at),
            "reason": self.record.reason,
            "deliveries": self.record.deliveries,
            "error": json_or_null(self.error),
        }


@dataclass(frozen=True, slots=True)
class Value:
    """A value of a queue.

    Attributes:
        id: SESSION/QUEUE#SEQ.
        record: Its row.
        content: The value itself.
        pushed_by: Name of the attempt that pushed it, if one did and it still exists. Here and below, a name is
            `load#1` for an attempt of the value's own session and `SESSION/load#1` for one of another session.
        pushed_from: Who pushed it from a shell outside any attempt, if that is recorded.
        taken_by: Name of the attempt that holds it, if one does and it still exists.
        popped_by: Who took it from a shell.
        returns: Its returns to the queue, the oldest first.
        undone: When what its pusher did was undone; None if it was not.
    """

    id: str
    record: ValueRecord
    content: JsonValue
    pushed_by: str | None
    pushed_from: Change | None
    taken_by: str | None
    popped_by: Change | None
    returns: list[Returned]
    undone: Moment | None

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
            history.popper,
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
        return {
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
            "popped_by": process_json(self.popped_by),
            "moved_from": record.moved_from,
            "orphaned": record.orphaned,
            "deliveries": record.deliveries,
            "returns": [each.to_json() for each in self.returns],
        }


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


class ByHand:
    """The values of a session that were pushed or taken from a shell.

    Nothing is read before the first question. Values are asked for in the order of their queues and numbers, so that
    one statement answers all questions and memory stays flat; another order costs a statement each time that it goes
    back.
    """

    def __init__(self, transaction: Transaction, session: str, session_id: int, damage: Damage) -> None:
        self._transaction = transaction
        self._session = session
        self._session_id = session_id
        self._damage = damage
        self._found: Generator[Act, None, None] | None = None
        self._next: Act | None = None
        self._asked: tuple[int, int] | None = None

    def completed(self, history: ValueHistory) -> ValueHistory:
        """Return the history of a value, as of now, with who pushed and took it from a shell if that is recorded."""
        if not _is_incomplete(history):
            return history
        place = (history.value.queue_id, history.value.seq)
        if self._asked is None or place <= self._asked:
            self._read_from(place)
        self._asked = place
        passed_over = 0
        while self._next is not None and self._next.place < place:
            passed_over += 1
            if passed_over < _MOST_PASSED_OVER:
                self._next = self._read()
            else:
                self._read_from(place)
        while self._next is not None and self._next.place == place:
            history = _with(history, self._next, self._session, self._damage)
            self._next = self._read()
        return history

    def close(self) -> None:
        """End the statement that is being read, if there is one. This is due before the snapshot ends."""
        if self._found is not None:
            self._found.close()

    def _read_from(self, place: tuple[int, int]) -> None:
        self.close()
        self._found = acts_from(self._transaction, self._session, self._session_id, place)
        self._next = self._read()

    def _read(self) -> Act | None:
        return None if self._found is None else next(self._found, None)


def _is_incomplete(history: ValueHistory) -> bool:
    """Whether a value was pushed or taken, but by no attempt that is still stored."""
    return history.pusher is None or (history.value.state == "taken" and history.taker is None)


def _with(history: ValueHistory, act: Act, session: str, damage: Damage) -> ValueHistory:
    if act.change.action == "push" and history.pusher is None:
        history = history._replace(pushed_from=act.change)
    elif act.change.action == "pop" and history.value.state == "taken" and history.taker is None:
        history = history._replace(popper=act.change)
    else:
        return history
    damage.note(f"a change of session {session}", act.damage)
    return history
