"""Runs that hold values of a queue of another session, and the take-over of those that died."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from zrb_store.db.columns import RUN
from zrb_store.db.core import attempt, bindparam, literal_column, queue, run, sa, session, value
from zrb_store.db.dialect import now, schema_is_unchanged
from zrb_store.db.transaction import Executor, Transaction
from zrb_store.queries import runs
from zrb_store.queries.clock import MOMENT, TICK, draw
from zrb_store.queries.give_back import undo_ended
from zrb_store.records import RunRecord, SessionRecord


class HoldingRun(NamedTuple):
    """A run whose attempts hold values of a queue, or have pushed the value that comes next.

    Attributes:
        run: The run, which has not ended.
        session: Name of its session.
        session_id: Its session.
        home_id: The session of the queue.
        is_delivery: Whether it holds them by a delivery, which is given back whole.
    """

    run: RunRecord
    session: str
    session_id: int
    home_id: int
    is_delivery: bool


_QUEUE_ID: sa.BindParameter[Any] = bindparam("queue_id")
_ONE: sa.ColumnClause[Any] = literal_column("1")
_taken, _next = value.alias("taken"), value.alias("next")


def _pusher_of_next(order: Any) -> Any:
    """Select the attempt that pushed the first or the last live value."""
    return (
        sa.select(_next.c.pushed_by)
        .where(_next.c.queue_id == _QUEUE_ID, _next.c.ended_at.is_(None))
        .with_hint(_next, "INDEXED BY ix_zrb_value_live", "sqlite")
        .order_by(order)
        .limit(_ONE)
        .scalar_subquery()
    )


# Other values that it pushed are found when they come next: to look for them all would read all it ever pushed.
_pushers_of_next = [_pusher_of_next(_next.c.seq.asc()), _pusher_of_next(_next.c.seq.desc())]
# What its completed steps have counts too if it has taken a value of another session outside of them: they may rest on
# that value, and then come back with it (promise 11).
_elsewhere = queue.alias("elsewhere")
_takes_elsewhere = sa.exists(
    sa.select(_ONE)
    .select_from(_taken.join(_elsewhere, _elsewhere.c.id == _taken.c.queue_id))
    .where(_taken.c.taken_by == attempt.c.id, _elsewhere.c.session_id != attempt.c.session_id)
)
_step = attempt.alias("step")
_completed_steps = (
    sa.select(_step.c.id)
    .where(
        _step.c.session_id == attempt.c.session_id,
        _step.c.step_of == attempt.c.task,
        _step.c.parent_id == attempt.c.id,
        _step.c.status == literal_column("'completed'"),
        _step.c.given_back_at.is_(None),
    )
    .correlate(attempt)
)
# Not by the queue: its history may be long.
_held = (
    sa.select(_ONE)
    .where(_taken.c.queue_id == _QUEUE_ID)
    .with_hint(_taken, "INDEXED BY ix_zrb_value_taken_by", "sqlite")
)
_has_values = sa.or_(
    sa.exists(_held.where(_taken.c.taken_by == attempt.c.id)),
    attempt.c.id.in_(_pushers_of_next),
    sa.and_(
        _takes_elsewhere,
        sa.or_(
            sa.exists(_held.where(_taken.c.taken_by.in_(_completed_steps))),
            sa.exists(_completed_steps.where(_step.c.id.in_(_pushers_of_next))),
        ),
    ),
)
_is_delivery = attempt.c.role == literal_column("'delivery'")
# The index has the running attempts alone, which are few: all that was ever taken is not read.
_HOLDING_RUNS = (
    sa.select(*(run.c[name] for name in RUN), session.c.name, session.c.id, queue.c.session_id, _is_delivery)
    .select_from(
        attempt.join(run, run.c.id == attempt.c.run_id)
        .join(session, session.c.id == attempt.c.session_id)
        .join(queue, queue.c.id == _QUEUE_ID)
    )
    .where(
        attempt.c.status == literal_column("'running'"),
        run.c.ended_at.is_(None),
        sa.or_(queue.c.session_id != attempt.c.session_id, _is_delivery),
        _has_values,
    )
    .with_hint(attempt, "INDEXED BY ix_zrb_attempt_running", "sqlite")
)


def holding_runs(executor: Executor, queue_id: int) -> list[HoldingRun]:
    """Return the runs that hold values of a queue, of other sessions or by deliveries, dead or alive."""
    rows = set(executor.execute(_HOLDING_RUNS, {"queue_id": queue_id}))  # one for each attempt of a run
    return [
        HoldingRun(runs.record(tuple(columns)), name, session_id, home_id, bool(is_delivery))
        for *columns, name, session_id, home_id, is_delivery in rows
    ]


_SUSPECT = (
    sa.update(run)
    .where(
        run.c.id == bindparam("run_id"),
        # A suspicion of the future comes from a clock that was ahead.
        sa.or_(run.c.suspected_at.is_(None), run.c.suspected_at > now()),
        run.c.ended_at.is_(None),
        schema_is_unchanged,
        run.c.lease_expires_at == bindparam("seen", type_=sa.BigInteger),
    )
    .values(suspected_at=now())
    .returning(run.c.id)
)


def suspect(executor: Executor, dead: RunRecord) -> None:
    """Record that the lease of a run has expired, unless it was renewed since. A renewal removes the suspicion."""
    executor.execute(_SUSPECT, {"run_id": dead.id, "seen": dead.lease_expires_at})


_LOSE_ATTEMPTS = (
    sa.update(attempt)
    .where(attempt.c.run_id == bindparam("of_run"), attempt.c.status == literal_column("'running'"))
    .values(status=literal_column("'lost'"), ended_at=MOMENT, ended_tick=TICK)
    .returning(attempt.c.id)
)


def take_over(
    transaction: Transaction, dead: RunRecord, of_session: SessionRecord, run_columns: Mapping[str, Any], reason: str
) -> None:
    """End a dead run in the name of a run that only reclaims, and undo what its attempts did to other sessions.

    Args:
        transaction: The open transaction, in which the session's row is locked.
        dead: The run.
        of_session: Its session.
        run_columns: What is stored with the reclaiming run, as for `runs.start`.
        reason: Stored with every value that comes back.
    """
    kept = {name: getattr(of_session, name) for name in ("project", "task", "inputs", "parent")}
    run_id, _ = runs.start(transaction, of_session, 0, run_columns, {**kept, "path": json.dumps(of_session.path)})
    lost = transaction.execute(_LOSE_ATTEMPTS, {"of_run": dead.id, **draw(transaction).params})
    undo_ended(transaction, [row[0] for row in lost], reason)
    runs.end(transaction, of_session.id, run_id, "interrupted")
