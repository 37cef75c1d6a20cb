"""Give attempts back: undo their changes to queues."""

from __future__ import annotations

import functools
import json
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from zrb_store.db.core import attempt, bindparam, literal_column, queue, returned, sa, value
from zrb_store.db.dialect import among
from zrb_store.db.transaction import Executor, Transaction
from zrb_store.queries import resting_steps, sessions, steps
from zrb_store.queries.attempts import unfinished
from zrb_store.queries.clock import MOMENT, TICK, draw

_ATTEMPT_ID: sa.BindParameter[Any] = bindparam("of_attempt")
_CLOSE = (
    sa.update(attempt)
    .where(attempt.c.id == _ATTEMPT_ID)
    .values(
        given_back_at=MOMENT,
        given_back_tick=TICK,
        ended_at=sa.func.coalesce(attempt.c.ended_at, MOMENT),
        ended_tick=sa.func.coalesce(attempt.c.ended_tick, TICK),
        status=sa.case(
            (attempt.c.status == literal_column("'running'"), literal_column("'lost'")), else_=attempt.c.status
        ),
    )
)
# Only what failed or died counts against a value, not what a person or a signal stopped (docs/promises.md, promise 10).
_counts = sa.and_(
    bindparam("counted", type_=sa.Boolean),
    sa.exists(
        sa.select(literal_column("1")).where(
            attempt.c.id == _ATTEMPT_ID, attempt.c.status.in_([literal_column("'failed'"), literal_column("'lost'")])
        )
    ),
)
_SET_END = sa.update(attempt).where(attempt.c.id == _ATTEMPT_ID).values(ended_at=MOMENT, ended_tick=TICK)


@functools.cache
def _undo(dialect_name: str, *, in_queues: bool) -> tuple[Any, Any, Any, Any]:
    """Make the statements that undo the changes of an attempt, in all queues or only in those of `:queue_ids`."""
    within: list[Any] = [among(dialect_name, value.c.queue_id, "queue_ids")] if in_queues else []
    delivered = sa.tuple_(value.c.queue_id, value.c.seq).in_(_delivered(within))
    record_returns = sa.insert(returned).from_select(
        [
            *("queue_id", "seq", "taken_by", "taken_at", "taken_tick", "returned_at", "returned_tick"),
            *("reason", "deliveries"),
        ],
        sa.select(
            value.c.queue_id,
            value.c.seq,
            value.c.taken_by,
            value.c.ended_at,
            value.c.ended_tick,
            MOMENT,
            TICK,
            bindparam("reason", type_=sa.Text),
            sa.case((sa.and_(_counts, delivered), value.c.deliveries + literal_column("1"))),
        ).where(value.c.taken_by == _ATTEMPT_ID, *within),
    )
    # One statement for live, dead and taken values: if another transaction is taking or returning such a value,
    # PostgreSQL waits for its end, and then chooses the case by the new row.
    held = sa.and_(value.c.ended_at.is_not(None), value.c.state != literal_column("'dead'"))
    disown = (
        sa.update(value)
        .where(value.c.pushed_by == _ATTEMPT_ID, value.c.state != literal_column("'retracted'"), *within)
        .values(
            state=sa.case((held, value.c.state), else_=literal_column("'retracted'")),
            ended_at=sa.func.coalesce(value.c.ended_at, MOMENT),
            ended_tick=sa.func.coalesce(value.c.ended_tick, TICK),
            orphaned=held,
        )
    )
    give_back = (
        sa.update(value)
        .where(value.c.taken_by == _ATTEMPT_ID, *within)
        .values(
            state=sa.case((value.c.orphaned, literal_column("'retracted'")), else_=literal_column("'live'")),
            ended_at=sa.case((value.c.orphaned, MOMENT), else_=sa.null()),
            ended_tick=sa.case((value.c.orphaned, TICK), else_=sa.null()),
            taken_by=None,
            orphaned=sa.false(),
        )
    )
    dies = sa.and_(value.c.state == literal_column("'live'"), returned.c.deliveries >= queue.c.max_deliveries)
    count = (
        sa.update(value)
        .where(
            returned.c.taken_by == _ATTEMPT_ID,
            returned.c.returned_tick == TICK,
            returned.c.deliveries.is_not(None),
            value.c.queue_id == returned.c.queue_id,
            value.c.seq == returned.c.seq,
            queue.c.id == returned.c.queue_id,
        )
        .values(
            deliveries=returned.c.deliveries,
            state=sa.case((dies, literal_column("'dead'")), else_=value.c.state),
            ended_at=sa.case((dies, MOMENT), else_=value.c.ended_at),
            ended_tick=sa.case((dies, TICK), else_=value.c.ended_tick),
        )
        .returning(value.c.queue_id, value.c.seq, value.c.state)
    )
    return record_returns, disown, give_back, count


def _delivered(within: Sequence[Any]) -> Any:
    """Select the values that an attempt took, as queue and seq.

    Of a value that it moved and then took, all the places that it moved the value from are selected: one of these comes
    back.
    """
    taken = (
        sa.select(value.c.queue_id, value.c.seq, value.c.moved_from)
        .where(value.c.taken_by == _ATTEMPT_ID, value.c.state == literal_column("'taken'"), *within)
        .cte("delivered", recursive=True)
    )
    earlier = value.alias("earlier")
    moved = sa.select(earlier.c.queue_id, earlier.c.seq, earlier.c.moved_from).where(
        earlier.c.queue_id == taken.c.queue_id, earlier.c.seq == taken.c.moved_from, earlier.c.taken_by == _ATTEMPT_ID
    )
    every = taken.union(moved)
    return sa.select(every.c.queue_id, every.c.seq)


_QUEUES = sa.union(
    sa.select(value.c.queue_id).where(value.c.taken_by == _ATTEMPT_ID),
    sa.select(value.c.queue_id).where(value.c.pushed_by == _ATTEMPT_ID),
)
_LOCK_QUEUE = sa.select(queue.c.id).where(queue.c.id == bindparam("queue_id")).with_for_update(key_share=True)


def lock_queue(executor: Executor, queue_id: int) -> bool:
    """Lock a queue until the transaction ends, so that no other change of several statements runs at the same time.

    A transaction that takes several locks takes them in this order: sessions, attempts, queues by id, values.

    Returns:
        False if the queue is gone.
    """
    return bool(executor.execute(_LOCK_QUEUE, {"queue_id": queue_id}))


def give_back(
    transaction: Transaction,
    chosen: Iterable[tuple[int, str]],
    *,
    counted: bool = True,
    just_ended: Collection[int] = (),
) -> None:
    """Undo what attempts did to any queue of the store (docs/promises.md, promise 1), in the open transaction.

    The steps of an attempt that run, or that rest on what comes back, are undone before it (promise 11).

    A value that an attempt pushed is retracted if it is live, and marked as orphaned if another attempt holds it. A
    value that it took becomes live again at its old place, retracted if its own pusher was given back, or dead if its
    queue allows no more deliveries. An attempt that is still `running` becomes `lost`.

    Args:
        transaction: The open transaction.
        chosen: Ids of attempts that may no longer write, in the order in which they are undone. Each comes with the
            reason that is stored with the values that it returns.
        counted: Whether values that a failed or lost attempt returns have had one more delivery.
        just_ended: Those of them that this transaction has ended: the moment of the undoing is that of their end.
    """
    chosen = resting_steps.with_steps(transaction, chosen)
    if not chosen:
        return
    if transaction.dialect_name != "sqlite":  # SQLite has one writer at a time
        touched = {
            row[0] for attempt_id, _ in chosen for row in transaction.execute(_QUEUES, {"of_attempt": attempt_id})
        }
        for queue_id in sorted(touched):
            lock_queue(transaction, queue_id)
    moment = draw(transaction)
    for attempt_id, reason in chosen:
        params = {"of_attempt": attempt_id, **moment.params, "reason": reason, "counted": counted}
        if attempt_id in just_ended:
            transaction.execute(_SET_END, params)
        transaction.execute(_CLOSE, params)
        _run(transaction, _undo(transaction.dialect_name, in_queues=False), params)


def _run(transaction: Transaction, statements: Sequence[Any], params: dict[str, Any]) -> None:
    """Run the statements of `_undo`, the last of which returns the values whose deliveries it has counted."""
    for statement in statements:
        rows = transaction.execute(statement, params)
    transaction.died += [(queue_id, seq) for queue_id, seq, state in rows if state == "dead"]


def give_back_unfinished(
    transaction: Transaction, session_id: int, task: str | None = None, *, counted: bool = True
) -> None:
    """Give back the attempts that have not completed, the newest first, in the open transaction.

    Args:
        transaction: The open transaction.
        session_id: The session.
        task: Give back only attempts of this task.
        counted: As for `give_back`.
    """
    # The locks wait for writes in progress; later writes find the attempt closed.
    found = unfinished(transaction, session_id, task, lock=True)
    chosen = [(record.id, "lost" if record.status == "running" else record.status) for record in found]
    give_back(transaction, chosen, counted=counted)


def give_back_steps(transaction: Transaction, session_id: int, task: str, reason: str) -> None:
    """Give back all completed steps of a task, since it starts over, in the open transaction.

    Args:
        transaction: The open transaction, in which no attempt of the task runs.
        session_id: The session.
        task: Name of the task.
        reason: Stored with every value that comes back.
    """
    give_back(transaction, [(step.id, reason) for step in steps.standing_of_task(transaction, session_id, task)])


_TOUCHED = (
    sa.select(queue.c.id, queue.c.session_id, attempt.c.session_id)
    .select_from(queue.join(attempt, attempt.c.id == _ATTEMPT_ID))
    .where(
        queue.c.id.in_(
            sa.union(
                sa.select(value.c.queue_id).where(value.c.taken_by == _ATTEMPT_ID),
                sa.select(value.c.queue_id).where(
                    value.c.pushed_by == _ATTEMPT_ID, value.c.state != literal_column("'retracted'")
                ),
            )
        ),
        queue.c.session_id != attempt.c.session_id,
    )
    .order_by(queue.c.id)
)


@functools.cache
def _undone_whole(dialect_name: str) -> Any:
    return sa.select(attempt.c.id).where(
        among(dialect_name, attempt.c.id, "ids"),
        attempt.c.role.in_([literal_column("'delivery'"), literal_column("'step'")]),
    )


def undo_ended(transaction: Transaction, attempt_ids: Sequence[int], reason: str) -> None:
    """Undo what attempts that have just ended without completing must not leave behind (docs/promises.md, promise 10).

    Deliveries and steps are given back whole. Of any other attempt, only what it did to queues of other sessions is
    undone, and the steps that rest on that (promise 11). What it did to queues of its own session, and of parent and
    child sessions, stays until it is given back.

    Args:
        transaction: The open transaction, in which they ended. Their end becomes the moment of the undoing.
        attempt_ids: The attempts. They can no longer write. The newest is undone first.
        reason: Stored with every value that comes back.
    """
    if not attempt_ids:
        return
    params = {"ids": json.dumps(list(attempt_ids))}
    whole = {row[0] for row in transaction.execute(_undone_whole(transaction.dialect_name), params)}
    give_back(transaction, [(each, reason) for each in sorted(whole, reverse=True)], just_ended=whole)
    _undo_elsewhere(transaction, [each for each in attempt_ids if each not in whole], reason)


def _undo_elsewhere(transaction: Transaction, attempt_ids: Sequence[int], reason: str) -> None:
    touched = {each: _touched_elsewhere(transaction, each) for each in sorted(attempt_ids, reverse=True)}
    for attempt_id, queue_ids in touched.items():
        if queue_ids:
            resting = resting_steps.of_attempt(transaction, attempt_id, queue_ids)
            give_back(transaction, [(step_id, reason) for step_id in resting])
    if transaction.dialect_name != "sqlite":  # SQLite has one writer at a time
        for queue_id in sorted({queue_id for queue_ids in touched.values() for queue_id in queue_ids}):
            lock_queue(transaction, queue_id)
    for attempt_id, queue_ids in touched.items():
        if not queue_ids:
            continue
        params = {"of_attempt": attempt_id, **draw(transaction).params, "reason": reason, "counted": True}
        transaction.execute(_SET_END, params)
        statements = _undo(transaction.dialect_name, in_queues=True)
        _run(transaction, statements, {**params, "queue_ids": json.dumps(queue_ids)})


def _touched_elsewhere(executor: Executor, attempt_id: int) -> list[int]:
    """Return the queues of unrelated sessions that an attempt has taken from or pushed to."""
    touched = executor.execute(_TOUCHED, {"of_attempt": attempt_id})
    related = {pair: sessions.are_related(executor, *pair) for pair in {(home, own) for _, home, own in touched}}
    return [queue_id for queue_id, *pair in touched if not related[tuple(pair)]]
