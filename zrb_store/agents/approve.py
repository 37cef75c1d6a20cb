"""`approve`: answer what the agents of a session wait for."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping

from zrb_store import codec
from zrb_store.agents.kinds import APPROVAL, BUDGET, MODEL_REQUEST
from zrb_store.agents.notes import Spent, answer_cost, as_object, decisions
from zrb_store.agents.queries import decided, paid_since
from zrb_store.agents.settings import Limits
from zrb_store.agents.step import AgentStep
from zrb_store.db.engine import Database
from zrb_store.errors import InvalidArgument, ValueNotFound
from zrb_store.operations.values import push
from zrb_store.queries.waits import Wait, parked
from zrb_store.records import JsonValue, SessionRecord, to_datetime


def call_of(wait: Wait) -> str | None:
    """Return the id of the call that an agent may not make without an approval."""
    return AgentStep.of(wait).call if wait.kind == APPROVAL else None


def answer_to(wait: Wait) -> str:
    """Return the command that answers what an agent waits for, without the program."""
    if wait.kind == BUDGET:
        return f"approve {shlex.quote(wait.session)} --budget {_unit(wait)}=N"
    return f"approve {shlex.join([wait.session, str(call_of(wait))])}"


def _unit(wait: Wait) -> str:
    """Return what a larger budget must name: `tokens` or `usd`."""
    return str(json.loads(wait.attributes or "{}").get("unit", "tokens"))


def questions(database: Database, session: SessionRecord) -> list[Wait]:
    """Return what the agents of a session wait for, and nobody has answered yet."""
    return [each for each in _asked(database, session) if not each.has_value]


def _asked(database: Database, session: SessionRecord) -> list[Wait]:
    waiting = parked(database, [session.id]) if session.status == "waiting" else []
    return [each for each in waiting if each.kind in (APPROVAL, BUDGET)]


def answer(
    database: Database, session: SessionRecord, call: str | None, value: Mapping[str, JsonValue], *, budget: bool
) -> list[Wait]:
    """Answer the question about a call, by default the only one, or those about a budget; return what was asked."""
    waiting = _asked(database, session)
    asked = [each for each in waiting if (each.kind == BUDGET) == budget and not each.has_value]
    found = [each for each in asked if call in (None, call_of(each))]
    listed = ", ".join(f"{call_of(each)} ({each.say})" for each in asked)
    if not found:
        what = "an answer about a budget" if budget else f"an approval{f' of {call}' if call else ''}"
        others = next((f"use `{each.answer}`" for each in waiting if not each.has_value), "")
        others = f"it waits for {listed}" if listed else others
        others = "; ".join(filter(None, (None if budget else _answered(database, session, call), others)))
        raise ValueNotFound(f"session {session.name} does not wait for {what}" + (f": {others}" if others else ""))
    if len(found) > 1 and not budget:
        raise InvalidArgument(f"session {session.name} waits for several calls: name one of {listed}")
    if budget:
        paid = [answer for _, kind, answer in paid_since(database, session.name, 0) if kind == MODEL_REQUEST]
        spent = sum((answer_cost(codec.to_json(answer or "null")) for answer in paid), Spent())
        if used := Limits.of(dict(value)).used_up(spent):
            raise InvalidArgument(f"session {session.name} needs a larger budget: {used.why}")
        if lacking := {*map(_unit, found)} - value.keys():
            raise InvalidArgument(f"session {session.name} needs a larger budget in {', '.join(sorted(lacking))}")
    for each in found:
        push(database, each.session, str(each.queue), codec.encode(value), None)
    return found


def _answered(database: Database, session: SessionRecord, call: str | None) -> str | None:
    """Say how and when it was decided about a call, by default about the last one; None if it was not."""
    for each in decided(database, session.id):
        own = AgentStep.of(each)
        if call in (None, own.call):
            verdict = decisions(own, as_object(codec.to_json(each.answer))).get(own.call, "answered")
            return f"{own.call} was {verdict} at {to_datetime(each.moment).astimezone():%Y-%m-%d %H:%M:%S}"
    return None
