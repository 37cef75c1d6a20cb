"""The comparison of two sessions: what the command `diff` says."""

from __future__ import annotations

import itertools

from zrb_store.codec.differences import Difference
from zrb_store.db.engine import Database
from zrb_store.inspect import session_names
from zrb_store.inspect.diff import diff
from zrb_store.inspect.list import list_sessions
from zrb_store.json_tree import JsonValue, Lazy, whole
from zrb_store.name_pattern import NamePattern
from zrb_store.page.addresses import address_of_comparison, address_of_session
from zrb_store.page.found import Context, Elsewhere, Found, Question
from zrb_store.render.format import preview, preview_items

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
        shown = [_row(each) for each in itertools.islice(comparison.differences, _MOST)]
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


def _row(difference: Difference) -> dict[str, str | None]:
    kind = difference.kind
    return {
        "path": difference.path,
        "kind": kind,
        "a": None if kind == "only_b" else _cell(difference.a),
        "b": None if kind == "only_a" else _cell(difference.b),
    }


def _cell(part: JsonValue | Lazy[JsonValue]) -> str:
    return preview(preview_items(part) if isinstance(part, Lazy) else part)
