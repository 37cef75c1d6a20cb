"""The list of sessions, with the words of the command `list` in its address."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from datetime import timedelta
from pathlib import PurePath

from zrb_store.db.engine import Database
from zrb_store.errors import InvalidArgument
from zrb_store.inspect.damage import Damage
from zrb_store.inspect.list import HALTED, STATUSES, SessionSummary, summaries
from zrb_store.name_pattern import NamePattern
from zrb_store.page.addresses import address_of_session, with_words
from zrb_store.page.found import Context, Found, Question
from zrb_store.project import projects_named
from zrb_store.settings import parse_duration

FILTERS = ("name", "status", "task", "project", "since")
LENGTHS = ("1h", "1d", "7d", "30d")
_LIMIT = 50
_MOST = 500
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
    summary.note_damage(damage)
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
