"""What `show` shows: one session with its runs, tasks and queues, now or as it was at an earlier moment."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace

from zrb_store import codec, records
from zrb_store.db.engine import Database
from zrb_store.db.transaction import Transaction
from zrb_store.errors import ValueNotFound
from zrb_store.inspect.moments import history_at
from zrb_store.inspect.queues import HeldBy, holders_of
from zrb_store.inspect.session_view import SessionView, Task, header
from zrb_store.inspect.value import Damage, Value
from zrb_store.names import nearest
from zrb_store.queries import history
from zrb_store.queries.history import Only, Scope, ValueHistory
from zrb_store.queries.show import QueueSummary, holding_values, queue_summaries
from zrb_store.records import JsonObject, JsonValue, Lazy, Rows, RunRecord, SessionRecord, each_as_json


@dataclass(frozen=True, slots=True)
class Queue:
    """A queue of a session.

    Attributes:
        max_deliveries: How often it delivers a value; None for any number.
        values: All its values, or those that were asked for.
        dead: How many of its values are dead now.
        earlier: If only the last values were asked for, how many come before them, by their state.
    """

    name: str
    max_deliveries: int | None
    live: Rows[JsonValue]
    values: Rows[Value]
    dead: int
    earlier: dict[str, int]

    @property
    def count(self) -> int:
        """How many values it has, or how many of those that were asked for."""
        return len(self.values) + sum(self.earlier.values())

    def to_json(self) -> JsonObject:
        """Return it as `show --format json` shows it."""
        return {
            "max_deliveries": self.max_deliveries,
            "live": self.live,
            "values": each_as_json(self.values, Value.to_json),
        }


@dataclass(frozen=True)
class SessionDocument:
    """A session as it is shown, while its snapshot is open."""

    view: SessionView
    tasks: list[Task]
    queues: list[Queue]

    @property
    def session(self) -> SessionRecord:
        """Its record, with the status that readers see."""
        return self.view.session

    @property
    def runs(self) -> Sequence[RunRecord]:
        """Its runs, the first one first."""
        return self.view.runs

    @property
    def read_at(self) -> int:
        """When it was read, in microseconds."""
        return self.view.read_at

    @property
    def moment(self) -> int:
        """The moment that is shown, in microseconds: `read_at`, or an earlier one."""
        return self.read_at if self.view.moment is None else self.view.moment.at

    def to_json(self) -> JsonObject:
        """Return it as `show --format json` shows it."""
        return {
            **header(self.session),
            "runs": [run.to_json() for run in self.runs],
            "tasks": [task.to_json() for task in self.tasks],
            "queues": {queue.name: queue.to_json() for queue in self.queues},
        }

    def holders(self) -> list[HeldBy]:
        """Return what holds values of the session's queues: running attempts, and completed steps of other sessions."""
        return holders_of(self.view.transaction, [self.session.id], self.read_at)

    def pending(self) -> list[str]:
        """Return the names of unfinished attempts that still have an effect on some queue."""
        unfinished = self.view.unfinished
        holding = holding_values(self.view.transaction, list(unfinished)) if unfinished else set()
        return [name for attempt_id, name in unfinished.items() if attempt_id in holding]


@contextmanager
def open_session(
    database: Database,
    name: str,
    queue: str | None = None,
    *,
    only: Only | None = None,
    at: str | None = None,
    last: int | None = None,
    damage: Damage | None = None,
) -> Iterator[SessionDocument]:
    """Read everything of one session as of one moment.

    Args:
        queue: Only this queue.
        only: Only live values, or only dead ones.
        at: Show the session as it was at a moment: a time as it is printed, `before:TASK#N` or `after:TASK#N`.
        last: Only so many values of each queue, the last ones.

    Raises:
        InvalidArgument: `at` does not name a moment.
    """
    with database.snapshot() as transaction:
        view = SessionView(transaction, name, at, damage)
        queues = queue_summaries(transaction, view.session.id, queue, at=view.moment)
        tasks = view.tasks({each.id: each.name for each in queues})
        if queue is not None:
            names = [each.name for each in queues]
            queues = [each for each in queues if each.name == queue]
            if not queues:
                raise ValueNotFound(f"session {name} has no queue {queue!r}{nearest(queue, names)}")
        with closing(view.by_hand):
            document = SessionDocument(view, tasks, _Queues(view, only, last).read(queues, queue))
            view.damage.note_session(view.session, view.runs)
            yield document


class _Queues:
    """Reads the queues of a session."""

    def __init__(self, view: SessionView, only: Only | None, last: int | None) -> None:
        self._view = view
        self._transaction: Transaction = view.transaction
        self._only = only
        self._last = last
        # Which values were dead at a moment, only their whole history tells.
        self._were_dead = only == "dead" and view.moment is not None

    def read(self, queues: list[QueueSummary], name: str | None) -> list[Queue]:
        """Return queues: all of the session, or the one that is named."""
        is_cut = self._last is not None and any(self._count(queue) > self._last for queue in queues)
        few = sum(queue.live if self._only == "live" else queue.values for queue in queues) <= records.MAX_ROWS
        if few and self._only != "dead" and not is_cut:
            histories: dict[int, list[ValueHistory]] = {queue.id: [] for queue in queues}
            size = 0
            scope: Scope = "session" if name is None else "queue"
            of = self._view.session.id if name is None else queues[0].id
            for each in history.histories(self._transaction, scope, of, only=self._only, at=self._view.moment):
                histories[each.value.queue_id].append(each)
                size += each.value.size
                if size > records.MAX_BYTES:
                    break
            else:
                return [
                    Queue(
                        queue.name,
                        queue.max_deliveries,
                        [codec.to_json(each.value.data) for each in histories[queue.id] if each.is_live],
                        list(self._values(queue, histories[queue.id])),
                        queue.dead,
                        {},
                    )
                    for queue in queues
                ]
        return [self._cut(queue, self._lazy(queue)) for queue in queues]

    def _count(self, queue: QueueSummary) -> int:
        return {"live": queue.live, "dead": queue.dead, None: queue.values}[self._only]

    def _lazy(self, queue: QueueSummary) -> Queue:
        def live() -> Iterator[JsonValue]:
            return map(codec.to_json, history.live_data(self._transaction, queue.id, self._view.moment))

        def values() -> Iterator[Value]:
            found = self._values(queue, self._histories(queue, None if self._were_dead else self._only))
            return (each for each in found if each.record.state == "dead") if self._were_dead else found

        count = sum(1 for _ in values()) if self._were_dead else self._count(queue)
        return Queue(queue.name, queue.max_deliveries, Lazy(live, queue.live), Lazy(values, count), queue.dead, {})

    def _cut(self, queue: QueueSummary, found: Queue) -> Queue:
        """Leave only the last values, if only these were asked for."""
        last = self._last
        if last is None or len(found.values) <= last:
            return found
        if self._were_dead:
            kept = list(deque(found.values, maxlen=last))
            return replace(found, values=kept, earlier={"dead": len(found.values) - last})
        at, only = self._view.moment, self._only
        first = history.first_of_last(self._transaction, queue.id, last, only=only, at=at)
        values = Lazy(lambda: self._values(queue, self._histories(queue, only, first)), last)
        if first is None:
            return replace(found, values=values)
        earlier = history.earlier(self._transaction, queue.id, first, only=only, at=at)
        return replace(found, values=values, earlier=earlier)

    def _histories(self, queue: QueueSummary, only: Only | None, first: int | None = None) -> Iterator[ValueHistory]:
        return history.histories(self._transaction, "queue", queue.id, seq=first, only=only, at=self._view.moment)

    def _values(self, queue: QueueSummary, histories: Iterable[ValueHistory]) -> Iterator[Value]:
        view = self._view
        for each in map(view.by_hand.completed, histories):
            seen = each if view.moment is None else history_at(each, view.session.name, view.moment)
            if seen is not None:
                yield Value.of(seen, view.session.name, queue.name, view.damage)
