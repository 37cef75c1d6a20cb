"""The report: the page of a session as one file that needs no network.

Live pages show a session by the same context. Its data flow and events as text are what is shown without JavaScript.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from operator import attrgetter
from typing import NamedTuple

from markupsafe import Markup

from zrb_store.db.engine import Database
from zrb_store.inspect.redact import redacted
from zrb_store.inspect.report import Budget, Plan, Report, describe
from zrb_store.inspect.value import Replaced, Value
from zrb_store.page.assets import GRAPHER, PLOTTER, SESSION_SCRIPTS, inlined
from zrb_store.page.render import MOST_ATTEMPTS, MOST_ROWS, Context, as_json, environment, measure, packed, queues, rows
from zrb_store.records import AttemptRecord, Damage, JsonObject, JsonValue
from zrb_store.render.format import counted, error_summary, preview, process, pusher, taker
from zrb_store.render.stderr import zrb_program

_MOST_EVENTS = 200  # that the text lists: the last ones
_MOST_FLOWS = 300  # queues that the table has: the first ones
_MOST_HAPPENINGS = 2000  # what happened to single values; an event may have many
_MOST_PARTIES = 12  # who pushed to one queue, or took from it
_MOST_NAMED = 3  # values of an event
_CONTENT = 40  # characters of a value
_OUTSIDE = "outside any task"
_SOMEBODY = "somebody outside any task"
_MOST_BYTES = 5_000_000  # of a report


def report(
    database: Database, name: str, program: str, plan: Plan | None, damage: Damage, *, redact: bool = False
) -> bytes:
    """Return the report of a session, an HTML file, which says what a resume would do if a plan is given."""
    budget = Budget(measure=measure)
    while True:
        described = replace(describe(database, name, budget=budget, damage=damage), plan=plan)
        page = _page(redacted(described) if redact else described, program, redact).encode()
        if len(page) <= _MOST_BYTES or budget.values == 1:
            return page
        budget = budget.part(0.95 * _MOST_BYTES / len(page))


def _page(described: Report, program: str, is_redacted: bool) -> str:
    needed = {
        PLOTTER: any(_may_be_plotted(value.content) for each in described.queues for value in each.queue.values),
        GRAPHER: bool(described.queues),
    }
    assets = inlined(tuple(name for name in SESSION_SCRIPTS if needed.get(name, True)))
    context = {
        **session_context(described, program),
        "is_redacted": is_redacted,
        "policy": assets.policy,
        "style": Markup(assets.style),
        "scripts": [Markup(text) for text in assets.scripts],
    }
    return environment().get_template("report.html").render(context)


def _may_be_plotted(tree: JsonValue) -> bool:
    """Whether a value begins like a list of numbers."""
    items = tree.get("v") if type(tree) is dict else tree
    if type(items) is not list or len(items) < 2:
        return False
    first = items[0].get("$") if type(items[0]) is dict else items[0]
    return type(first) in (int, float) or first in ("Decimal", "int", "float")


def session_context(described: Report, program: str) -> Context:
    """Return what the templates of a session's page are given."""
    description: JsonObject = {"program": program, **described.to_json(_with_numbers)}
    text = as_json(description)
    return {
        "session": described.session,
        "report": described,
        "is_redacted": False,
        "program": program,
        "zrb_program": zrb_program(program),
        "rows": rows(described),
        "queues": queues(described),
        "flow": flow(described),
        "events": events(described),
        "most_rows": MOST_ROWS,
        "most_attempts": MOST_ATTEMPTS,
        "json": text,
        "description": packed(text),
    }


def _with_numbers(value: Value) -> JsonObject:
    """Return a value with its times in microseconds: reading 100,000 as texts takes a browser long."""
    return {
        **value.to_json(),
        "pushed_at": value.record.pushed_at,
        "taken_at": value.taken_at,
        "ended_at": value.record.ended_at,
        "undone_at": None if value.undone is None else value.undone.at,
    }


class Flow(NamedTuple):
    """A queue with those who pushed to it and took from it, each as a text with a count."""

    queue: str
    pushed: list[str]
    taken: list[str]
    given_back: list[str]
    state: str


def flow(report: Report) -> list[Flow]:
    """Return the queues of a session with who pushed to them and who took from them, by task."""
    found = []
    for queue, _ in report.queues[:_MOST_FLOWS]:
        pushed: Counter[str] = Counter()
        taken: Counter[str] = Counter()
        back: Counter[str] = Counter()
        states: Counter[str] = Counter()
        for value in queue.values:
            pushed[_task(value.pushed_by)] += 1
            states[value.record.state] += 1
            if value.record.state in ("taken", "removed"):
                taken[_task(value.taken_by)] += 1
            back.update(_task(each.taken_by) for each in value.returns if not each.ended_death)
        state = ", ".join(f"{count:,} {state}" for state, count in states.most_common())
        found.append(Flow(queue.name, _parties(pushed), _parties(taken), _parties(back), state))
    return found


def _task(attempt: str | None) -> str:
    return _OUTSIDE if attempt is None else attempt.rpartition("#")[0]


def _parties(counts: Counter[str]) -> list[str]:
    parties = [f"{name} ({count:,})" for name, count in counts.most_common(_MOST_PARTIES)]
    left_out = len(counts) - len(parties)
    return [*parties, f"and {left_out:,} more"] if left_out else parties


class Event(NamedTuple):
    """What happened at one time, in microseconds."""

    at: int
    text: str


class Events(NamedTuple):
    """The last events of a session, the oldest first."""

    items: list[Event]
    left_out: bool  # whether there are earlier ones


def events(report: Report) -> Events:
    """Return what happened to the values and attempts of a session, the last of it."""
    last = sorted(heapq.nlargest(_MOST_HAPPENINGS, _all(report), key=_order), key=_order)
    groups: dict[tuple[int, str, str, str], list[str]] = {}
    for each in last:
        text = "" if each.value is None else _short(each.value)
        groups.setdefault((each.at, each.subject, each.verb, each.place), []).append(text)
    items = [
        Event(at, _sentence(subject, verb, place, values)) for (at, subject, verb, place), values in groups.items()
    ]
    return Events(items[-_MOST_EVENTS:], len(items) > _MOST_EVENTS or len(last) == _MOST_HAPPENINGS)


class _Happening(NamedTuple):
    """What happened to one attempt or value."""

    at: int  # microseconds
    rank: int  # its place among what happened at that time
    subject: str  # who did it
    verb: str
    place: str = ""  # the queue, with a preposition
    value: Value | None = None


_order = attrgetter("at", "rank")


def _sentence(subject: str, verb: str, place: str, values: list[str]) -> str:
    named = [value for value in values if value]
    names = ", ".join(named) if len(named) <= _MOST_NAMED else counted(len(named), "value")
    return " ".join(part for part in (subject, verb, names, place) if part)


def _all(report: Report) -> Iterator[_Happening]:
    for shown in report.runs:
        run, name = shown.record, f"run {shown.record.number}"
        yield _Happening(run.started_at, 0, name, "began")
        if run.ended_at is not None:
            yield _Happening(run.ended_at, 9, name, f"ended: {run.status}")
    for task, _, _ in report.tasks:
        yield from _of_attempts(task.name, (attempt for attempt, _ in task.attempts))
        for step in task.steps:
            yield from _of_attempts(f"step {step.name}, {step.id}", step.attempts)
    for queue, _ in report.queues:
        for value in queue.values:
            yield from _of_value(queue.name, value)


def _of_attempts(name: str, attempts: Iterable[AttemptRecord]) -> Iterator[_Happening]:
    for attempt in attempts:
        subject = f"{name}#{attempt.number}"
        yield _Happening(attempt.started_at, 8, subject, "began")
        if attempt.ended_at is not None:
            error = f" ({error_summary(attempt.error)})" if attempt.error else ""
            yield _Happening(attempt.ended_at, 1, subject, f"{attempt.status}{error}")


def _of_value(queue: str, value: Value) -> Iterator[_Happening]:
    record = value.record
    verb, place = ("pushed", f"to {queue}") if record.moved_from is None else ("moved", f"within {queue}")
    yield _Happening(record.pushed_at, 4, pusher(value) or _SOMEBODY, verb, place, value)
    for each in value.past:
        if isinstance(each, Replaced):
            by = process(each.by) if each.by else _SOMEBODY
            yield _Happening(each.record.replaced_at, 2, by, "replaced", f"in {queue}", value)
            continue
        row, holder = each.record, each.taken_by or "a deleted attempt"
        if each.ended_death:
            yield _Happening(row.returned_at, 2, f"{row.reason}:", "", f"in {queue}", value)
            continue
        yield _Happening(row.taken_at, 5, holder, "took", f"from {queue}", value)
        yield _Happening(row.returned_at, 2, holder, f"gave back ({row.reason})", f"to {queue}", value)
    if record.ended_at is None:  # live, or the time is damaged
        return
    if record.state in ("taken", "removed"):
        by = taker(value) or _SOMEBODY
        verb = "took" if record.state == "taken" else value.outcome
        yield _Happening(record.ended_at, 5, by, verb, f"from {queue}", value)
    elif record.state in ("retracted", "dead"):
        words = f"retracted from {queue}:" if record.state == "retracted" else f"dead in {queue}:"
        yield _Happening(record.ended_at, 3, words, "", "", value)


def _short(value: Value) -> str:
    text = preview(value.content) if value.beginning is None else value.beginning
    return text if len(text) <= _CONTENT else f"{text[: _CONTENT - 1]}…"
