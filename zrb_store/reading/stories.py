"""Longer looks back, as plain data: the log of a session, the life of a value, the differences of two sessions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from zrb_store import codec
from zrb_store.codec.shown import key_step
from zrb_store.errors import TaskNotFound, ValueNotFound
from zrb_store.names import nearest, value_id
from zrb_store.queries import attempts, forks, history
from zrb_store.reading.history import Story, error_shape, run_shape
from zrb_store.reading.paths import differences
from zrb_store.reading.results import told
from zrb_store.records import RunRecord, SessionRecord, ValueRecord, iso

if TYPE_CHECKING:
    from zrb_store.db.transaction import Transaction
    from zrb_store.store import Store


def log(store: Store, name: str, task: str | None = None) -> dict[str, Any]:
    """How each run of a session was started, what became of each attempt, and what was done by hand.

    Raises:
        SessionNotFound: There is no such session.
        TaskNotFound: No task of this name was tried.
    """
    with store.database.snapshot() as transaction:
        story = Story.read(transaction, name)
        tracebacks = {one.id: one.error_traceback for one in attempts.of_session(transaction, story.session.id)}
        by_hand = history.changes(transaction, name)
    tried = {one.task for one in story.attempts}
    if task is not None and task not in tried:
        raise TaskNotFound(f"session {name} has no attempt of task {task!r}{nearest(task, tried)}")
    shown = [one for one in story.attempts if task in (None, one.task)]
    return {
        "name": name,
        "status": story.session.status,
        "runs": [_run(one) for one in story.runs],
        "attempts": [
            {
                "attempt": one.name,
                "run": one.run,
                "role": one.role,
                "status": one.status,
                "started_at": iso(one.started_at),
                "ended_at": iso(one.ended_at),
                "given_back_at": iso(one.given_back_at),
                "error": {**error, "traceback": tracebacks.get(one.id)} if (error := error_shape(one)) else None,
            }
            for one in shown
        ],
        "changes": [{**one._asdict(), "at": iso(one.at)} for one in by_hand],
    }


def _run(one: RunRecord) -> dict[str, Any]:
    return {
        **run_shape(one),
        "user": one.user,
        "command": one.command,
        "folder": one.folder,
        "python_version": one.python_version,
        "zrb_version": one.zrb_version,
    }


def trace(store: Store, session: str, queue: str, seq: int) -> dict[str, Any]:
    """The life of one value: the value, what happened to it in order, and the values that it came from and went on as.

    A copy that `fork` made has the life of its original until then.

    Raises:
        SessionNotFound: There is no such session.
        ValueNotFound: There is no such value.
    """
    with store.database.snapshot() as transaction:
        story = Story.read(transaction, session)
        queue_id = next((one for one, name in story.queues.items() if name == queue), None)
        if queue_id is None:
            raise ValueNotFound(f"session {session} has no queue {queue!r}{nearest(queue, story.queues.values())}")
        found = history.value_at(transaction, queue_id, seq)
        if found is None:
            raise ValueNotFound(f"there is no value {value_id(session, queue, seq)}")
        value = told(transaction, story.session, queue, found)
        events = _events(transaction, found, value)
        for copy in history.copies(transaction, queue_id, seq):
            shaped = told(transaction, story.session, queue, copy)
            events.append(_event("moved", shaped["pushed_at"], shaped["pushed_by"], to=shaped["id"]))
        events += _copied(transaction, story.session, queue, found)
    # Stable: of changes within one microsecond the order is theirs.
    return {"value": value, "events": sorted(events, key=lambda event: str(event["at"]))}


def _event(
    what: str, at: str | None, by: str | None, *, reason: str | None = None, to: str | None = None
) -> dict[str, Any]:
    return {"at": at, "event": what, "by": by, "reason": reason, "value": to}


def _events(transaction: Transaction, row: ValueRecord, value: dict[str, Any]) -> list[dict[str, Any]]:
    origin = None if row.moved_from is None else value["id"].rpartition("#")[0] + f"#{row.moved_from}"
    events = [_event("pushed", value["pushed_at"], value["pushed_by"], to=origin)]
    for back in value["returns"]:
        events.append(_event("taken", back["taken_at"], back["taken_by"]))
        events.append(_event("given back", back["returned_at"], back["taken_by"], reason=back["reason"]))
    pusher = None if row.pushed_by is None else attempts.by_id(transaction, row.pushed_by)
    if row.state in ("taken", "removed"):
        events.append(_event(row.state, value["taken_at"], value["taken_by"]))
    if pusher is not None and pusher.given_back_at is not None and row.state != "live":
        at = iso(row.ended_at) if row.state == "retracted" else iso(pusher.given_back_at)
        what = "retracted" if row.state == "retracted" else "orphaned"
        events.append(_event(what, at, value["pushed_by"], reason=f"{value['pushed_by']} was given back"))
    return events


def _copied(transaction: Transaction, session: SessionRecord, queue: str, row: ValueRecord) -> Iterator[dict[str, Any]]:
    """From where, and to which sessions, `fork` copied a value."""
    source, place = session.forked_from, (queue, row.seq, row.pushed_at)
    if source is not None and row.pushed_at < session.created_at:
        gone = None if forks.has_original(transaction, source, *place) else "removed since"
        yield _event("copied from", iso(session.created_at), None, reason=gone, to=value_id(source, queue, row.seq))
    for copy in forks.copies(transaction, session.name, *place):
        yield _event("copied to", iso(copy.at), None, to=value_id(copy.session, queue, row.seq))


def diff(store: Store, a: str, b: str) -> dict[str, Any]:
    """Where the values of two sessions differ: those that stand, live or taken, in the order of each queue.

    Raises:
        SessionNotFound: One of them does not exist.
    """
    with store.database.snapshot() as transaction:
        one, two = (_standing_values(transaction, name) for name in (a, b))
    found: list[dict[str, Any]] = []
    for queue in dict.fromkeys([*one, *two]):
        path = f"${key_step(queue)}"
        if queue in one and queue in two:
            found += differences(one[queue], two[queue], path)
        else:
            kind = "only_a" if queue in one else "only_b"
            found.append({"path": path, "kind": kind, "a": one.get(queue), "b": two.get(queue)})
    return {"a": a, "b": b, "differences": found}


def _standing_values(transaction: Transaction, name: str) -> dict[str, list[Any]]:
    story = Story.read(transaction, name)
    queues: dict[str, list[Any]] = {}
    for row, _ in history.values_of(transaction, story.session.id):
        if row.state in ("live", "taken"):
            queues.setdefault(story.queues[row.queue_id], []).append(codec.to_json(row.data))
    return queues
