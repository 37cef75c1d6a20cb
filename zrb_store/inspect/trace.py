"""When things happened: the attempts of a session as spans of time, and the history of one value.

`show --timeline` and reports draw the spans; `trace` and pages show the history.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from zrb_store.db.engine import Database
from zrb_store.db.transaction import Transaction
from zrb_store.inspect.value import find_queue, find_value
from zrb_store.names import full_name
from zrb_store.queries import fork, history, sessions
from zrb_store.queries.by_hand import Change
from zrb_store.queries.clock import Moment
from zrb_store.queries.history import AttemptName, Value
from zrb_store.queries.lease import worked_until
from zrb_store.records import AttemptRecord, ErrorRecord, JsonObject, JsonValue, RunRecord, SessionRecord, pick


class Span(NamedTuple):
    """A span of time, in microseconds since 1970."""

    start: int
    end: int


class Timeline:
    """Spans of time of a session as of a moment: `runs` of its runs, by number; `deaths` of those that were lost."""

    def __init__(self, runs: Iterable[RunRecord], moment: int) -> None:
        self._moment, runs = moment, list(runs)
        self.runs = {run.number: Span(run.started_at, max(run.started_at, worked_until(run, moment))) for run in runs}
        self.deaths = [self.runs[run.number] for run in runs if run.status == "lost"]

    def span_of(self, attempt: AttemptRecord) -> Span:
        """Return when an attempt worked: a lost one until its run was last known to work, a running one until now."""
        start = attempt.started_at
        if attempt.ended_at is not None and attempt.status != "lost":
            return Span(start, attempt.ended_at)
        run = self.runs.get(attempt.run or 0)
        end = self._moment if attempt.status == "running" else start if run is None else run.end
        return Span(start, max(start, end))


def took(each: RunRecord | AttemptRecord, now: int | None) -> int | None:
    """Return how long a run or an attempt took, or has taken until now, in microseconds; None if that is not known.

    What was lost ended at an unknown time, before anybody noticed.
    """
    ended_at = now if each.ended_at is None else each.ended_at
    return None if each.status == "lost" or ended_at is None else ended_at - each.started_at


def merged(spans: Iterable[Span]) -> list[Span]:
    """Join spans that overlap, or between which there is little in comparison with all of them."""
    joined = _joined(sorted(spans), 0)
    return _joined(joined, max(_NO_PAUSE, sum(span.end - span.start for span in joined) // _SHORT_PAUSE))


def _joined(spans: Iterable[Span], gap: int) -> list[Span]:
    """Join spans, in order of their starts, between which there is at most this gap."""
    found: list[Span] = []
    for span in spans:
        if found and span.start - found[-1].end <= gap:
            found[-1] = Span(found[-1].start, max(found[-1].end, span.end))
        else:
            found.append(span)
    return found


_NO_PAUSE = 1_000_000  # less than a second between two spans is none
_SHORT_PAUSE = 20  # a pause of a twentieth of the work is shown as long as it was


@dataclass(frozen=True, slots=True)
class Event:
    """What happened to a value at one moment."""

    tick: int
    event: str  # pushed, taken, given back, requeued, replaced, died, and so on
    at: int | None  # microseconds
    by: AttemptName | None = None  # the attempt that did it
    reason: str | None = None
    value: str | None = None  # the other value that is concerned
    pushed_from: Change | None = None  # who pushed the value from a shell
    taken_from: Change | None = None  # who took the value from a shell, or dropped or replaced it
    # What the JSON of its value has: what it was before it was replaced; why the attempt that gave it back failed.
    earlier: JsonValue = None
    error: ErrorRecord | None = None

    def to_json(self) -> JsonObject:
        by: JsonObject = {"by": self.by and self.by.name, "step": self.by and self.by.step}
        return {**pick(self, "at", "event"), **by, **pick(self, "reason", "value", "pushed_from", "taken_from")}


@dataclass(frozen=True)
class Trace:
    """A value, and what happened to it, in order."""

    value: Value
    events: list[Event]

    def to_json(self) -> JsonObject:
        return {"value": self.value.to_json(), "events": [event.to_json() for event in self.events]}


def trace(database: Database, session: str, queue: str, seq: int) -> Trace:
    """Return a value with everything that happened to it; if `fork` copied it, also to its original until then."""
    with database.snapshot() as transaction:
        record = sessions.get(transaction, session)
        queue_id = find_queue(transaction, record, queue)
        value = find_value(transaction, record, queue, queue_id, seq)
        moves, copies = _moves(transaction, value, session, queue), _copies(transaction, record, queue, value)
        return Trace(value, _in_order([*own_events(value), *moves, *copies]))


def own_events(value: Value) -> list[Event]:
    """Return what happened to a value in its place of its queue, in order."""
    return _in_order(_own_events(value))


def _in_order(events: Iterable[Event]) -> list[Event]:
    return sorted(events, key=lambda event: event.tick)  # stable: events of the same tick keep their order


def _own_events(value: Value) -> Iterator[Event]:
    """Yield what happened to the value itself."""
    row, person = value.record, value.taken_from
    origin = None if row.moved_from is None else value.id.rpartition("#")[0] + f"#{row.moved_from}"
    yield Event(row.pushed_tick, "pushed", row.pushed_at, value.pusher, value=origin, pushed_from=value.pushed_from)
    yield from _deliveries(value)
    for one in value.replaced:
        event = one.record.replaced_tick, "replaced", one.record.replaced_at
        yield Event(*event, reason=one.by and one.by.reason, taken_from=one.by, earlier=one.content)
    if row.state in ("taken", "removed"):
        taken = row.ended_tick or 0, value.outcome, value.taken_at, value.taker
        yield Event(*taken, person and person.reason, taken_from=person)
    yield from _undoing(value)


def _deliveries(value: Value) -> Iterator[Event]:
    """Yield how often the value was taken and given back, died and was requeued."""
    died = _died(value)
    for each in value.returns:
        record = each.record
        if each.ended_death is None:
            yield Event(record.taken_tick, "taken", record.taken_at, each.taker)
            returned = record.returned_tick, "given back", record.returned_at
            yield Event(*returned, each.taker, record.reason, error=each.error)
            if record.failed_deliveries is not None and died.pop(record.returned_tick, None) is not None:
                yield _death(record.returned_tick, record.returned_at, record.failed_deliveries)
        elif each.ended_death == "requeued":
            yield Event(record.returned_tick, "requeued", record.returned_at, reason=record.reason)
    # A copy has no returns.
    for tick, at in died.items():
        yield _death(tick, at, value.record.failed_deliveries)


def _undoing(value: Value) -> Iterator[Event]:
    """Yield that the value's pusher did not stand, which has retracted or orphaned it."""
    row, pusher, undone = value.record, value.pusher, value.undone
    is_retracted = row.state == "retracted"
    if pusher is None or undone is None or not (row.orphaned or is_retracted):
        return
    # A dead value that is retracted later still has the moment of its death.
    later = is_retracted and row.ended_at is not None and (row.ended_tick or 0) > (undone.tick or 0)
    when = Moment(row.ended_at or 0, row.ended_tick) if later else undone
    reason = f"{pusher.name} {'was given back' if pusher.given_back else 'did not complete'}"
    yield Event(when.tick or 0, "retracted" if is_retracted else "orphaned", when.at, pusher, reason)


def _died(value: Value) -> dict[int, int]:
    """Return the time of each death of the value, by tick."""
    row, undone = value.record, value.undone
    died = {each.record.taken_tick: each.record.taken_at for each in value.returns if each.ended_death}
    was_dead = row.state == "retracted" and undone is not None and (row.ended_tick or 0) < (undone.tick or 0)
    if (row.state == "dead" or was_dead) and row.ended_at is not None:
        died[row.ended_tick or 0] = row.ended_at
    return died


def _death(tick: int, at: int, count: int) -> Event:
    return Event(tick, "died", at, reason=f"after {'1 delivery' if count == 1 else f'{count} deliveries'}")


def _moves(transaction: Transaction, value: Value, session: str, queue: str) -> Iterator[Event]:
    """Yield the moves of the value to other places of its queue, where it has other numbers."""
    for seq in history.continued_as(transaction, value.record.queue_id, value.record.seq):
        if moved := history.of_value(transaction, value.record.queue_id, seq, session, queue):
            row = moved.record
            yield Event(row.pushed_tick, "moved", row.pushed_at, moved.pusher, value=moved.id)


def _copies(transaction: Transaction, session: SessionRecord, queue: str, value: Value) -> Iterator[Event]:
    """Yield what `fork` copied: the value that this one is a copy of, and the copies of this one."""
    source, row = session.forked_from, value.record
    place = (queue, row.seq, row.pushed_at)
    if source is not None and row.pushed_tick < session.created_tick:
        reason = None if fork.has_original(transaction, source, *place) else "removed since"
        original = full_name(source, queue, row.seq)
        yield Event(session.created_tick, "copied from", session.created_at, reason=reason, value=original)
    for copy in fork.copies(transaction, session.name, *place):
        yield Event(copy.tick, "copied to", copy.at, value=full_name(copy.session, queue, row.seq))
