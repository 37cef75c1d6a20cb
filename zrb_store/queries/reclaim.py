"""Runs that have taken from a queue of another session, or pushed to it, and the take-over of those that died."""

from __future__ import annotations

import json
from typing import NamedTuple

from zrb_store.db.columns import RUN
from zrb_store.db.core import Params, bindparam, literal, made_once, sa, statement, t
from zrb_store.db.rows import sound
from zrb_store.db.transaction import Executor, Row, Transaction
from zrb_store.queries import runs
from zrb_store.queries.clock import draw
from zrb_store.queries.pushers import completed_steps, has_pushed, is_foreign, is_found, takes_elsewhere
from zrb_store.queries.values import is_due
from zrb_store.records import RunRecord, SessionRecord


class HoldingRun(NamedTuple):
    """A run whose attempts hold values of a queue, or have pushed some to it."""

    run: RunRecord  # the run, which has not ended
    session: str
    session_id: int
    home_id: int  # the session of the queue
    is_delivery: bool  # whether it holds them by a delivery, which is given back whole


@made_once
def _next() -> sa.FromClause:
    return t.value.alias("next")


def _pusher_of_next(order: sa.UnaryExpression[int]) -> sa.ScalarSelect[int]:
    """Select the attempt that pushed the first or the last live value."""
    return (
        sa.select(_next().c.pushed_by)
        .where(_next().c.queue_id == bindparam("queue_id"), _next().c.ended_at.is_(None), is_due(_next()))
        .with_hint(_next(), "INDEXED BY ix_zrb_value_live", "sqlite")
        .order_by(order)
        .limit(literal(1))
        .scalar_subquery()
    )


@statement
def _holding_runs() -> sa.Select[*Row]:
    # The index has the running attempts alone, which are few: all that was ever taken is not read.
    taken = t.value.alias("taken")
    # Not by the queue: its history may be long.
    held = (
        sa.select(literal(1))
        .where(taken.c.queue_id == bindparam("queue_id"))
        .with_hint(taken, "INDEXED BY ix_zrb_value_taken_by", "sqlite")
    )
    held_by_step = is_found(held.where(taken.c.taken_by.in_(completed_steps(t.attempt))))
    # Whoever takes the next value asks for its pusher even if that is a step that stands (`pushers.pusher_is_alive`).
    step = t.attempt.alias("step_of_next")
    pushers_of_next = (_pusher_of_next(_next().c.seq.asc()), _pusher_of_next(_next().c.seq.desc()))
    has_values = sa.or_(
        is_found(held.where(taken.c.taken_by == t.attempt.c.id)),
        sa.and_(takes_elsewhere(t.attempt), held_by_step),
        has_pushed(t.attempt),
        t.attempt.c.id.in_(sa.select(step.c.parent_id).where(step.c.id.in_(pushers_of_next))),
    )
    is_delivery = t.attempt.c.kind == literal("delivery")
    return (
        sa.select(*(t.run.c[name] for name in RUN), t.session.c.name, t.session.c.id, t.queue.c.session_id, is_delivery)
        .select_from(
            # By the newest run: it has not given back yet what those before it hold, while it ends their commands.
            t.attempt.join(t.session, t.session.c.id == t.attempt.c.session_id)
            .join(t.run, sa.and_(t.run.c.session_id == t.session.c.id, t.run.c.number == t.session.c.fence))
            .join(t.queue, t.queue.c.id == bindparam("queue_id"))
        )
        .where(t.attempt.c.status == literal("running"), t.run.c.ended_at.is_(None), is_foreign(t.attempt), has_values)
        .with_hint(t.attempt, "INDEXED BY ix_zrb_attempt_running", "sqlite")
    )


def holding_runs(executor: Executor, queue_id: int) -> list[HoldingRun]:
    """Return the runs that hold values of a queue or have pushed some, of other sessions or by deliveries."""
    rows = set(executor.execute(_holding_runs(), {"queue_id": queue_id}))  # one for each attempt of a run

    def holding(row: Row) -> HoldingRun:
        *columns, name, session_id, home_id, is_delivery = row
        return HoldingRun(runs.record(tuple(columns)), name, session_id, home_id, bool(is_delivery))

    return list(sound(holding, rows))


def take_over(transaction: Transaction, of_session: SessionRecord, run_columns: Params, reason: str) -> None:
    """End a session's dead run in the name of one that only reclaims, and undo what it did to other sessions."""
    kept = {name: getattr(of_session, name) for name in ("project", "task", "inputs", "parent", "traceparent")}
    run_id, _ = runs.start(transaction, of_session, 0, run_columns, {**kept, "path": json.dumps(of_session.path)})
    runs.end_attempts(transaction, of_session.id, "lost", draw(transaction), reason)
    runs.end(transaction, of_session.id, run_id, "interrupted")
