"""The data of each live page: a reader for each turns a question into a template's context, or into JSON.

The pages are the list of sessions, one session, the comparison of two, queues, and statistics. An address takes the
words of the command of the same name, and is relative to where all pages are (`root` in the templates).
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from zrb_store.db.engine import Database
from zrb_store.db.rows import noted
from zrb_store.errors import InvalidArgument
from zrb_store.inspect import session_names
from zrb_store.inspect.advice import advice_on_dead_values
from zrb_store.inspect.diff import comparison, diff
from zrb_store.inspect.list import STATUSES, Conditions, count, list_sessions, summaries
from zrb_store.inspect.queues import queue_overview
from zrb_store.inspect.show import open_session
from zrb_store.local_time import Since, parse_duration
from zrb_store.names import NamePattern
from zrb_store.page.assets import SESSION_SCRIPTS
from zrb_store.page.content import ReportLimits, describe
from zrb_store.page.render import Context, address, address_of_session, as_json
from zrb_store.page.report import session_context
from zrb_store.process import projects_named
from zrb_store.queries.lease import worked_until
from zrb_store.records import HALTED, UNSUCCESSFUL, JsonObject, JsonTree, RunRecord, by_key, iso, whole
from zrb_store.render.format import counted, format_duration, preview
from zrb_store.wings import load, place_of

_FILTERS = ("name", "status", "task", "project", "since", "group")
_LENGTHS = ("1h", "1d", "7d", "30d")
_HALTED = "halted"
_ENDS = ("completed", *UNSUCCESSFUL)  # of runs
_LIMIT = 50
_MOST = 500
# Of each queue: a page that is read again and again holds fewer values than a report, unless more are asked for.
_VALUES = 5000
_MOST_VALUES = 100_000


class Question(NamedTuple):
    """What a request asks for."""

    # What follows `?`, without empty texts, of several texts of one name the last; and parts of the path with names.
    given: Mapping[str, str]
    all_given: Mapping[str, list[str]]  # every text of each name, empty ones too
    as_json: bool  # whether data is wanted rather than a page
    program: str  # what a reader types before the name of a command


@dataclass(frozen=True)
class PageContent:
    """What was found: a template with its context; or if data was asked for, what the command's JSON has."""

    template: str = ""
    context: Context = field(default_factory=dict)
    tree: JsonTree = None
    unless: str | None = None  # if it is the same as before, the page need not be drawn again; None if that is unknown
    elsewhere: str | None = None  # the address of the page that was meant


Reader = Callable[[Database, Question], PageContent]
"""Reads what a page shows."""


def read_comparison(database: Database, question: Question) -> PageContent:
    """Read where two sessions differ. Without two names, the page asks for them."""
    chosen = [text for text in question.all_given.get("session", []) if text][:2]  # the two ticked in the list
    given = [question.given.get("a", ""), question.given.get("b", "")]
    a, b = (chosen[1], chosen[0]) if len(chosen) == 2 else (given[0] or (chosen or [""])[0], given[1])
    if not (a and b):
        return PageContent("compare.html", {"a": a, "b": b, "differences": None})
    names = [session_names.resolve(database, text).name for text in (a, b)]
    if names != given:
        return PageContent(
            elsewhere=address("compare", a=names[0], b=names[1], format="json" if question.as_json else None)
        )
    first = (_number(question, "page") - 1) * _MOST
    with diff(database, *names) as differences:
        if question.as_json:
            return PageContent(tree=whole(comparison(names, differences)))
        before = sum(1 for _ in itertools.islice(differences, first))
        found = itertools.islice(differences, _MOST)
        shown = [each._replace(a=preview(each.a), b=preview(each.b)) for each in found]
        more = sum(1 for _ in itertools.islice(differences, 100_000))
    context = {
        **_pager(question, "compare", before + len(shown) + more),
        "a": names[0],
        "b": names[1],
        "about": {name: list_sessions(database, name=NamePattern(name), limit=1) for name in names},
        "swapped": address("compare", a=names[1], b=names[0]),
        "differences": shown,
    }
    return PageContent("compare.html", context)


def read_list(database: Database, question: Question) -> PageContent:
    """Read the sessions that an address asks for."""
    given = question.given
    limit = _number(question, "limit", _LIMIT, _MOST)
    chosen: Conditions = {
        "statuses": _statuses(given),
        "name": _pattern(given.get("name")),
        "task": given.get("task"),
        "projects": projects_named(given.get("project")),
        "since": parse_duration(given["since"]) if "since" in given else None,
    }
    before = given.get("before")
    more: Conditions = {**chosen, "before": before, "limit": limit + 1, "with_holders": True}
    with summaries(database, **more) as found:  # one more than is shown, to know whether there are older ones
        shown = list(itertools.islice(found, limit))
        has_older = next(found, None) is not None
    if question.as_json:
        return PageContent(tree=[summary.to_json() for summary in shown])
    words = {name: text for name, text in given.items() if name in (*_FILTERS, "failed", "limit")}
    filters = {name: given.get(name, "") for name in _FILTERS}
    if "failed" in given:
        filters["status"] = _HALTED
    by_project = by_key(shown, lambda each: each.session.project or "no project")
    context: Context = {
        "groups": list(by_project.items()) if given.get("group") == "project" else [(None, shown)],
        "total": count(database, **chosen) if has_older or before else len(shown),
        "filters": filters,
        "statuses": STATUSES,
        "lengths": _LENGTHS if filters["since"] in ("", *_LENGTHS) else (*_LENGTHS, filters["since"]),
        "is_restricted": any(filters.values()),
        "before": before,
        "newest": address("", **words),
        "older": address("", **words, before=shown[-1].session.name) if has_older else None,
        "damage": noted(),
    }
    return PageContent("list.html", context)


def _pattern(text: str | None) -> NamePattern | None:
    """Return a pattern as it is given, or of a part of a name."""
    if not text:
        return None
    return NamePattern(text if any(sign in text for sign in "*?[") else f"*{text}*")


def _number(question: Question, name: str, default: int = 1, most: int = 1_000_000) -> int:
    text = question.given.get(name, str(default))
    if len(text) > 9 or not text.isascii() or not text.isdecimal() or not 1 <= int(text) <= most:
        raise InvalidArgument(f"{name}={text[:40]!r} is not a number from 1 to {most}")
    return int(text)


def _pager(question: Question, page: str, total: int) -> Context:
    """Return how many rows there are, and the addresses of those before and after the ones that are shown."""
    number = _number(question, "page")
    back = address(page, **{**question.given, "page": str(number - 1)}) if number > 1 else None
    on = address(page, **{**question.given, "page": str(number + 1)}) if number * _MOST < total else None
    return {"total": total, "back": back, "on": on}


def _statuses(given: Mapping[str, str]) -> tuple[str, ...] | None:
    """Return the statuses that are asked for: `halted` stands for all for which `list --failed` does."""
    status = given.get("status")
    if "failed" in given or status == _HALTED:
        if status not in (None, _HALTED):
            raise InvalidArgument("failed and status exclude each other")
        return HALTED
    if status is None:
        return None
    if status not in STATUSES:
        raise InvalidArgument(f"{status[:40]!r} is not a status: use {', '.join(STATUSES)} or {_HALTED}")
    return (status,)


def read_queues(database: Database, question: Question) -> PageContent:
    """Read the queues with dead or held values, and those of sessions that have had no run."""
    pattern = _pattern(question.given.get("name"))
    queues, total = queue_overview(database, pattern, (_number(question, "page") - 1) * _MOST, _MOST)
    if question.as_json:
        return PageContent(tree=[each.to_json() for each in queues])
    context = {
        **_pager(question, "queues", total),
        "name": question.given.get("name", ""),
        "queues": queues,
        "dead": sum(each.state.dead for each in queues),
        "held": sum(each.held_count for each in queues),
        "again": advice_on_dead_values("SESSION", "QUEUE", question.program).command,
        "live": sum(each.state.live for each in queues if each.state.status == "open"),
    }
    return PageContent("queues.html", context)


def read_session(database: Database, question: Question) -> PageContent:
    """Read a session. A unique beginning of its name, `@last` and `@last-failed` lead to its address."""
    asked = question.given.get("name", "")
    name = session_names.resolve(database, asked).name
    if question.as_json:
        with open_session(database, name) as document:
            return PageContent(tree=whole(document.to_json()))
    if name != asked:
        return PageContent(elsewhere=address_of_session(name))
    most = _number(question, "values", _VALUES, _MOST_VALUES)
    described = describe(database, name, limits=ReportLimits(most_values=most))
    context = {**session_context(described, question.program), "scripts": SESSION_SCRIPTS}
    if most < _MOST_VALUES and any(each.left_out for each in described.queues):
        context["more_values"] = address("session", name=name, values=str(_MOST_VALUES))
    if described.session.status in ("running", "stale"):
        return PageContent("live_session.html", context)
    # A session that does not run looks the same whenever it is read.
    return PageContent("live_session.html", context, unless=context["json"].replace(str(iso(described.read_at)), ""))


class Figures(Protocol):
    """What reads the statistics of tasks: a module of a wing."""

    def task_stats(self, database: Database, *, task: str | None = None, since: Since | None = None) -> list[Any]:
        """Return the statistics of each main task in each project."""

    def table_of(self, found: list[Any]) -> Any:
        """Return some statistics in words."""

    def recent_runs(
        self, database: Database, *, task: str | None = None, since: Since | None = None
    ) -> Mapping[tuple[str | None, str | None], list[Any]]:
        """Return the newest runs that have ended, the oldest of them first, by project and main task."""


def read_stats(database: Database, question: Question) -> PageContent:
    """Read the statistics of each main task."""
    figures: Figures = load(str(place_of("figures")))
    given = question.given
    task, since = given.get("task"), parse_duration(given["since"]) if "since" in given else None
    found = figures.task_stats(database, task=task, since=since)
    if question.as_json:
        return PageContent(tree=[one.to_json() for one in found])
    recent = figures.recent_runs(database, task=task, since=since)
    runs = {str(place): recent.get((one.project, one.task), []) for place, one in enumerate(found)}
    length = given.get("since", "")
    context = {
        "table": figures.table_of(found),
        "told": [_told(own) for own in runs.values()],
        "runs": as_json({place: {"told": _told(own), "runs": list(map(_plotted, own))} for place, own in runs.items()}),
        "filters": {"task": task or "", "since": length},
        "lengths": _LENGTHS if length in ("", *_LENGTHS) else (*_LENGTHS, length),
    }
    return PageContent("stats.html", context)


def _length(run: RunRecord) -> int:
    return max(0, worked_until(run, None) - run.started_at)


def _told(plotted: list[Any]) -> str:
    """Say in words what the bars of a task's last runs show."""
    if not plotted:
        return "no runs lately"
    counts = Counter(one.run.status for one in plotted)
    ended = ", ".join(f"{counts[status]} {status}" for status in _ENDS if counts[status])
    longest = format_duration(max(_length(one.run) for one in plotted))
    return f"the last {counted(len(plotted), 'run')}: {ended}; the longest took {longest}"


def _plotted(one: Any) -> JsonObject:
    length = _length(one.run)
    told = f"{one.session} {one.run.status}, {format_duration(length)}"
    return {"session": one.session, "status": one.run.status, "seconds": length / 1_000_000, "told": told}
