"""`replay`: a scratch store in which one attempt can run again, where everything is as it was before it began.

The session, and each session whose queues it has used, is copied whole under another name (the record), and from
there, as it was at the attempt's beginning, under its own. So only that attempt remains to be run, by the usual means.
When it comes to a step that completed in the record, the step's part is done again from there.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from zrb_store.db.engine import Database
from zrb_store.db.rows import leaving_out
from zrb_store.db.transaction import Transaction
from zrb_store.errors import InvalidArgument, TaskNotFound, ZrbStoreError
from zrb_store.names import full_name
from zrb_store.operations.copy import copy
from zrb_store.queries import attempts, fork, sessions, steps
from zrb_store.queries.attempts import Owner
from zrb_store.queries.by_hand import drop
from zrb_store.queries.clock import Moment, draw
from zrb_store.queries.queues import ensure_queue
from zrb_store.queries.steps import StepKey, StepRecord
from zrb_store.queries.values import seqs_in_queue
from zrb_store.records import AttemptRecord, SessionRecord
from zrb_store.replay import queries
from zrb_store.replay.queries import Handled
from zrb_store.settings import REPLAYS


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
    if found.kind == "manual":
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
        taken = queries.handled(rows, "taken", attempt.id)
    if not taken:
        name = full_name(attempt.session, attempt.task, attempt.number)
        raise ZrbStoreError(f"the value of {name} was deleted: there is nothing to replay")
    return taken[0]


def prepare(source: Database, scratch: Database, attempt: AttemptRecord, value: Handled | None = None) -> AttemptRecord:
    """Fill a scratch database for the replay of an attempt, which then takes a `value` first if one is given.

    Returns:
        The attempt in the record.
    """
    with source.snapshot() as rows:
        used = queries.used_sessions(rows, attempt.session_id)
        found = [sessions.get(rows, name) for name in {attempt.session, *used}]
    # The one that is copied first is the oldest: ticks are counted from there.
    names = [each.name for each in sorted(found, key=lambda each: each.created_tick)]
    copies = {name: f"record-{name}"[:200] for name in names}
    with leaving_out("cannot be replayed, because it is damaged") as damage:
        copy(source, scratch, names, rename=copies)
    if damage:
        raise ZrbStoreError(str(damage))

    def rewind(transaction: Transaction) -> AttemptRecord:
        record = attempts.by_name(transaction, copies[attempt.session], attempt.task, attempt.number)
        assert record is not None
        moment = Moment(record.started_at, record.started_tick - 1)
        for name in names:
            original = sessions.get(transaction, copies[name])
            target = fork.create(transaction, name, original, record.started_tick)
            assert target is not None
            fork.copy_exactly(transaction, original.id, target, moment)
        if value is not None:
            queue_id = ensure_queue(transaction, value.session, value.queue)
            passed = [seq for seq in seqs_in_queue(transaction, queue_id) if seq < value.seq]  # by this consumer
            drop(transaction, queue_id, passed, draw(transaction), "replay")
        return record

    return scratch.transact(rewind)


def setting(record: AttemptRecord, *, again: bool, repeat_once: bool) -> str:
    """Return the value of the variable that tells this process, and those that it starts, of the replay."""
    return f"{record.id}{' --steps' * again}{' --repeat-once' * repeat_once}"


class _Diverged(Exception):
    """The replay does not have a value that a step of the record took."""


def step_of_record(owner: Owner, task: str, key: StepKey, known: StepRecord | None) -> StepRecord | None:
    """Let a step of the attempt that is replayed do what it did in the record, if it completed there, and return it.

    Otherwise, or if it took what is not there now, return the newest attempt of the step that is `known` here.
    """
    record_id, *options = os.environ[REPLAYS].split()
    if known is not None and (known.in_effect or known.status == "running"):
        return known

    def work(transaction: Transaction) -> None:
        record = attempts.by_id(transaction, int(record_id))
        if record is None or owner.full_name != f"{queries.fork_of(transaction, record.session)}/{record.name}":
            return  # one of another session that the action starts
        step = steps.of_attempt(transaction, record.id).get(key)
        if step is None or step.status != "completed" or not step.restorable:
            return
        if "--steps" in options and (not step.once or "--repeat-once" in options):
            return
        number = steps.highest_number(transaction, task, parent_id=owner.id) + 1 if known is None else known.step_number
        last = 0 if known is None else known.number
        begun = steps.begin(transaction, owner.id, task, number, step.as_new(), known=last)
        if begun is None:
            return
        _handle_again(transaction, step.id, begun.id)
        steps.complete(
            transaction, begun.id, step.result or "null", restorable=True, inputs=(None, step.inputs_assigned)
        )

    try:
        owner.database.transact(work)
    except _Diverged:
        return known
    return steps.newest(owner.database, owner.id, task, key)


def _handle_again(transaction: Transaction, recorded: int, step_id: int) -> None:
    """Take and push what a step of the record did, for another step: its own values last, which it pushes first."""
    taken, pushed = (queries.handled(transaction, what, recorded) for what in ("taken", "pushed"))
    seqs = {each.place: each.seq for each in taken}
    own = {each.place for each in pushed}

    def queue_of(value: Handled) -> int:
        return ensure_queue(transaction, queries.fork_of(transaction, value.session) or value.session, value.queue)

    def take(values: Iterable[Handled]) -> None:
        for each in values:
            if not queries.take_again(transaction, queue_of(each), seqs[each.place], each.data, step_id):
                raise _Diverged

    take(each for each in taken if each.place not in own)
    for each in sorted(pushed, key=lambda each: abs(each.seq)):  # on the left, the seqs fall
        seqs[each.place] = queries.push_again(transaction, queue_of(each), each, step_id)
    take(each for each in taken if each.place in own)
