"""The data flow and the moments of a session as text: what the page shows without JavaScript."""

from __future__ import annotations

import heapq
import itertools
from collections import Counter
from collections.abc import Iterator
from operator import attrgetter
from typing import Any, NamedTuple

from zrb_store.render.format import counted, error_summary, preview, pusher, taker

MOST_EVENTS = 200
"""How many events the text lists: the last ones."""
MOST_QUEUES = 300
"""How many queues the table has: the first ones."""
_MOST_HAPPENINGS = 2000  # what happened to single values; an event may have many
_MOST_PARTIES = 12  # who pushed to one queue, or took from it
_MOST_NAMED = 3  # values of an event
_CONTENT = 40  # characters of a value
_OUTSIDE = "outside any task"
_SOMEBODY = "somebody outside any task"


class Flow(NamedTuple):
    """A queue with those who pushed to it and took from it, each as a text with a count."""

    queue: str
    pushed: list[str]
    taken: list[str]
    given_back: list[str]
    state: str


def flow(described: dict[str, Any]) -> list[Flow]:
    """Return the queues of a session with who pushed to them and who took from them, by task."""
    found = []
    for name, queue in itertools.islice(described["queues"].items(), MOST_QUEUES):
        pushed: Counter[str] = Counter()
        taken: Counter[str] = Counter()
        back: Counter[str] = Counter()
        states: Counter[str] = Counter()
        for value in queue["values"]:
            pushed[_task(value["pushed_by"])] += 1
            states[value["state"]] += 1
            if value["state"] in ("taken", "removed"):
                taken[_task(value["taken_by"])] += 1
            back.update(_task(each["taken_by"]) for each in value["returns"] if each["deliveries"] != 0)
        state = ", ".join(f"{count:,} {state}" for state, count in states.most_common())
        found.append(Flow(name, _parties(pushed), _parties(taken), _parties(back), state))
    return found


def _task(attempt: str | None) -> str:
    return _OUTSIDE if attempt is None else attempt.rpartition("#")[0]


def _parties(counts: Counter[str]) -> list[str]:
    parties = [f"{name} ({count:,})" for name, count in counts.most_common(_MOST_PARTIES)]
    left_out = len(counts) - len(parties)
    return [*parties, f"and {left_out:,} more"] if left_out else parties


class Event(NamedTuple):
    """What happened at one time."""

    at: str
    text: str


class Events(NamedTuple):
    """The last events of a session.

    Attributes:
        items: The events, the oldest first.
        left_out: Whether there are earlier ones.
    """

    items: list[Event]
    left_out: bool


def events(described: dict[str, Any]) -> Events:
    """Return what happened to the values and attempts of a session, the last of it."""
    dated = (each for each in _all(described) if each.at is not None)  # a damaged time is told elsewhere
    last = sorted(heapq.nlargest(_MOST_HAPPENINGS, dated, key=_order), key=_order)
    groups: dict[tuple[str, str, str, str], list[str]] = {}
    for each in last:
        text = "" if each.value is None else _short(each.value)
        groups.setdefault((str(each.at), each.subject, each.verb, each.place), []).append(text)
    items = [
        Event(at, _sentence(subject, verb, place, values)) for (at, subject, verb, place), values in groups.items()
    ]
    return Events(items[-MOST_EVENTS:], len(items) > MOST_EVENTS or len(last) == _MOST_HAPPENINGS)


class _Happening(NamedTuple):
    """What happened to one attempt or value.

    Attributes:
        at: When; None if the stored time is damaged.
        rank: Its place among what happened at that time.
        subject: Who did it.
        verb: What was done.
        place: The queue, with a preposition.
        value: The shape of the value.
    """

    at: str | None
    rank: int
    subject: str
    verb: str
    place: str = ""
    value: dict[str, Any] | None = None


_order = attrgetter("at", "rank")


def _sentence(subject: str, verb: str, place: str, values: list[str]) -> str:
    named = [value for value in values if value]
    names = ", ".join(named) if len(named) <= _MOST_NAMED else counted(len(named), "value")
    return " ".join(part for part in (subject, verb, names, place) if part)


def _all(described: dict[str, Any]) -> Iterator[_Happening]:
    for run in described["runs"]:
        name = f"run {run['number']}"
        yield _Happening(run["started_at"], 0, name, "began")
        if run["ended_at"]:
            yield _Happening(run["ended_at"], 9, name, f"ended: {run['outcome']}")
    for task in described["tasks"]:
        yield from _of_attempts(task["task"], task["attempts"])
        for step in task.get("steps", ()):
            yield from _of_attempts(f"step {step['name']}, {step['id']}", step["attempts"])
    for name, queue in described["queues"].items():
        for value in queue["values"]:
            yield from _of_value(name, value)


def _of_attempts(name: str, attempts: list[dict[str, Any]]) -> Iterator[_Happening]:
    for attempt in attempts:
        subject = f"{name}#{attempt['number']}"
        yield _Happening(attempt["started_at"], 8, subject, "began")
        if attempt["ended_at"]:
            error = f" ({error_summary(attempt['error'])})" if attempt["error"] else ""
            yield _Happening(attempt["ended_at"], 1, subject, f"{attempt['status']}{error}")


def _of_value(queue: str, value: dict[str, Any]) -> Iterator[_Happening]:
    verb, place = ("pushed", f"to {queue}") if value["moved_from"] is None else ("moved", f"within {queue}")
    yield _Happening(value["pushed_at"], 4, pusher(value) or _SOMEBODY, verb, place, value)
    for each in value["returns"]:
        holder = each["taken_by"] or "a deleted attempt"
        if each["deliveries"] == 0:
            yield _Happening(each["returned_at"], 2, f"{each['reason']}:", "", f"in {queue}", value)
            continue
        yield _Happening(each["taken_at"], 5, holder, "took", f"from {queue}", value)
        yield _Happening(each["returned_at"], 2, holder, f"gave back ({each['reason']})", f"to {queue}", value)
    if value["state"] in ("taken", "removed"):
        by = taker(value) or _SOMEBODY
        verb = "took" if value["state"] == "taken" else "removed"
        yield _Happening(value["taken_at"], 5, by, verb, f"from {queue}", value)
    elif value["state"] in ("retracted", "dead") and value["ended_at"]:
        words = f"retracted from {queue}:" if value["state"] == "retracted" else f"dead in {queue}:"
        yield _Happening(value["ended_at"], 3, words, "", "", value)


def _short(value: dict[str, Any]) -> str:
    text = value["beginning"] if "beginning" in value else preview(value["value"])
    return text if len(text) <= _CONTENT else f"{text[: _CONTENT - 1]}…"
