"""A session as a trace: events in Google's Trace Event Format, which Perfetto and chrome://tracing open.

Each run is a process of the trace, and each task has a track in it. Spans on one track follow each other, or one
contains the other: concurrent attempts and steps have further tracks. An arrow leads from where a value was
pushed to where it was taken.
"""

from __future__ import annotations

import itertools
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from zrb_store.db.engine import Database
from zrb_store.inspect.show import Queue, Task, open_session
from zrb_store.inspect.trace import Span, Timeline
from zrb_store.queries.history import Value
from zrb_store.records import AttemptRecord, Damage, JsonObject, JsonTree, RunRecord, pick

Event = JsonObject

# Names that the format has for colours, for chrome://tracing.
_COLOURS = {"completed": "good", "failed": "terrible", "lost": "terrible", "interrupted": "bad"}


@contextmanager
def open_trace(database: Database, name: str, damage: Damage | None = None) -> Iterator[Iterator[str]]:
    """Read a session as a trace: give an iterator over the pieces of its text, which can be used within the block."""
    with open_session(database, name, damage=damage) as document:
        timeline = Timeline(document.runs, document.moment)
        about = pick(document.session, "name", "status", "task", "project", "created_at")
        runs = [(run, timeline.runs[run.number]) for run in document.runs]
        yield _text(about, events(runs, document.tasks, document.queues, timeline.span_of))


def _text(about: JsonObject, trace: Iterator[Event]) -> Iterator[str]:
    """Yield the JSON text of a trace, in ASCII and with one event in each line."""
    yield f'{{"displayTimeUnit": "ms", "otherData": {json.dumps(about)}, "traceEvents": [\n'
    separator = ""
    for event in trace:
        yield separator + json.dumps(event, separators=(",", ":"))
        separator = ",\n"
    yield "\n]}\n"


class _Place(NamedTuple):
    """Where and when an attempt is drawn: process and thread of the trace, and its span."""

    pid: int
    tid: int
    span: Span

    def at(self, moment: int) -> dict[str, int]:
        """Return the fields of an event at a moment, or the nearest one in the span: a result is pushed at its end."""
        return {"pid": self.pid, "tid": self.tid, "ts": min(max(moment, self.span.start), self.span.end - 1)}


def events(
    runs: Sequence[tuple[RunRecord, Span]],
    tasks: Iterable[Task],
    queues: Iterable[Queue],
    span_of: Callable[[AttemptRecord], Span],
) -> Iterator[Event]:
    """Yield the events of a trace, from the runs with their spans, the tasks and the queues of a session."""
    without_run = max((run.number for run, _ in runs), default=0) + 1
    # To Perfetto, a thread with the number of its process is the main one.
    tids = itertools.count(without_run + 1)
    places: dict[str, _Place] = {}
    for run, span in runs:
        pid, status = run.number, run.status or "running"
        yield from _named(f"run {pid} ({status})", pid)
        place = _Place(pid, next(tids), _visible(span))
        yield from _named("run", pid, place.tid)
        yield _slice(f"run {pid}", "run", place, status, pick(run, "origin", "host", "pid"))
    is_named = False
    for task in tasks:
        for run_number, spans in _spans_by_run(task, span_of).items():
            if run_number is None and not is_named:
                yield from _named("outside runs", without_run)  # settled by hand, or copied from another session
                is_named = True
            yield from _draw(without_run if run_number is None else run_number, task.name, spans, tids, places)
    yield from _arrows(queues, places)


_Drawn = tuple[Span, bool, str, AttemptRecord]  # an attempt, or one of a step, which that says, with its name


def _spans_by_run(task: Task, span_of: Callable[[AttemptRecord], Span]) -> dict[int | None, list[_Drawn]]:
    """Return the attempts of a task and of its steps by their run, in the order of time, the outer one first."""
    found: dict[int | None, list[_Drawn]] = defaultdict(list)
    for each, _ in task.attempts:
        found[each.run].append((_visible(span_of(each)), False, each.name, each))
    for step in task.steps:
        for each in step.attempts:
            found[each.run].append((_visible(span_of(each)), True, step.name, each))
    for drawn in found.values():
        drawn.sort(key=lambda each: (each[0].start, each[1], -each[0].end))
    return found


def _draw(
    pid: int, task: str, spans: Iterable[_Drawn], tids: Iterator[int], places: dict[str, _Place]
) -> Iterator[Event]:
    """Draw each span on the first track of its kind that is free; steps in the attempt around them, if it has room."""
    lanes: dict[bool, list[_Place]] = {False: [], True: []}  # the last span of each track, of attempts and of steps
    inner: dict[int, int] = {}  # the end of the last step on the track of an attempt
    for span, is_step, name, attempt in spans:
        around = [each for each in lanes[False] if each.span.start <= span.start and span.end <= each.span.end]
        free = [each for each in around if inner.get(each.tid, 0) <= span.start] if is_step else []
        if free:
            place = _Place(pid, free[0].tid, span)
            inner[place.tid] = span.end
        else:
            own = lanes[is_step]
            number = next((n for n, last in enumerate(own) if last.span.end <= span.start), len(own))
            if number == len(own):
                own.append(_Place(pid, next(tids), span))
                title = f"{task}: steps" if is_step else task
                yield from _named(title if number == 0 else f"{title} ({number + 1})", pid, own[-1].tid)
            place = own[number] = own[number]._replace(span=span)
        places[attempt.name] = place
        about: JsonObject = {"id": attempt.name} if is_step else {}
        if attempt.error is not None:
            about["error"] = f"{attempt.error.type}: {attempt.error.message}"
        yield _slice(name, "step" if is_step else "attempt", place, attempt.status, about)


def _arrows(queues: Iterable[Queue], places: Mapping[str, _Place]) -> Iterator[Event]:
    """Yield an arrow for each take of a value whose pusher and taker are drawn, and a mark at both of its ends.

    Perfetto binds an arrow to what came last on its track, which may be a step that ended long ago: so to the mark.
    """
    numbers = itertools.count(1)
    marked: set[tuple[str, int, int]] = set()
    for queue in queues:
        name = queue.now.name
        for value in queue.values:
            pusher = places.get(value.pushed_by or "")
            for taken_by, taken_at, category in _takes(value) if pusher else ():
                taker = places.get(taken_by or "")
                if pusher is None or taker is None:
                    continue
                ends = pusher.at(value.record.pushed_at), taker.at(taken_at)
                if ends[0]["ts"] > ends[1]["ts"]:
                    continue
                for verb, at in zip(("push", "take"), ends, strict=True):
                    if (mark := (f"{verb} {name}", at["tid"], at["ts"])) not in marked:
                        marked.add(mark)
                        yield {"ph": "i", "s": "t", "name": mark[0], "cat": verb, **at, "args": {"value": value.id}}
                flow: JsonObject = {"name": name, "cat": category, "id": next(numbers)}
                yield {"ph": "s", **flow, **ends[0]}
                yield {"ph": "f", **flow, **ends[1], "bp": "e"}


def _takes(value: Value) -> Iterator[tuple[str | None, int, str]]:
    """Yield by whom and when a value was taken, and what became of that."""
    for each in value.returns:
        if not each.ended_death:
            yield each.taken_by, each.record.taken_at, "given back"
    if value.record.state == "taken" and value.taken_at is not None:  # it may be damaged
        yield value.taken_by, value.taken_at, "taken"


def _named(name: str, pid: int, tid: int | None = None) -> Iterator[Event]:
    """Yield the name and the place of a process of the trace, or of a track."""
    kind, order = ("process", pid) if tid is None else ("thread", tid)
    where = {"pid": pid} if tid is None else {"pid": pid, "tid": tid}
    yield {"ph": "M", "name": f"{kind}_name", **where, "args": {"name": name}}
    yield {"ph": "M", "name": f"{kind}_sort_index", **where, "args": {"sort_index": order}}


def _visible(span: Span) -> Span:
    """Return a span of at least a microsecond: an arrow needs one that has begun and has not ended."""
    return Span(span.start, max(span.end, span.start + 1))


def _slice(name: str, category: str, place: _Place, status: str, about: Mapping[str, JsonTree]) -> Event:
    start, end = place.span
    # Perfetto gives colours to names, and takes none for a status.
    label = name if status in ("completed", "running") or category == "run" else f"{name} ({status})"
    where = {"pid": place.pid, "tid": place.tid, "ts": start, "dur": end - start}
    args: JsonObject = {"status": status, **about}
    colour = {"cname": _COLOURS[status]} if status in _COLOURS else {}
    return {"ph": "X", "name": label, "cat": category, **where, **colour, "args": args}
