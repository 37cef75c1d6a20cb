"""Whether those who pushed values may have died: attempts of other sessions than the queue's, and deliveries, that run.

Whoever takes or reads values asks this in the same statement, so that a queue without such pushers costs nothing more.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import TypedDict

from zrb_store.db.core import bindparam, exists, literal, made_once, sa, t
from zrb_store.db.dialect import among_few
from zrb_store.queries.attempts import attempt_as, is_in_effect


class PusherInDoubtError(Exception):
    """A pusher may have died: search for dead processes (runtime/reclaim.py), and ask again for everybody's values."""


class Alive(TypedDict):
    """Parameters of statements: the runs that are known to work."""

    everybody: int  # 1: whoever they are. Not a bool, which sqlite3 first adapts
    own_run: int  # one of this process; 0 for none. It has a place of its own since SQLite reads a list slowly
    other_runs: str  # JSON list of the others


def alive(own_run: int, other_runs: Collection[int]) -> Alive:
    """Return runs that are known to work."""
    return {"everybody": 0, "own_run": own_run, "other_runs": json.dumps(list(other_runs))}


NOBODY = alive(0, ())
EVERYBODY: Alive = {**NOBODY, "everybody": 1}


def is_foreign(attempt: sa.FromClause) -> sa.ColumnElement[bool]:
    """Return the condition that an attempt is of another session than the queue `:queue_id`, or a delivery."""
    home = sa.select(t.queue.c.session_id).where(t.queue.c.id == bindparam("queue_id")).scalar_subquery()
    return sa.or_(attempt.c.session_id != home, attempt.c.kind == literal("delivery"))


def takes_elsewhere(attempt: sa.FromClause) -> sa.ColumnElement[bool]:
    """Return the condition that an attempt has taken a value of another session outside of its steps.

    They may depend on that value, and then come back with it although they have completed (promise 11).
    """
    taken, elsewhere = t.value.alias("taken_elsewhere"), t.queue.alias("elsewhere")
    return exists(
        taken.c.taken_by == attempt.c.id,
        elsewhere.c.session_id != attempt.c.session_id,
        rows=taken.join(elsewhere, elsewhere.c.id == taken.c.queue_id),
    )


def completed_steps(attempt: sa.FromClause) -> sa.Select[int]:
    """Select the completed steps of an attempt."""
    step = attempt_as("step")
    return (
        sa.select(step.c.id)
        .where(
            step.c.session_id == attempt.c.session_id,
            step.c.step_of == attempt.c.task,
            step.c.parent_id == attempt.c.id,
            is_in_effect(step),
        )
        .correlate(attempt)
    )


def is_found(values: sa.Select[int]) -> sa.ColumnElement[bool]:
    """Return the condition that there are such values. With EXISTS, PostgreSQL might read all that a queue ever had."""
    return values.limit(literal(1)).scalar_subquery().is_not(None)


@made_once
def _pushed() -> sa.FromClause:
    return t.value.alias("pushed")


def has_pushed(attempt: sa.FromClause) -> sa.ColumnElement[bool]:
    """Return the condition that an attempt, or a completed step that may come back with it, has pushed to the queue."""
    pushed = _pushed()
    to_queue = (
        sa.select(literal(1))
        .where(pushed.c.queue_id == bindparam("queue_id"))
        .with_hint(pushed, "INDEXED BY ix_zrb_value_pushed_by", "sqlite")
    )
    by_step = is_found(to_queue.where(pushed.c.pushed_by.in_(completed_steps(attempt))))
    return sa.or_(
        is_found(to_queue.where(pushed.c.pushed_by == attempt.c.id)), sa.and_(takes_elsewhere(attempt), by_step)
    )


def pusher_is_alive(dialect_name: str) -> sa.ColumnElement[bool]:
    """Return the condition that the pusher of a value of `zrb_value` cannot have died before its push was for good."""
    pusher, whole = t.attempt.alias("pusher"), t.attempt.alias("whole")
    # Of a step of a running attempt it is not asked whether it may come back: that takes PostgreSQL longer than a peek.
    of_step = exists(whole.c.id == pusher.c.parent_id, whole.c.status == literal("running"))
    may_have_died = exists(
        pusher.c.id == t.value.c.pushed_by,
        pusher.c.run_id != bindparam("own_run"),
        sa.or_(pusher.c.status == literal("running"), of_step),
        is_foreign(pusher),
        ~among_few(dialect_name, pusher.c.run_id, "other_runs"),
    )
    return _unless_everybody_is(~may_have_died)


def all_pushers_are_alive(dialect_name: str) -> sa.ColumnElement[bool]:
    """Return the condition that this holds for the pushers of all values that the queue `:queue_id` ever had."""
    pusher = t.attempt.alias("running")
    may_have_died = (
        sa.select(literal(1))
        .where(
            pusher.c.status == literal("running"),
            pusher.c.run_id != bindparam("own_run"),
            is_foreign(pusher),
            has_pushed(pusher),
            ~among_few(dialect_name, pusher.c.run_id, "other_runs"),
        )
        .with_hint(pusher, "INDEXED BY ix_zrb_attempt_running", "sqlite")
    )
    return _unless_everybody_is(~sa.exists(may_have_died))


def _unless_everybody_is(alive: sa.ColumnElement[bool]) -> sa.ColumnElement[bool]:
    return sa.or_(bindparam("everybody", type_=sa.Integer) == literal(1), alive)
