"""What `show` shows: one session with everything in it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

from zrb_store import codec
from zrb_store.db.engine import Database
from zrb_store.db.transaction import Transaction
from zrb_store.errors import ValueNotFound
from zrb_store.inspect import lazy
from zrb_store.inspect.damage import Damage
from zrb_store.inspect.holders import HeldBy, holders_of
from zrb_store.inspect.lazy import Lazy
from zrb_store.inspect.moments import history_at
from zrb_store.inspect.session_view import SessionView
from zrb_store.inspect.shapes import header, run_shape, value_shape
from zrb_store.names import nearest
from zrb_store.queries import last_values, value_history
from zrb_store.queries.show import QueueSummary, holding_values, queue_summaries
from zrb_store.queries.step_history import StepCounts
from zrb_store.queries.value_history import Only, ValueHistory
from zrb_store.records import RunRecord

_ValueShape = Callable[[ValueHistory, str, str, Damage], dict[str, Any]]


@dataclass(frozen=True)
class SessionDocument:
    """A session as it is shown. It is usable as long as its snapshot is open.

    Attributes:
        tree: The session in the shape of `show --format json`. Long lists in it are lazy.
        unfinished: Names of the last attempts of tasks that did not complete, and of steps that were lost and are not
            given back yet, by id.
        transaction: The snapshot.
        session_id: The session.
        read_at: When it was read, in microseconds.
        dead: How many values of each queue are dead now.
        steps: How many steps each task has that has some.
        earlier: Of each queue of which only the last values were asked for, how many come before them, by their state.
        runs: The records of its runs, the first one first.
        moment: The moment that is shown, in microseconds: `read_at`, or an earlier one.
        view: What it was read through.
    """

    tree: dict[str, Any]
    unfinished: dict[int, str]
    transaction: Transaction
    session_id: int
    read_at: int
    dead: dict[str, int]
    steps: dict[str, StepCounts]
    earlier: dict[str, dict[str, int]]
    runs: Sequence[RunRecord]
    moment: int
    view: SessionView

    def holders(self) -> list[HeldBy]:
        """Return what holds values of the session's queues: running attempts, and completed steps of other sessions."""
        return holders_of(self.transaction, [self.session_id], self.read_at)

    def pending(self) -> list[str]:
        """Return the names of unfinished attempts that still have an effect on some queue."""
        holding = holding_values(self.transaction, list(self.unfinished)) if self.unfinished else set()
        return [name for attempt_id, name in self.unfinished.items() if attempt_id in holding]


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
    shape: _ValueShape = value_shape,
) -> Iterator[SessionDocument]:
    """Read everything of one session as of one moment.

    Args:
        database: Where the session is.
        name: Full name of the session.
        queue: Only this queue.
        only: Only live values, or only dead ones.
        at: Show the session as it was at a moment: a time as it is printed, `before:TASK#N` or `after:TASK#N`.
        last: Only so many values of each queue, the last ones.
        damage: Collects damaged rows.
        shape: Makes the shape of a value.

    Raises:
        SessionNotFound: There is no such session, or it was created after that moment.
        ValueNotFound: The session has no such queue.
        TaskNotFound: The session has no such attempt.
        InvalidArgument: `at` does not name a moment.
    """
    with database.snapshot() as transaction:
        view = SessionView.read(transaction, name, at, damage)
        queues = queue_summaries(transaction, view.session.id, queue, at=view.moment)
        tasks = view.tasks({each.id: each.name for each in queues})
        if queue is not None:
            names = [each.name for each in queues]
            queues = [each for each in queues if each.name == queue]
            if not queues:
                raise ValueNotFound(f"session {name} has no queue {queue!r}{nearest(queue, names)}")
        with closing(view.by_hand):
            contents = _contents(view, queues, queue, only, last, shape)
            cut = queues if last is not None else []
            earlier = {each.name: _cut(view, each, only, last or 0, contents[each.name], shape) for each in cut}
            yield SessionDocument(
                tree={
                    **header(view.session, view.damage),
                    "runs": [run_shape(run, name, view.damage) for run in view.runs],
                    "tasks": tasks,
                    "queues": contents,
                },
                unfinished=view.unfinished,
                transaction=transaction,
                session_id=view.session.id,
                read_at=view.read_at,
                dead={each.name: each.dead for each in queues},
                steps=view.steps,
                earlier=earlier,
                runs=view.runs,
                moment=view.read_at if view.moment is None else view.moment.at,
                view=view,
            )


def _count(queue: QueueSummary, only: Only | None) -> int:
    return {"live": queue.live, "dead": queue.dead, None: queue.values}[only]


def _contents(
    view: SessionView,
    queues: list[QueueSummary],
    queue_name: str | None,
    only: Only | None,
    last: int | None,
    shape: _ValueShape,
) -> dict[str, Any]:
    """Return the shapes of queues: of all queues of the session, or of the one that is named."""
    if last is not None and any(_count(queue, only) > last for queue in queues):
        return {queue.name: _lazy_contents(view, queue, only, shape) for queue in queues}
    few = sum(queue.live if only == "live" else queue.values for queue in queues) <= lazy.MAX_ROWS
    if few and only != "dead":
        histories: dict[int, list[ValueHistory]] = {queue.id: [] for queue in queues}
        size = 0
        for each in value_history.of_session(view.transaction, view.session.id, queue_name, only=only, at=view.moment):
            histories[each.value.queue_id].append(each)
            size += each.value.size
            if size > lazy.MAX_BYTES:
                break
        else:
            return {
                queue.name: {
                    "max_deliveries": queue.max_deliveries,
                    "live": [codec.to_json(each.value.data) for each in histories[queue.id] if each.is_live],
                    "values": list(_values(view, queue, histories[queue.id], shape)),
                }
                for queue in queues
            }
    return {queue.name: _lazy_contents(view, queue, only, shape) for queue in queues}


def _lazy_contents(view: SessionView, queue: QueueSummary, only: Only | None, shape: _ValueShape) -> dict[str, Any]:
    def live_values() -> Iterator[Any]:
        return map(codec.to_json, value_history.live_data(view.transaction, queue.id, view.moment))

    # Which values were dead at a moment, only their whole history tells.
    were_dead = only == "dead" and view.moment is not None

    def values() -> Iterator[dict[str, Any]]:
        histories = value_history.of_queue(view.transaction, queue.id, only=None if were_dead else only, at=view.moment)
        shapes = _values(view, queue, histories, shape)
        return (each for each in shapes if each["state"] == "dead") if were_dead else shapes

    return {
        "max_deliveries": queue.max_deliveries,
        "live": Lazy(live_values, queue.live),
        "values": Lazy(values, sum(1 for _ in values()) if were_dead else _count(queue, only)),
    }


def _cut(
    view: SessionView,
    queue: QueueSummary,
    only: Only | None,
    last: int,
    contents: dict[str, Any],
    shape: _ValueShape,
) -> dict[str, int]:
    """Leave the last values of a queue in its contents, and return how many come before them, by their state."""
    values, transaction = contents["values"], view.transaction
    if len(values) <= last:
        return {}
    if only == "dead" and view.moment is not None:
        contents["values"] = list(deque(values, maxlen=last))
        return {"dead": len(values) - last}
    place: dict[str, Any] = {"only": only, "at": view.moment}
    first = last_values.first_of_last(transaction, queue.id, last, **place)

    def last_ones() -> Iterator[dict[str, Any]]:
        histories = value_history.of_queue(transaction, queue.id, **place, from_seq=first)
        return _values(view, queue, histories, shape)

    contents["values"] = Lazy(last_ones, last)
    return {} if first is None else last_values.earlier(transaction, queue.id, first, **place)


def _values(
    view: SessionView, queue: QueueSummary, histories: Iterable[ValueHistory], shape: _ValueShape
) -> Iterator[dict[str, Any]]:
    for history in map(view.by_hand.completed, histories):
        seen = history if view.moment is None else history_at(history, view.session.name, view.moment)
        if seen is not None:
            yield shape(seen, view.session.name, queue.name, view.damage)
