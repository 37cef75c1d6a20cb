"""What happened to the values of a queue, as events of a trace: marks, arrows, and the curve of its length."""

from __future__ import annotations

import heapq
import itertools
from array import array
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from zrb_store.inspect.perfetto.places import Event, Place, Track
from zrb_store.inspect.timeline import micros

Value = Mapping[str, Any]
Places = Mapping[Any, Place]
"""Where attempts, and those of steps, are drawn, by their names."""

_VERBS = {"removed": "remove", "retracted": "retract", "dead": "die"}


def lives(value: Value) -> Iterator[tuple[int, int | None]]:
    """Yield from when until when a value was in its queue, each time, in microseconds; None: it still is."""
    since = micros(value["pushed_at"])
    until = None if value["ended_at"] is None else micros(value["ended_at"])
    away = ((micros(each["taken_at"]), micros(each["returned_at"])) for each in value["returns"])
    for taken_at, returned_at in sorted(away):
        if since < taken_at and (until is None or since < until):
            yield since, taken_at if until is None else min(taken_at, until)
        since = max(since, returned_at)
    if until is None or since < until:
        yield since, until


def curve(queue: str, pid: int, values: Iterable[Value]) -> Iterator[Event]:
    """Yield how many values were in a queue, whenever that changed."""
    came, left = array("q"), array("q")
    for value in values:
        for since, until in lives(value):
            came.append(since)
            if until is not None:
                left.append(until)
    changes = heapq.merge(((moment, 1) for moment in sorted(came)), ((moment, -1) for moment in sorted(left)))
    length = 0
    for moment, at_once in itertools.groupby(changes, key=lambda change: change[0]):
        length += sum(change for _, change in at_once)
        yield {"ph": "C", "name": queue, "pid": pid, "ts": moment, "args": {"live": length}}


def arrows(queue: str, values: Iterable[Value], places: Places, numbers: Iterator[int]) -> Iterator[Event]:
    """Yield an arrow for each take of a value whose pusher and taker are drawn.

    Args:
        queue: Name of the queue.
        values: Its values.
        places: Where attempts are drawn.
        numbers: Yields the numbers of arrows.
    """
    for value in values:
        pusher = places.get(value["pushed_by"])
        for take, category in _takes(value) if pusher is not None else ():
            taker = places.get(take["taken_by"])
            if pusher is None or taker is None:
                continue
            pushed_at, taken_at = pusher.nearest(micros(value["pushed_at"])), taker.nearest(micros(take["taken_at"]))
            if pushed_at <= taken_at:
                flow = {"name": queue, "cat": category, "id": next(numbers)}
                yield {"ph": "s", **flow, **pusher.track._asdict(), "ts": pushed_at}
                yield {"ph": "f", **flow, **taker.track._asdict(), "ts": taken_at, "bp": "e"}


def _takes(value: Value) -> Iterator[tuple[Mapping[str, Any], str]]:
    yield from ((each, "given back") for each in value["returns"] if each["deliveries"] != 0)
    if value["state"] == "taken":
        yield value, "taken"


@dataclass
class _Mark:
    """What happened at one moment to values that follow each other in a queue."""

    verb: str
    track: Track
    moment: int
    about: dict[str, Any]
    first: str
    last: str
    count: int = 1

    def event(self, queue: str) -> Event:
        if self.count == 1:
            name, about = f"{self.verb} {queue}", {"value": self.first, **self.about}
        else:
            name, about = f"{self.verb} {queue} ({self.count:,})", {"first": self.first, "last": self.last}
        place = {**self.track._asdict(), "ts": self.moment}
        return {"ph": "i", "s": "t", "name": name, "cat": self.verb, **place, "args": about}


def marks(queue: str, own: Track, values: Iterable[Value], places: Places) -> Iterator[Event]:
    """Yield a mark for whatever happened to values: in the attempt that did it, or else on the track of the queue.

    Values that were pushed together have one mark: marks at one moment are drawn one below the other.
    """
    pending: dict[str, _Mark] = {}
    for value in values:
        for mark in _marks_of(value, own, places):
            last = pending.get(mark.verb)
            if last is not None and (last.track, last.moment) == (mark.track, mark.moment):
                last.last = mark.last
                last.count += 1
                continue
            if last is not None:
                yield last.event(queue)
            pending[mark.verb] = mark
    for mark in pending.values():
        yield mark.event(queue)


def _marks_of(value: Value, own: Track, places: Places) -> Iterator[_Mark]:
    def mark(verb: str, at: str, by: str | None, **about: Any) -> _Mark:
        place, moment = places.get(by), micros(at)
        track, moment = (own, moment) if place is None else (place.track, place.nearest(moment))
        return _Mark(verb, track, moment, about, value["id"], value["id"])

    about = {key: value[key] for key in ("type", "size", "state")}
    yield mark("push", value["pushed_at"], value["pushed_by"], **about)
    for each in value["returns"]:
        if each["deliveries"] == 0:
            yield mark("requeue", each["returned_at"], None, reason=each["reason"])
        else:
            yield mark("take", each["taken_at"], each["taken_by"])
            yield mark("give back", each["returned_at"], None, reason=each["reason"])
    if value["state"] == "taken":
        yield mark("take", value["taken_at"], value["taken_by"])
    elif value["state"] in _VERBS and value["ended_at"] is not None:
        yield mark(_VERBS[value["state"]], value["ended_at"], value["taken_by"])
