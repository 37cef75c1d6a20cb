"""What the rows themselves show."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from zrb_store.db.engine import Database
from zrb_store.names import is_session_name
from zrb_store.operations.doctor.finding import Finding
from zrb_store.queries.invariants import INVARIANTS, SHOWN, documents, violations

_KINDS = {"path": list, "tasks": dict, "command": list}


def examine(database: Database) -> Iterator[Finding]:
    """Check every invariant of the rows."""
    for noun, invariants in INVARIANTS.items():
        for invariant in invariants:
            if invariant.dialect in (None, database.dialect_name):
                count, first = violations(database, invariant)
                if count:
                    what = _say(noun, invariant.wrong, count, [_label(row) for row in first])
                    yield Finding(invariant.level, invariant.name, what, invariant.remedy)
    yield from _documents(database)


def _documents(database: Database) -> Iterator[Finding]:
    """Names that cannot be given, and JSON that readers cannot read."""
    names, damaged = [], []
    for name, *texts in documents(database):
        if not is_session_name(name) and name not in names:
            names.append(name)
        if name not in damaged and not all(map(_is_readable, texts, _KINDS.values())):
            damaged.append(name)
    if names:
        what = _say("session", "have a name that no session can have", len(names), names)
        yield Finding("error", "session-name", what, "delete them with SQL, since no command takes such a name")
    if damaged:
        what = _say("session", "have a path, tasks or a command line that is damaged", len(damaged), damaged)
        yield Finding("error", "session-text", what, "restore a backup")


def _is_readable(text: str | None, kind: type) -> bool:
    try:
        return text is None or isinstance(json.loads(text), kind)
    except (ValueError, RecursionError):
        return False


def _label(row: tuple[Any, ...]) -> str:
    return row[0] if len(row) == 1 else f"{row[0]}/{row[1]}#{row[2]}"


def _say(noun: str, wrong: str, count: int, labels: list[str]) -> str:
    more = ", ..." if count > SHOWN else ""
    return f"{noun}s that {wrong}: {count} ({', '.join(labels[:SHOWN])}{more})"
