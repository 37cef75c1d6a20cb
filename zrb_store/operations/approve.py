"""`approve`: answer what the agents of a session wait for."""

from __future__ import annotations

from collections.abc import Sequence

from zrb_store import codec
from zrb_store.db.engine import Database
from zrb_store.errors import InvalidArgument, ValueNotFound
from zrb_store.names import nearest
from zrb_store.operations.values import push
from zrb_store.queries.waits import Wait, parked
from zrb_store.records import SessionRecord


def questions(database: Database, session: SessionRecord) -> list[Wait]:
    """Return what the agents of a session wait for, and nobody has answered yet."""
    waiting = parked(database, [session.id]) if session.status == "waiting" else []
    return [each for each in waiting if each.of_agent is not None and not each.has_value]


def answer_call(database: Database, session: SessionRecord, call: str | None, denial: str | None) -> Wait:
    """Approve a call that waits, by default the only one, or deny it with a reason; return what it waited for."""
    found = [each for each in questions(database, session) if each.call is not None]
    if call is None and len(found) > 1:
        raise InvalidArgument(f"session {session.name} waits for several calls: name one of {_listed(found)}")
    asked = next((each for each in found if call in (None, each.call)), None)
    if asked is None:
        hint = nearest(call, [str(each.call) for each in found]) if call else ""
        raise ValueNotFound(
            f"session {session.name} waits for no such call{hint or ': it waits for ' + _listed(found)}"
        )
    _push(database, asked, {"kind": "approved"} if denial is None else {"kind": "denied", "reason": denial})
    return asked


def raise_budget(database: Database, session: SessionRecord, tokens: int) -> list[Wait]:
    """Give the tasks that wait for a larger budget one; return what they waited for."""
    found = [each for each in questions(database, session) if each.call is None]
    if not found:
        raise ValueNotFound(f"session {session.name} waits for no budget")
    for each in found:
        _push(database, each, {"tokens": tokens})
    return found


def _push(database: Database, asked: Wait, answer: dict[str, object]) -> None:
    push(database, asked.session, str(asked.queue), codec.encode(answer), None)


def _listed(found: Sequence[Wait]) -> str:
    return ", ".join(f"{each.call} ({each.say})" for each in found) or "none"
