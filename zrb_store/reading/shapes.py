"""How readers show one session, run, attempt or value: plain data that JSON holds (docs/schema). Nothing here reads."""

from __future__ import annotations

from typing import Any

from zrb_store import codec
from zrb_store.names import value_id
from zrb_store.queries.lives import Life, Owner
from zrb_store.reading.damage import Damage
from zrb_store.records import AttemptRecord, RunRecord, SessionRecord, iso


def header(session: SessionRecord, damage: Damage) -> dict[str, Any]:
    """The fields that `list --format json` shows of a session; its status must be the one that readers see."""
    damage.note(f"session {session.name}", session.damage)
    return {
        "name": session.name,
        "project": session.project,
        "status": session.status,
        "task": session.task,
        "path": session.path,
        "inputs": codec.to_json(session.inputs) if session.inputs else {},
        "created_at": iso(session.created_at),
        "finished_at": iso(session.finished_at),
        "parent": session.parent,
        "forked_from": session.forked_from,
        "pinned": session.pinned,
    }


def run_shape(run: RunRecord, session: str, damage: Damage) -> dict[str, Any]:
    """One run of a session."""
    damage.note(f"run {run.number} of session {session}", run.damage)
    return {
        "number": run.number,
        "origin": run.origin,
        "host": run.host,
        "pid": run.pid,
        "started_at": iso(run.started_at),
        "ended_at": iso(run.ended_at),
        "outcome": run.outcome,
    }


def attempt_shape(attempt: AttemptRecord, damage: Damage) -> dict[str, Any]:
    """One attempt, as `show` has it among its task's."""
    damage.note(f"attempt {attempt.session}/{attempt.name}", attempt.damage)
    return {
        "number": attempt.number,
        "run": attempt.run,
        "status": attempt.status,
        "started_at": iso(attempt.started_at),
        "ended_at": iso(attempt.ended_at),
        "error": error_shape(attempt),
    }


def error_shape(attempt: AttemptRecord) -> dict[str, Any] | None:
    """Why an attempt failed, or None."""
    if attempt.error_type is None and attempt.error_message is None:
        return None
    return {"type": attempt.error_type, "message": attempt.error_message}


def value_shape(life: Life, session: str, queue: str, damage: Damage) -> dict[str, Any]:
    """One value with all that happened to it."""
    value = life.value
    name = value_id(session, queue, value.seq)
    if value.damage:
        damage.note(f"value {name}", value.damage)
    shaped = {
        "id": name,
        "seq": value.seq,
        "state": value.state,
        "type": value.type,
        "size": value.size,
        "value": codec.to_json(value.data),
        "pushed_at": iso(value.pushed_at),
        "pushed_by": _owner_name(life.pusher, session),
        "taken_at": iso(value.ended_at) if value.state in ("taken", "removed") else None,
        "taken_by": _owner_name(life.taker, session),
        "moved_from": value.moved_from,
        "orphaned": value.orphaned,
        "returns": [],
    }
    for back in life.returns:
        damage.note(f"a return of {name}", back.record.damage)
        shaped["returns"].append(
            {
                "taken_by": _owner_name(back.taker, session),
                "taken_at": iso(back.record.taken_at),
                "returned_at": iso(back.record.returned_at),
                "reason": back.record.reason,
            }
        )
    return shaped


def _owner_name(owner: Owner | None, session: str) -> str | None:
    """`load#1` for an attempt of this session, `SESSION/load#1` for another's, None for none."""
    if owner is None:
        return None
    if owner.session == session:
        return f"{owner.task}#{owner.number}"
    return value_id(owner.session, owner.task, owner.number)
