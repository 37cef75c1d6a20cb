"""Give attempts back: undo their changes to queues."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING

from zrb_store.db.core import Params, bindparam, exists, is_one_of, literal, sa, statement, t
from zrb_store.db.dialect import among
from zrb_store.db.transaction import Executor, Transaction
from zrb_store.queries import attempts, dependent_steps, sessions, steps, survived
from zrb_store.queries.attempts import is_of_no_task, lost_or_interrupted, unfinished
from zrb_store.queries.clock import draw, given_moment, given_tick, now_given
from zrb_store.queries.queues import intervals_of
from zrb_store.queries.values import is_same_value, lock_queue, of_seqs

if TYPE_CHECKING:
    from sqlalchemy.sql.dml import ReturningUpdate


@statement
def _close() -> sa.Update:
    return (
        sa.update(t.attempt)
        .where(t.attempt.c.id == bindparam("of_attempt"))
        .values(
            **now_given("given_back"),
            ended_at=sa.func.coalesce(t.attempt.c.ended_at, given_moment()),
            ended_tick=sa.func.coalesce(t.attempt.c.ended_tick, given_tick()),
            status=sa.case((t.attempt.c.status == literal("running"), lost_or_interrupted()), else_=t.attempt.c.status),
        )
    )


@statement
def _set_end() -> sa.Update:
    return sa.update(t.attempt).where(t.attempt.c.id == bindparam("of_attempt")).values(now_given("ended"))


@statement
def _record_returns(dialect_name: str, in_queues: bool) -> sa.Insert:
    within = dependent_steps.within(dialect_name, in_queues)
    # Only what failed or died counts against a value, not what a person or a signal stopped (guarantees.md,
    # promise 10).
    counts = sa.and_(
        bindparam("counted", type_=sa.Boolean),
        exists(t.attempt.c.id == bindparam("of_attempt"), is_one_of(t.attempt.c.status, "failed", "lost")),
    )
    delivered = sa.tuple_(t.value.c.queue_id, t.value.c.seq).in_(_delivered(within))
    return sa.insert(t.returned).from_select(
        [
            *("queue_id", "seq", "taken_by", "taken_at", "taken_tick", "returned_at", "returned_tick"),
            *("reason", "failed_deliveries", "due_at"),
        ],
        sa.select(
            t.value.c.queue_id,
            t.value.c.seq,
            t.value.c.taken_by,
            t.value.c.ended_at,
            t.value.c.ended_tick,
            given_moment(),
            given_tick(),
            bindparam("reason", type_=sa.Text),
            sa.case((sa.and_(counts, delivered), t.value.c.failed_deliveries + literal(1))),
            t.value.c.due_at,
        ).where(t.value.c.taken_by == bindparam("of_attempt"), *within),
    )


def _delivered(within: Sequence[sa.ColumnElement[bool]]) -> sa.Select[int, int]:
    """Select queue and seq of the values that an attempt took, and of all places from which it had moved them."""
    taken = (
        sa.select(t.value.c.queue_id, t.value.c.seq, t.value.c.moved_from)
        .where(t.value.c.taken_by == bindparam("of_attempt"), t.value.c.state == literal("taken"), *within)
        .cte("delivered", recursive=True)
    )
    earlier = t.value.alias("earlier")
    moved = sa.select(earlier.c.queue_id, earlier.c.seq, earlier.c.moved_from).where(
        earlier.c.queue_id == taken.c.queue_id,
        earlier.c.seq == taken.c.moved_from,
        earlier.c.taken_by == bindparam("of_attempt"),
    )
    every = taken.union(moved)
    return sa.select(every.c.queue_id, every.c.seq)


@statement
def _disown(dialect_name: str, in_queues: bool) -> sa.Update:
    # One statement for live, dead and taken values: if another transaction is taking or returning such a value,
    # PostgreSQL waits for its end, and then chooses the case by the new row.
    held = sa.and_(t.value.c.ended_at.is_not(None), t.value.c.state != literal("dead"))
    return (
        sa.update(t.value)
        .where(
            t.value.c.pushed_by == bindparam("of_attempt"),
            t.value.c.state != literal("retracted"),
            *dependent_steps.within(dialect_name, in_queues),
        )
        .values(
            state=sa.case((held, t.value.c.state), else_=literal("retracted")),
            ended_at=sa.func.coalesce(t.value.c.ended_at, given_moment()),
            ended_tick=sa.func.coalesce(t.value.c.ended_tick, given_tick()),
            orphaned=held,
        )
    )


@statement
def _return_taken(dialect_name: str, in_queues: bool) -> sa.Update:
    return (
        sa.update(t.value)
        .where(t.value.c.taken_by == bindparam("of_attempt"), *dependent_steps.within(dialect_name, in_queues))
        .values(
            state=sa.case((t.value.c.orphaned, literal("retracted")), else_=literal("live")),
            ended_at=sa.case((t.value.c.orphaned, given_moment()), else_=sa.null()),
            ended_tick=sa.case((t.value.c.orphaned, given_tick()), else_=sa.null()),
            taken_by=None,
            orphaned=sa.false(),
            due_at=None,
        )
    )


def _counted() -> tuple[sa.ColumnElement[bool], ...]:
    """Return the condition that a value has come back now, after one more delivery."""
    return (
        t.returned.c.taken_by == bindparam("of_attempt"),
        t.returned.c.returned_tick == given_tick(),
        t.returned.c.failed_deliveries.is_not(None),
        is_same_value(t.value, t.returned),
        t.queue.c.id == t.returned.c.queue_id,
    )


@statement
def _count_deliveries() -> ReturningUpdate[int, int, str]:
    dies = sa.and_(t.value.c.state == literal("live"), t.returned.c.failed_deliveries >= t.queue.c.max_deliveries)
    return (
        sa.update(t.value)
        .where(*_counted())
        .values(
            failed_deliveries=t.returned.c.failed_deliveries,
            state=sa.case((dies, literal("dead")), else_=t.value.c.state),
            ended_at=sa.case((dies, given_moment()), else_=t.value.c.ended_at),
            ended_tick=sa.case((dies, given_tick()), else_=t.value.c.ended_tick),
        )
        .returning(t.value.c.queue_id, t.value.c.seq, t.value.c.state)
    )


@statement
def _retried() -> sa.Select[int, int, int, int, str]:
    return sa.select(
        t.value.c.queue_id, t.value.c.seq, t.value.c.failed_deliveries, t.queue.c.session_id, t.queue.c.retry_after
    ).where(*_counted(), t.value.c.ended_at.is_(None), t.queue.c.retry_after.is_not(None))


@statement
def _delay(dialect_name: str) -> sa.Update:
    return sa.update(t.value).where(*of_seqs(dialect_name)).values(due_at=bindparam("due_at"))


def _queues_of(*pushed: sa.ColumnElement[bool]) -> sa.CompoundSelect[int]:
    """Select the queues from which an attempt has taken, or to which it has pushed values that meet conditions."""
    return sa.union(
        sa.select(t.value.c.queue_id).where(t.value.c.taken_by == bindparam("of_attempt")),
        sa.select(t.value.c.queue_id).where(t.value.c.pushed_by == bindparam("of_attempt"), *pushed),
    )


@statement
def _queues() -> sa.CompoundSelect[int]:
    return _queues_of()


def give_back(
    transaction: Transaction,
    chosen: Iterable[tuple[int, str]],
    *,
    counted: bool = True,
    just_ended: Collection[int] = (),
) -> None:
    """Undo what attempts did to any queue of the store, one after the other, in the open transaction (promise 1).

    Each comes with the reason that is stored with the values that it returns. Its steps that run, or that depend on
    what comes back, are undone before it (promise 11). A running attempt becomes `lost`. With `counted`, values that a
    failed or lost attempt returns have had one more delivery. Those in `just_ended` have ended in this transaction: the
    moment of the undoing becomes that of their end.
    """
    chosen = list(chosen)
    if not chosen:
        return
    chosen = dependent_steps.with_steps(transaction, chosen)
    if transaction.dialect_name != "sqlite":  # SQLite has one writer at a time
        found = (dependent_steps.ids(transaction, _queues(), {"of_attempt": attempt_id}) for attempt_id, _ in chosen)
        for queue_id in sorted(set().union(*found)):
            lock_queue(transaction, queue_id)
    moment = draw(transaction)
    for attempt_id, reason in chosen:
        params = {"of_attempt": attempt_id, **moment.params, "reason": reason, "counted": counted}
        if attempt_id in just_ended:
            transaction.execute(_set_end(), params)
        transaction.execute(_close(), params)
        _undo(transaction, params, in_queues=False)


def _undo(transaction: Transaction, params: Params, *, in_queues: bool) -> None:
    """Undo the changes of an attempt, in all queues or only in those of `:queue_ids`."""
    name = transaction.dialect_name
    for each in (_record_returns(name, in_queues), _disown(name, in_queues), _return_taken(name, in_queues)):
        transaction.execute(each, params)
    counted = transaction.execute(_count_deliveries(), params)
    transaction.died += [(queue_id, seq) for queue_id, seq, state in counted if state == "dead"]
    if counted:
        _delay_returned(transaction, params)


def _delay_returned(transaction: Transaction, params: Params) -> None:
    """Delay what has come back to queues with `retry_after`, but not what a task finds again itself (promise 1)."""
    rows = transaction.execute(_retried(), params)
    attempt = attempts.by_id(transaction, params["of_attempt"]) if rows else None
    if attempt is None:
        return
    own = attempt.session_id
    homes = {row[3] for row in rows}
    others = {home for home in homes if attempt.kind == "delivery" or not sessions.are_related(transaction, home, own)}
    due: dict[tuple[int, int], list[int]] = {}  # seqs by queue and due time
    for queue_id, seq, failed_deliveries, home, intervals in rows:
        if home in others and (delays := intervals_of(intervals)):
            due_at = params["moment"] + delays[min(failed_deliveries, len(delays)) - 1]
            due.setdefault((queue_id, due_at), []).append(seq)
    for (queue_id, due_at), seqs in due.items():
        place = {"of_queue": queue_id, "seqs": json.dumps(seqs), "due_at": due_at}
        transaction.execute(_delay(transaction.dialect_name), place)


def give_back_unfinished(
    transaction: Transaction, session_id: int, task: str | None = None, *, counted: bool = True
) -> None:
    """Give back the attempts that have not completed, the newest first, in the open transaction."""
    # The locks wait for writes in progress; later writes find the attempt closed.
    found = unfinished(transaction, session_id, task, lock=True)
    chosen = [(record.id, "lost" if record.status == "running" else record.status) for record in found]
    give_back(transaction, chosen, counted=counted)


def give_back_steps(transaction: Transaction, session_id: int, task: str, reason: str) -> None:
    """Give back all completed steps of a task, since it starts over and no attempt of it runs."""
    survived.forget(transaction, task, session_id=session_id)
    give_back(transaction, [(step.id, reason) for step in steps.completed_of_task(transaction, session_id, task)])


@statement
def _touched() -> sa.Select[int, int, int]:
    return (
        sa.select(t.queue.c.id, t.queue.c.session_id, t.attempt.c.session_id)
        .select_from(t.queue.join(t.attempt, t.attempt.c.id == bindparam("of_attempt")))
        .where(
            t.queue.c.id.in_(_queues_of(t.value.c.state != literal("retracted"))),
            t.queue.c.session_id != t.attempt.c.session_id,
        )
        .order_by(t.queue.c.id)
    )


@statement
def _undone_whole(dialect_name: str) -> sa.Select[int]:
    return sa.select(t.attempt.c.id).where(among(dialect_name, t.attempt.c.id, "ids"), is_of_no_task())


def undo_ended(transaction: Transaction, attempt_ids: Sequence[int], reason: str) -> None:
    """Undo what attempts that have just ended without completing must not leave behind (promise 10).

    Deliveries and steps are given back whole. Of any other attempt, only what it did to queues of unrelated sessions is
    undone, and the steps that depend on that (promise 11). The moment of the undoing becomes that of their end.
    """
    if not attempt_ids:
        return
    params = {"ids": json.dumps(list(attempt_ids))}
    whole = dependent_steps.ids(transaction, _undone_whole(transaction.dialect_name), params)
    give_back(transaction, [(each, reason) for each in sorted(whole, reverse=True)], just_ended=whole)
    _undo_elsewhere(transaction, [each for each in attempt_ids if each not in whole], reason)


def _undo_elsewhere(transaction: Transaction, attempt_ids: Sequence[int], reason: str) -> None:
    every = ((each, _touched_elsewhere(transaction, each)) for each in sorted(attempt_ids, reverse=True))
    touched = {attempt_id: queue_ids for attempt_id, queue_ids in every if queue_ids}
    for attempt_id, queue_ids in touched.items():
        dependent = dependent_steps.of_attempt(transaction, attempt_id, queue_ids)
        give_back(transaction, [(step_id, reason) for step_id in dependent])
    if transaction.dialect_name != "sqlite":  # SQLite has one writer at a time
        for queue_id in sorted({queue_id for queue_ids in touched.values() for queue_id in queue_ids}):
            lock_queue(transaction, queue_id)
    for attempt_id, queue_ids in touched.items():
        params = {"of_attempt": attempt_id, **draw(transaction).params, "reason": reason, "counted": True}
        transaction.execute(_set_end(), params)
        _undo(transaction, {**params, "queue_ids": json.dumps(queue_ids)}, in_queues=True)


def _touched_elsewhere(executor: Executor, attempt_id: int) -> list[int]:
    """Return the queues of unrelated sessions that an attempt has taken from or pushed to."""
    touched = executor.execute(_touched(), {"of_attempt": attempt_id})
    related = {pair: sessions.are_related(executor, *pair) for pair in {(home, own) for _, home, own in touched}}
    return [queue_id for queue_id, *pair in touched if not related[tuple(pair)]]
