"""`approve`: answer what the agents of a session wait for."""

from __future__ import annotations

from collections.abc import Mapping

from zrb_store import codec
from zrb_store.db.engine import Database
from zrb_store.errors import InvalidArgument, ValueNotFound
from zrb_store.operations.values import push
from zrb_store.queries.waits import Wait, parked
from zrb_store.records import JsonValue, SessionRecord


def questions(database: Database, session: SessionRecord) -> list[Wait]:
    """Return what the agents of a session wait for, and nobody has answered yet."""
    waiting = parked(database, [session.id]) if session.status == "waiting" else []
    return [each for each in waiting if each.of_agent is not None and not each.has_value]


def answer(
    database: Database, session: SessionRecord, call: str | None, value: Mapping[str, JsonValue], *, budget: bool
) -> list[Wait]:
    """Answer the question about a call, by default the only one, or those about a budget; return what was asked."""
    asked = [each for each in questions(database, session) if (each.call is None) == budget]
    found = [each for each in asked if call in (None, each.call)]
    listed = ", ".join(f"{each.call} ({each.say})" for each in asked) or "none"
    if not found:
        what = "no budget" if budget else f"no such call: it waits for {listed}"
        raise ValueNotFound(f"session {session.name} waits for {what}")
    if len(found) > 1 and not budget:
        raise InvalidArgument(f"session {session.name} waits for several calls: name one of {listed}")
    for each in found:
        push(database, each.session, str(each.queue), codec.encode(value), None)
    return found
