"""The addresses of the pages, relative to where all of them are (`root` in the templates).

The comparison of two sessions: what the command `diff` says.

The list of sessions, with the words of the command `list` in its address.

The queues of all sessions that somebody may have to look at.

The page of a session, which follows it while it runs.

How reliable the tasks are and how long they take: what the command `stats` says, with a plot of the last runs.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import PurePath
from urllib.parse import quote, urlencode

from zrb_store.codec.compare import Difference
from zrb_store.db.engine import Database
from zrb_store.errors import InvalidArgument
from zrb_store.inspect import session_names
from zrb_store.inspect.diff import diff
from zrb_store.inspect.list import HALTED, STATUSES, SessionSummary, list_sessions, summaries
from zrb_store.inspect.queues import MOST, queue_overview
from zrb_store.inspect.report import Budget, describe
from zrb_store.inspect.show import open_session
from zrb_store.inspect.stats import TaskStats, recent_runs, task_stats
from zrb_store.inspect.value import Damage
from zrb_store.names import NamePattern
from zrb_store.page.assets import SESSION_SCRIPTS
from zrb_store.page.found import Context, Elsewhere, Found, Question
from zrb_store.page.render import as_json, measure
from zrb_store.page.report import session_context
from zrb_store.queries.stats import RecentRun
from zrb_store.records import JsonObject, JsonValue, Lazy, iso, whole
from zrb_store.render.format import percent, preview, preview_items
from zrb_store.settings import parse_duration, projects_named


def address_of_session(name: str) -> str:
    """Return the address of a session's page."""
    if name.strip("."):
        return f"session/{quote(name, safe=':+')}"
    return f"session?{urlencode({'name': name})}"  # a browser would take the path `..` for the folder above


def address_of_comparison(a: str, b: str) -> str:
    """Return the address of the page that compares two sessions."""
    return f"compare?{urlencode({'a': a, 'b': b})}"


def with_words(page: str, words: Mapping[str, str | None]) -> str:
    """Return an address with words after `?`, those that are not empty."""
    query = urlencode({name: text for name, text in words.items() if text})
    return f"{page}?{query}" if query else page


_MOST = 500


def read_comparison(database: Database, question: Question) -> Found | Elsewhere:
    """Read where two sessions differ. Without two names, the page asks for them.

    Raises:
        SessionNotFound: There is no session of one of the names.
        InvalidArgument: The beginning of a name is not unique.
    """
    chosen = [text for text in question.all_given.get("session", []) if text][:2]  # the two ticked in the list
    given = [question.given.get("a", ""), question.given.get("b", "")]
    a, b = (chosen[1], chosen[0]) if len(chosen) == 2 else (given[0] or (chosen or [""])[0], given[1])
    if not (a and b):
        return Found("compare.html", {"a": a, "b": b, "differences": None})
    names = [session_names.resolve(database, text).name for text in (a, b)]
    if names != given:
        return Elsewhere(address_of_comparison(*names) + ("&format=json" if question.as_json else ""))
    with diff(database, *names) as comparison:
        if question.as_json:
            return Found(tree=whole(comparison.to_json()))
        shown = [_difference_row(each) for each in itertools.islice(comparison.differences, _MOST)]
        more = sum(1 for _ in itertools.islice(comparison.differences, 100_000))
    context = {
        "a": names[0],
        "b": names[1],
        "about": [_about(database, name) for name in names],
        "swapped": address_of_comparison(names[1], names[0]),
        "differences": shown,
        "more": more,
    }
    return Found("compare.html", context)


def _about(database: Database, name: str) -> Context:
    found = list_sessions(database, name=NamePattern(name), limit=1)
    session = found[0].session if found else None  # it may have been removed meanwhile
    return {
        "name": name,
        "address": address_of_session(name),
        "status": session and session.status,
        "task": session and session.task,
        "created_at": session and session.created_at,
    }


def _difference_row(difference: Difference) -> dict[str, str | None]:
    kind = difference.kind
    return {
        "path": difference.path,
        "kind": kind,
        "a": None if kind == "only_b" else _cell(difference.a),
        "b": None if kind == "only_a" else _cell(difference.b),
    }


def _cell(part: JsonValue | Lazy[JsonValue]) -> str:
    return preview(preview_items(part) if isinstance(part, Lazy) else part)


FILTERS = ("name", "status", "task", "project", "since")
LENGTHS = ("1h", "1d", "7d", "30d")
_LIMIT = 50
_HALTED = "halted"


def read_list(database: Database, question: Question) -> Found:
    """Read the sessions that an address asks for.

    Raises:
        InvalidArgument: The address has a status, a length of time or a limit that is none.
        SessionNotFound: The session after which the list begins is not there any more.
    """
    given = question.given
    limit = _limit(given.get("limit"))
    damage = Damage()
    with summaries(
        database,
        statuses=_statuses(given),
        name=NamePattern(given["name"]) if "name" in given else None,
        task=given.get("task"),
        projects=projects_named(given.get("project")),
        since=parse_length(given.get("since")),
        before=given.get("before"),
        limit=limit + 1,  # one more, to know whether there are older ones
        with_holders=True,
        with_dead=True,
    ) as found:
        shown = list(itertools.islice(found, limit))
        has_older = next(found, None) is not None
    if question.as_json:
        return Found(tree=[summary.to_json() for summary in shown])
    rows = [_row(summary, damage) for summary in shown]
    words = {name: text for name, text in given.items() if name in (*FILTERS, "failed", "limit")}
    filters = {name: given.get(name, "") for name in FILTERS}
    if "failed" in given:
        filters["status"] = _HALTED
    context: Context = {
        "rows": rows,
        "filters": filters,
        "statuses": STATUSES,
        "lengths": LENGTHS if filters["since"] in ("", *LENGTHS) else (*LENGTHS, filters["since"]),
        "is_restricted": any(filters.values()),
        "before": given.get("before"),
        "newest": with_words("", words),
        "older": with_words("", {**words, "before": shown[-1].session.name}) if has_older else None,
        "limit": limit if limit != _LIMIT else None,
        "damage": str(damage) if damage else None,
    }
    return Found("list.html", context)


def parse_length(text: str | None) -> timedelta | None:
    """Parse a length of time such as 26h; None for none.

    Raises:
        InvalidArgument: It is no length of time.
    """
    return None if text is None else parse_duration(text)


def _limit(text: str | None) -> int:
    if text is None:
        return _LIMIT
    if not text.isascii() or not text.isdecimal() or not 1 <= int(text[:9]) <= _MOST:
        raise InvalidArgument(f"limit={text[:40]!r} is not a number from 1 to {_MOST}")
    return int(text)


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


def _row(summary: SessionSummary, damage: Damage) -> Context:
    session, runs = summary.session, summary.runs
    damage.note_session(summary.session, summary.runs)
    owner, holders = summary.owner, summary.holders
    return {
        "name": session.name,
        "address": address_of_session(session.name),
        "project": session.project,
        "project_name": (PurePath(session.project).name or session.project) if session.project else None,
        "task": session.task,
        "status": session.status,
        "dead": summary.dead,
        "pinned": session.pinned,
        "parent": session.parent,
        "started_at": runs[0].started_at if runs else session.created_at,
        "runs": len(runs),
        "took": summary.took if session.status != "stale" else None,
        "done": summary.done,
        "tasks": summary.tasks,
        "owner": f"{owner.pid}@{owner.host}" if owner else None,
        "holder": f"{holders[0].name} ({holders[0].state})" if holders else None,
        "more_holders": max(0, len(holders) - 1),
    }


def read_queues(database: Database, question: Question) -> Found:
    """Read the queues with dead or held values, and those of sessions that have had no run."""
    overview = queue_overview(database)
    if question.as_json:
        return Found(tree=[each.to_json() for each in overview.queues])
    queues = overview.queues
    context = {
        "queues": [(each, address_of_session(each.state.session)) for each in queues],
        "dead": sum(each.state.dead for each in queues),
        "held": sum(each.held_count for each in queues),
        "live": sum(each.state.live for each in queues if each.state.status == "open"),
        "most": None if overview.are_all else MOST,
    }
    return Found("queues.html", context)


# A page that is read again and again holds fewer values than a report: it says how many are left out.
_BUDGET = replace(Budget(measure=measure), most_values=5000)


def read_session(database: Database, question: Question) -> Found | Elsewhere:
    """Read a session. A unique beginning of its name, `@last` and `@last-failed` lead to its address.

    Raises:
        InvalidArgument: The beginning is not unique.
    """
    asked = question.path.get("name") or question.given.get("name", "")
    name = session_names.resolve(database, asked).name
    if question.as_json:
        with open_session(database, name) as document:
            return Found(tree=whole(document.to_json()))
    if name != asked:
        return Elsewhere(address_of_session(name))
    described = describe(database, name, budget=_BUDGET)
    context = {**session_context(described, question.program), "scripts": SESSION_SCRIPTS}
    if described.session.status in ("running", "stale"):
        return Found("live_session.html", context)
    # A session that does not run looks the same whenever it is read.
    return Found("live_session.html", context, unless=context["json"].replace(str(iso(described.read_at)), ""))


def read_stats(database: Database, question: Question) -> Found:
    """Read the statistics of each main task.

    Raises:
        InvalidArgument: The address has a length of time that is none.
    """
    given = question.given
    task, since = given.get("task"), parse_length(given.get("since"))
    found = task_stats(database, task=task, since=since)
    if question.as_json:
        return Found(tree=[one.to_json() for one in found])
    recent = recent_runs(database, task=task, since=since)
    runs = {str(place): recent.get((one.project, one.task), []) for place, one in enumerate(found)}
    length = given.get("since", "")
    context = {
        "rows": [_statistics_row(one, len(runs[str(place)])) for place, one in enumerate(found)],
        "runs": as_json({place: list(map(_plotted, own)) for place, own in runs.items()}),
        "filters": {"task": task or "", "since": length},
        "lengths": LENGTHS if length in ("", *LENGTHS) else (*LENGTHS, length),
    }
    return Found("stats.html", context)


def _plotted(run: RecentRun) -> JsonObject:
    started_at, seconds = run.started_at / 1_000_000, max(0, run.ended_at - run.started_at) / 1_000_000
    return {"session": run.session, "outcome": run.outcome, "started_at": started_at, "seconds": seconds}


def _statistics_row(stats: TaskStats, plotted: int) -> Context:
    failure = stats.last_failure
    return {
        "task": stats.task,
        "address": with_words("", {"task": stats.task, "project": stats.project}),
        "project": stats.project,
        "project_name": (PurePath(stats.project).name or stats.project) if stats.project else None,
        "runs": stats.runs,
        "running": stats.running,
        "completed": stats.completed,
        "share": None if stats.share is None else percent(stats.share),
        "median": stats.median,
        "p95": stats.p95,
        "plotted": plotted,
        "failure": failure
        and {
            "session": failure.session,
            "address": address_of_session(failure.session),
            "outcome": failure.outcome,
            "at": failure.at,
            "text": failure.text(),
        },
    }
