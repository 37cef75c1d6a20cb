"""The shapes in which readers see a session, run, attempt or value: plain data that JSON can hold (docs/schema).

Nothing here reads from the store.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from zrb_store import codec
from zrb_store.inspect.damage import Damage
from zrb_store.names import full_name
from zrb_store.queries.changes import Change
from zrb_store.queries.output import StoredOutput
from zrb_store.queries.value_history import AttemptName, ValueHistory
from zrb_store.records import AttemptRecord, RunRecord, SessionRecord, iso
from zrb_store.safe_text import mask_named


def header(session: SessionRecord, damage: Damage) -> dict[str, Any]:
    """Return the fields of a session that `list --format json` shows.

    Args:
        session: Its record, with the status that readers see.
        damage: Collects damaged columns.
    """
    damage.note(f"session {session.name}", session.damage)
    return {
        "name": session.name,
        "project": session.project,
        "status": session.status,
        "task": session.task,
        "path": session.path,
        "inputs": mask_named(codec.to_json(session.inputs)) if session.inputs else {},
        "created_at": iso(session.created_at),
        "finished_at": iso(session.finished_at),
        "parent": session.parent,
        "forked_from": session.forked_from,
        "pinned": session.pinned,
    }


def run_shape(run: RunRecord, session: str, damage: Damage) -> dict[str, Any]:
    """Return the shape of one run of a session."""
    damage.note(f"run {run.number} of session {session}", run.damage)
    return {
        "number": run.number,
        "origin": run.origin,
        "host": run.host,
        "pid": run.pid,
        "started_at": iso(run.started_at),
        "ended_at": iso(run.ended_at),
        "outcome": run.outcome,
        "error": error_shape(run),
    }


def attempt_shape(attempt: AttemptRecord, output: StoredOutput | None, damage: Damage) -> dict[str, Any]:
    """Return the shape that `show` gives to one attempt.

    Args:
        attempt: The attempt.
        output: How much it printed; None for nothing.
        damage: Collects damaged columns.
    """
    damage.note(f"attempt {attempt.session}/{attempt.name}", attempt.damage)
    return {
        "number": attempt.number,
        "run": attempt.run,
        "status": attempt.status,
        "started_at": iso(attempt.started_at),
        "ended_at": iso(attempt.ended_at),
        "error": error_shape(attempt),
        "output": None if output is None else output._asdict(),
    }


def step_shape(attempts: Sequence[AttemptRecord], status: str, result: str | None, damage: Damage) -> dict[str, Any]:
    """Return the shape that `show` gives to one step of a task.

    Args:
        attempts: Its attempts, the first one first.
        status: Its status.
        result: The encoded result of its last attempt, or None.
        damage: Collects damaged columns.
    """
    last = attempts[-1]
    return {
        "id": last.task,
        "name": last.step or last.task,
        "status": status,
        "restorable": last.restorable,
        "once": last.once,
        "attempts": [attempt_shape(attempt, None, damage) for attempt in attempts],  # steps have no output
        "result": codec.to_json(result) if result is not None and last.stands else None,
    }


def error_shape(ended: AttemptRecord | RunRecord) -> dict[str, Any] | None:
    """Return the error that ended an attempt, or a run outside of its attempts, or None."""
    return _error_shape(ended.error_type, ended.error_message)


def _error_shape(type_: str | None, message: str | None) -> dict[str, Any] | None:
    return None if type_ is None and message is None else {"type": type_, "message": message}


def value_shape(history: ValueHistory, session: str, queue: str, damage: Damage) -> dict[str, Any]:
    """Return the shape of one value with everything that happened to it."""
    value = history.value
    name = full_name(session, queue, value.seq)
    if value.damage:
        damage.note(f"value {name}", value.damage)
    shape = {
        "id": name,
        "seq": value.seq,
        "state": value.state,
        "type": value.type,
        "size": value.size,
        "value": codec.to_json(value.data),
        "pushed_at": iso(value.pushed_at),
        "pushed_by": _owner_name(history.pusher, session),
        "pushed_from": process_shape(history.pushed_from),
        "taken_at": iso(value.ended_at) if value.state in ("taken", "removed") else None,
        "taken_by": _owner_name(history.taker, session),
        "popped_by": process_shape(history.popper),
        "moved_from": value.moved_from,
        "orphaned": value.orphaned,
        "deliveries": value.deliveries,
        "returns": [],
    }
    for each in history.returns:
        damage.note(f"a return of {name}", each.record.damage)
        shape["returns"].append(
            {
                "taken_by": _owner_name(each.taker, session),
                "taken_at": iso(each.record.taken_at),
                "returned_at": iso(each.record.returned_at),
                "reason": each.record.reason,
                "deliveries": each.record.deliveries,
                "error": _error_shape(*each.error),
            }
        )
    return shape


def process_shape(change: Change | None) -> dict[str, Any] | None:
    """Return the user, host and pid of what somebody did by hand."""
    return None if change is None else {"user": change.user, "host": change.host, "pid": change.pid}


def _owner_name(owner: AttemptName | None, session: str) -> str | None:
    """Return `load#1` for an attempt of this session, `SESSION/load#1` for another session's, and None for none."""
    if owner is None:
        return None
    if owner.session == session:
        return f"{owner.task}#{owner.number}"
    return full_name(owner.session, owner.task, owner.number)
