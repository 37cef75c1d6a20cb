"""Longer looks back, as plain data: the log of a session, the life of a value, the differences of two sessions."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from zrb_store import codec
from zrb_store.codec.shown import key_step
from zrb_store.errors import TaskNotFound, ValueNotFound
from zrb_store.names import nearest, value_id
from zrb_store.queries import forks, history, lives, sessions, tries
from zrb_store.queries.lives import Life
from zrb_store.reading.damage import Damage
from zrb_store.reading.history import Story
from zrb_store.reading.lazy import Lazy
from zrb_store.reading.paths import list_differences
from zrb_store.reading.shapes import error_shape, header, run_shape, value_shape
from zrb_store.records import AttemptRecord, RunRecord, SessionRecord, iso

if TYPE_CHECKING:
    from zrb_store.db.transaction import Transaction
    from zrb_store.store import Store


@contextmanager
def log(store: Store, name: str, task: str | None = None, damage: Damage | None = None) -> Iterator[dict[str, Any]]:
    """How each run of a session was started, what became of each attempt, and what was done by hand.

    What may be long is an iterator, to be gone through once within the block.

    Raises:
        SessionNotFound: There is no such session.
        TaskNotFound: No task of this name was tried.
    """
    with store.database.snapshot() as transaction:
        story = Story.read(transaction, name, damage=damage)
        if task is not None:
            tried = [one.task for one in tries.tried(transaction, story.session.id)]
            if task not in tried:
                raise TaskNotFound(f"session {name} has no attempt of task {task!r}{nearest(task, tried)}")
        header(story.session, story.damage)  # for what is damaged in it
        shown = tries.attempts_with_errors(transaction, story.session.id, task)
        yield {
            "name": name,
            "status": story.session.status,
            "runs": [_run(one, name, story.damage) for one in story.runs],
            "attempts": (_attempt(story.seen(one), story.damage) for one in shown),
            "changes": _changes(transaction, name, story.damage),
        }


def _attempt(one: AttemptRecord, damage: Damage) -> dict[str, Any]:
    damage.note(f"attempt {one.session}/{one.name}", one.damage)
    error = error_shape(one)
    return {
        "attempt": one.name,
        "run": one.run,
        "role": one.role,
        "status": one.status,
        "started_at": iso(one.started_at),
        "ended_at": iso(one.ended_at),
        "given_back_at": iso(one.given_back_at),
        "error": error and {**error, "traceback": one.error_traceback},
    }


def _changes(transaction: Transaction, name: str, damage: Damage) -> Iterator[dict[str, Any]]:
    for one, damaged in history.changes(transaction, name):
        damage.note(f"a change of session {name}", damaged)
        yield {**one._asdict(), "at": iso(one.at)}


def _run(one: RunRecord, session: str, damage: Damage) -> dict[str, Any]:
    return {
        **run_shape(one, session, damage),
        "user": one.user,
        "command": one.command,
        "folder": one.folder,
        "python_version": one.python_version,
        "zrb_version": one.zrb_version,
    }


def trace(store: Store, session: str, queue: str, seq: int, damage: Damage | None = None) -> dict[str, Any]:
    """The life of one value: the value, what happened to it in order, and the values that it came from and went on as.

    A copy that `fork` made has the life of its original until then.

    Raises:
        SessionNotFound: There is no such session.
        ValueNotFound: There is no such value.
    """
    damage = Damage() if damage is None else damage
    with store.database.snapshot() as transaction:
        record = sessions.need(transaction, session)
        names = history.queue_names(transaction, record.id)
        queue_id = next((one for one, name in names.items() if name == queue), None)
        if queue_id is None:
            raise ValueNotFound(f"session {session} has no queue {queue!r}{nearest(queue, names.values())}")
        found = lives.of_value(transaction, queue_id, seq)
        if found is None:
            raise ValueNotFound(f"there is no value {value_id(session, queue, seq)}")
        value = value_shape(found, session, queue, damage)
        events = [*_events(found, value), *_moved(transaction, found, session, queue, damage)]
        events += _copied(transaction, record, queue, found)
    # Stable: of changes within one microsecond the order is theirs.
    return {"value": value, "events": sorted(events, key=lambda event: str(event["at"]))}


def _event(
    what: str, at: str | None, by: str | None, *, reason: str | None = None, to: str | None = None
) -> dict[str, Any]:
    return {"at": at, "event": what, "by": by, "reason": reason, "value": to}


def _events(life: Life, value: dict[str, Any]) -> Iterator[dict[str, Any]]:
    row, pusher = life.value, life.pusher
    origin = None if row.moved_from is None else value["id"].rpartition("#")[0] + f"#{row.moved_from}"
    yield _event("pushed", value["pushed_at"], value["pushed_by"], to=origin)
    for back in value["returns"]:
        yield _event("taken", back["taken_at"], back["taken_by"])
        yield _event("given back", back["returned_at"], back["taken_by"], reason=back["reason"])
    if row.state in ("taken", "removed"):
        yield _event(row.state, value["taken_at"], value["taken_by"])
    if pusher is not None and pusher.given_back_at is not None and row.state != "live":
        at = iso(row.ended_at) if row.state == "retracted" else iso(pusher.given_back_at)
        what = "retracted" if row.state == "retracted" else "orphaned"
        yield _event(what, at, value["pushed_by"], reason=f"{value['pushed_by']} was given back")


def _moved(transaction: Transaction, life: Life, session: str, queue: str, damage: Damage) -> Iterator[dict[str, Any]]:
    for seq in lives.moved_to(transaction, life.value.queue_id, life.value.seq):
        copy = lives.of_value(transaction, life.value.queue_id, seq)
        if copy is not None:
            shaped = value_shape(copy, session, queue, damage)
            yield _event("moved", shaped["pushed_at"], shaped["pushed_by"], to=shaped["id"])


def _copied(transaction: Transaction, session: SessionRecord, queue: str, life: Life) -> Iterator[dict[str, Any]]:
    """From where, and to which sessions, `fork` copied a value."""
    source, row = session.forked_from, life.value
    place = (queue, row.seq, row.pushed_at)
    if source is not None and row.pushed_at < session.created_at:
        gone = None if forks.has_original(transaction, source, *place) else "removed since"
        yield _event("copied from", iso(session.created_at), None, reason=gone, to=value_id(source, queue, row.seq))
    for copy in forks.copies(transaction, session.name, *place):
        yield _event("copied to", iso(copy.at), None, to=value_id(copy.session, queue, row.seq))


@contextmanager
def diff(store: Store, a: str, b: str) -> Iterator[dict[str, Any]]:
    """Where the values of two sessions differ: those that stand, live or taken, in the order of each queue.

    The differences are an iterator, to be gone through once within the block.

    Raises:
        SessionNotFound: One of them does not exist.
    """
    with store.database.snapshot() as transaction:
        one, two = (_queues(transaction, name) for name in (a, b))
        yield {"a": a, "b": b, "differences": _differences(one, two)}


def _queues(transaction: Transaction, name: str) -> dict[str, Lazy[Any]]:
    """By queue, in the order of their first push, the values that stand, if there are any."""
    names = history.queue_names(transaction, sessions.need(transaction, name).id)
    counts = ((queue_id, queue, lives.count_standing(transaction, queue_id)) for queue_id, queue in names.items())
    return {
        queue: Lazy(functools.partial(_standing, transaction, queue_id), count)
        for queue_id, queue, count in counts
        if count
    }


def _standing(transaction: Transaction, queue_id: int) -> Iterator[Any]:
    return map(codec.to_json, lives.standing_data(transaction, queue_id))


def _differences(one: dict[str, Lazy[Any]], two: dict[str, Lazy[Any]]) -> Iterator[dict[str, Any]]:
    for queue in dict.fromkeys([*one, *two]):
        path = f"${key_step(queue)}"
        if queue in one and queue in two:
            yield from list_differences(one[queue], two[queue], path)
        else:
            kind = "only_a" if queue in one else "only_b"
            yield {"path": path, "kind": kind, "a": one.get(queue), "b": two.get(queue)}
