"""A session as a trace: events in Google's Trace Event Format, which Perfetto and chrome://tracing open.

Each run is a process of the trace, and each task has a track in it. Spans on one track follow each other, or one lies
in the other: attempts and steps that ran at the same time have further tracks. Values are marks where they were pushed
and taken, with an arrow from the one to the other, and each queue has a curve: how many values were in it.

Values are read three times, one by one, and only their times are kept, of one queue at a time.
"""

from __future__ import annotations

import itertools
import json
from collections import defaultdict
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from zrb_store.db.engine import Database
from zrb_store.inspect.damage import Damage
from zrb_store.inspect.perfetto import values
from zrb_store.inspect.perfetto.places import Event, Lanes, Place, Track, Tracks
from zrb_store.inspect.shapes import value_shape
from zrb_store.inspect.show import open_session
from zrb_store.inspect.timeline import Span, Timeline
from zrb_store.queries.value_history import ValueHistory
from zrb_store.records import iso

# Names that the format has for colours, for chrome://tracing.
_COLOURS = {"completed": "good", "failed": "terrible", "lost": "terrible", "interrupted": "bad"}
_PIECE = 1000  # events that are written at once


@contextmanager
def open_trace(database: Database, name: str, damage: Damage | None = None) -> Iterator[Iterator[str]]:
    """Read a session as a trace.

    The context manager gives an iterator over the pieces of its text, which can be used within the block.

    Args:
        database: Where the session is.
        name: Full name of the session.
        damage: Collects damaged rows.

    Raises:
        SessionNotFound: There is no such session.
    """
    with open_session(database, name, damage=damage, shape=_shape) as document:
        timeline = Timeline(document)
        about = {key: document.tree[key] for key in ("name", "status", "task", "project", "created_at")}
        yield _text(about, events(document.tree, timeline.runs, timeline.span_of))


def _shape(history: ValueHistory, session: str, queue: str, damage: Damage) -> dict[str, Any]:
    return {**value_shape(history, session, queue, damage), "ended_at": iso(history.value.ended_at)}


def _text(about: Mapping[str, Any], trace: Iterator[Event]) -> Iterator[str]:
    """Yield the JSON text of a trace, in ASCII and with one event in each line."""
    yield f'{{"displayTimeUnit": "ms", "otherData": {json.dumps(about)}, "traceEvents": [\n'
    separator = ""
    while piece := list(itertools.islice(trace, _PIECE)):
        yield separator + ",\n".join(json.dumps(event, separators=(",", ":")) for event in piece)
        separator = ",\n"
    yield "\n]}\n"


def events(
    tree: Mapping[str, Any], runs: Mapping[int, Span], span_of: Callable[[dict[str, Any]], Span]
) -> Iterator[Event]:
    """Yield the events of a trace.

    Args:
        tree: The session in the shape of `show --format json`. Values also have `ended_at`: when they left their queue.
        runs: When each run worked, by its number.
        span_of: Returns when an attempt, or an attempt of a step, worked.
    """
    trace = _Trace(max(runs, default=0), span_of)
    for run in tree["runs"]:
        yield from trace.run(run, runs[run["number"]])
    for task in tree["tasks"]:
        yield from trace.task(task)
    yield from trace.queues({name: contents["values"] for name, contents in tree["queues"].items()})


class _Trace:
    def __init__(self, last_run: int, span_of: Callable[[dict[str, Any]], Span]) -> None:
        self._span_of = span_of
        self._without_run, self._queues = last_run + 1, last_run + 2
        self._tracks = Tracks(last_run + 10)
        self._places: dict[str, Place] = {}  # of attempts and of those of steps, by name

    def run(self, run: Mapping[str, Any], span: Span) -> Iterator[Event]:
        pid, outcome = run["number"], run["outcome"] or "running"
        yield from self._tracks.process(pid, f"run {pid} ({outcome})")
        place = Place((yield from self._tracks.add(pid, "run")), _visible(span))
        yield _slice(f"run {pid}", "run", place, outcome, {key: run[key] for key in ("origin", "host", "pid")})

    def task(self, task: Mapping[str, Any]) -> Iterator[Event]:
        name, attempts, steps = task["task"], defaultdict(list), defaultdict(list)
        for each in task["attempts"]:
            attempts[each["run"]].append((_visible(self._span_of(each)), each["number"], each))
        for step in task.get("steps", ()):
            for each in step["attempts"]:
                label = f"{step['id']}#{each['number']}"
                steps[each["run"]].append((_visible(self._span_of(each)), label, step["name"], each))
        for run in (*attempts, *(run for run in steps if run not in attempts)):
            pid = self._without_run if run is None else run
            yield from self._tracks.process(pid, "outside runs")  # settled by hand, or copied from another session
            around = yield from self._attempts(pid, name, sorted(attempts[run], key=_by_time))
            yield from self._steps(pid, name, sorted(steps[run], key=_by_time), around)

    def _attempts(
        self, pid: int, task: str, attempts: Iterable[tuple[Span, int, Any]]
    ) -> Generator[Event, None, list[Place]]:
        lanes, places = self._lanes(pid, task), []
        for span, number, attempt in attempts:
            place = Place((yield from lanes.take(span)), span)
            places.append(place)
            self._places[f"{task}#{number}"] = place
            yield _slice(f"{task}#{number}", "attempt", place, attempt["status"], _error(attempt))
        return places

    def _steps(
        self, pid: int, task: str, steps: Iterable[tuple[Span, str, str, Any]], around: list[Place]
    ) -> Iterator[Event]:
        """Draw steps in the attempt around them, or on further tracks if others are there at that time."""
        lanes, at = self._lanes(pid, f"{task}: steps"), 0
        until: dict[Track, int] = {}  # the end of the last step on the track of an attempt
        for span, label, name, step in steps:
            while at + 1 < len(around) and around[at + 1].span.start <= span.start:
                at += 1
            outer = around[at] if around else None
            if outer is not None and outer.holds(span) and until.get(outer.track, 0) <= span.start:
                track = outer.track
                until[track] = span.end
            else:
                track = yield from lanes.take(span)
            self._places[label] = Place(track, span)
            yield _slice(name, "step", self._places[label], step["status"], {"id": label, **_error(step)})

    def _lanes(self, pid: int, name: str) -> Lanes:
        return Lanes(name, lambda of: self._tracks.add(pid, of))

    def queues(self, queues: Mapping[str, Iterable[Mapping[str, Any]]]) -> Iterator[Event]:
        for name, each in queues.items():
            yield from self._tracks.process(self._queues, "queues")
            own = yield from self._tracks.add(self._queues, name)
            yield from values.curve(name, self._queues, each)
            yield from values.marks(name, own, each, self._places)
        # After all marks. Perfetto binds an arrow to what came last on its track, and that may have ended long ago. At
        # the moment of an arrow, that is the mark.
        numbers = itertools.count(1)
        for name, each in queues.items():
            yield from values.arrows(name, each, self._places, numbers)


def _visible(span: Span) -> Span:
    """Return a span of at least a microsecond: an arrow needs one that has begun and has not ended."""
    return Span(span.start, max(span.end, span.start + 1))


def _by_time(item: tuple[Any, ...]) -> tuple[int, int]:
    span: Span = item[0]
    return span.start, -span.end


def _slice(name: str, category: str, place: Place, status: str, about: Mapping[str, Any]) -> Event:
    start, end = place.span
    # Perfetto gives colours to names, and takes none for a status.
    label = name if status in ("completed", "running") or category == "run" else f"{name} ({status})"
    event = {"ph": "X", "name": label, "cat": category, **place.track._asdict(), "ts": start, "dur": end - start}
    colour = {"cname": _COLOURS[status]} if status in _COLOURS else {}
    return {**event, **colour, "args": {"status": status, **about}}


def _error(attempt: Mapping[str, Any]) -> dict[str, Any]:
    error = attempt["error"]
    return {} if error is None else {"error": f"{error['type']}: {error['message']}"}
