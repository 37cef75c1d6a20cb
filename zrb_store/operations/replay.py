"""`replay`: a scratch store in which one attempt can run again, where everything is as it was before it began.

The session, and each session whose queues it has used, is copied whole under another name, and from there, as it
was at the attempt's beginning, under its own. So only that attempt remains to be run, by the usual means.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Literal, NamedTuple

from zrb_store.db.engine import Database
from zrb_store.db.transaction import Transaction
from zrb_store.errors import InvalidArgument, TaskNotFound, ZrbStoreError
from zrb_store.names import full_name
from zrb_store.operations.transfer import copy
from zrb_store.queries import attempts, fork, replay, sessions
from zrb_store.queries.clock import Moment
from zrb_store.queries.queues import queue_ids
from zrb_store.queries.replay import Handled
from zrb_store.records import AttemptRecord, Damage, SessionRecord


def find_attempt(database: Database, session: SessionRecord, task: str, number: int) -> AttemptRecord:
    """Return the attempt that is to be replayed; raise an error if it cannot be."""
    found = attempts.by_name(database, session.name, task, number)
    name = full_name(session.name, task, number)
    if found is None:
        raise TaskNotFound(
            f"there is no attempt {name}, or it was pruned; `zrb-store show {session.name}` lists the attempts"
        )
    if found.step_of is not None:
        raise InvalidArgument(f"{name} is a step: replay the attempt of task {found.step_of} in which it ran")
    if found.role == "manual":
        raise InvalidArgument(f"{name} was marked by hand: nothing ran that could run again")
    if found.run_id is None:
        raise InvalidArgument(f"{name} is a copy in a fork: replay the attempt of session {session.forked_from}")
    return found


def place_in_run(database: Database, attempt: AttemptRecord) -> int:
    """Return which attempt of its task this was in its run, from 1."""
    every = attempts.of_session(database, attempt.session_id)
    return sum((each.task, each.run_id) == (attempt.task, attempt.run_id) and each.id <= attempt.id for each in every)


def delivered(database: Database, attempt: AttemptRecord) -> Handled:
    """Return the value that a delivery began with."""
    with database.snapshot() as rows:
        first = next(replay.handled(rows, "taken", [attempt.id]), None)
    if first is None:
        name = full_name(attempt.session, attempt.task, attempt.number)
        raise ZrbStoreError(f"the value of {name} was deleted: there is nothing to replay")
    return first


def _independent(rows: Transaction, attempt: AttemptRecord) -> Iterator[replay.StepOfAttempt]:
    """Yield the completed steps of an attempt that took nothing of what only the attempt itself can push again."""

    def places(what: Literal["taken", "pushed"], attempt_id: int) -> set[tuple[int, int]]:
        return {(each.queue_id, each.seq) for each in replay.handled(rows, what, [attempt_id])}

    missing = places("pushed", attempt.id)
    for step in replay.steps_of(rows, attempt):
        if step.status == "completed" and missing.isdisjoint(places("taken", step.id)):
            yield step
        else:
            missing |= places("pushed", step.id)


def _own(rows: Transaction, step: replay.StepOfAttempt, home: str, names: Mapping[str, str]) -> None:
    """Let the copy of a step own what it did to queues of other sessions, of which the names are given."""
    copied = attempts.by_name(rows, home, step.task, step.number)
    assert copied is not None
    whats: tuple[Literal["taken", "pushed"], ...] = ("taken", "pushed")
    for what in whats:
        for each in list(replay.handled(rows, what, [step.id])):
            if names[each.session] != home:
                replay.set_owner(rows, what, each._replace(session=names[each.session]), copied.id)


class Scratch(NamedTuple):
    """What was made for a replay."""

    since: int  # the tick just before the attempt began
    record: str  # the name of the copy of the session as it is now


def prepare(
    source: Database,
    scratch: Database,
    attempt: AttemptRecord,
    *,
    is_done: Callable[[replay.StepOfAttempt], bool],
    value: Handled | None = None,
) -> Scratch:
    """Fill a scratch database for the replay of an attempt, which then takes a `value` first if one is given.

    The completed steps of the attempt for which `is_done` is true do not run again, unless they took what the attempt
    itself pushed outside of steps.
    """
    with source.snapshot() as rows:
        used = replay.used_sessions(rows, attempt.session_id)
        found = [sessions.get(rows, name) for name in {attempt.session, *used}]
    # The one that is copied first is the oldest: ticks are counted from there.
    names = [each.name for each in sorted(found, key=lambda each: each.created_tick)]
    copies = {name: f"record-{name}"[:200] for name in names}
    damage = Damage("cannot be replayed, because it is damaged")
    copy(source, scratch, names, damage=damage, rename=copies)
    if damage:
        raise ZrbStoreError(str(damage))

    def rewind(transaction: Transaction) -> int:
        record = attempts.by_name(transaction, copies[attempt.session], attempt.task, attempt.number)
        assert record is not None
        done = [step for step in _independent(transaction, record) if is_done(step)]
        moment = Moment(record.started_at, record.started_tick - 1)
        for name in names:
            original = sessions.get(transaction, copies[name])
            target = fork.create(transaction, name, original)
            assert target is not None
            fork.copy_exactly(transaction, original.id, target, moment, [step.id for step in done])
        for step in done:
            _own(transaction, step, attempt.session, {copied: name for name, copied in copies.items()})
        if value is not None:
            replay.delay_before(transaction, queue_ids(transaction, value.session)[value.queue], value.seq)
        return record.started_tick - 1

    return Scratch(scratch.transact(rewind), copies[attempt.session])
