"""What stood at the moment of a fork, and which steps rest on what is given back in the copy (promises 1 and 11)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from zrb_store.db.core import attempt, bindparam, literal_column, queue, returned, sa, session, value
from zrb_store.db.transaction import Executor
from zrb_store.queries.clock import TICK

SOURCE = bindparam("source", type_=session.c.id.type)
"""The session that is copied."""
_TASK = bindparam("task", type_=sa.Text)
_STEP = bindparam("step", type_=sa.Text)
_PARENT = bindparam("parent_id", type_=attempt.c.id.type)
_PUSHER = bindparam("pusher_id", type_=attempt.c.id.type)


def is_step(table: Any) -> Any:
    """Return the condition that an attempt is one of a step."""
    return table.c.role == literal_column("'step'")


def _is_left_out(table: Any) -> Any:
    """Return the condition that an attempt is of the task `:task` itself, or of a step that is not to be copied.

    All steps of the task are left out, unless `:step` is given: then only that one.
    """
    return sa.and_(
        table.c.session_id == SOURCE,
        sa.case(
            (is_step(table), sa.and_(table.c.step_of == _TASK, sa.func.coalesce(_STEP, table.c.step) == table.c.step)),
            else_=table.c.task == _TASK,
        ),
    )


def stood_alone(table: Any) -> Any:
    """Return the condition that an attempt stood at the moment, as far as that does not depend on other attempts.

    It had completed and had not been given back by then, and it is not left out.
    """
    return sa.and_(
        table.c.status == literal_column("'completed'"),
        table.c.ended_tick <= TICK,
        sa.or_(table.c.given_back_at.is_(None), table.c.given_back_tick > TICK),
        sa.not_(_is_left_out(table)),
    )


_step, _parent = attempt.alias("step"), attempt.alias("parent")
_in_source = sa.and_(queue.c.id == value.c.queue_id, queue.c.session_id == SOURCE)
_of_value = sa.and_(returned.c.queue_id == value.c.queue_id, returned.c.seq == value.c.seq)
# Steps of other sessions matter if they have worked on queues of this one.
_visitors = sa.union(
    sa.select(value.c.pushed_by).select_from(value.join(queue, _in_source)),
    sa.select(value.c.taken_by).select_from(value.join(queue, _in_source)),
    sa.select(returned.c.taken_by).select_from(returned.join(value, _of_value).join(queue, _in_source)),
)
_undone_parents = (
    sa.select(_parent.c.id)
    .select_from(_step.join(_parent, _parent.c.id == _step.c.parent_id))
    .where(
        is_step(_step),
        stood_alone(_step),
        sa.not_(stood_alone(_parent)),
        sa.or_(_parent.c.given_back_at.is_(None), _parent.c.given_back_tick > TICK),
    )
)
_UNDONE_PARENTS = sa.union(
    _undone_parents.where(_step.c.session_id == SOURCE, _step.c.step_of.is_not(None)),
    _undone_parents.where(_step.c.id.in_(_visitors)),
)

_held = (value.c.ended_tick <= TICK,)
_held_then = (returned.c.taken_tick <= TICK, returned.c.returned_tick > TICK)
_elsewhere = value.join(queue, queue.c.id == value.c.queue_id).join(_parent, _parent.c.id == _PARENT)
_foreign = queue.c.session_id != _parent.c.session_id
_FIRST_TAKES = sa.union_all(
    sa.select(sa.func.min(value.c.ended_tick))
    .select_from(_elsewhere)
    .where(value.c.taken_by == _PARENT, _foreign, *_held),
    sa.select(sa.func.min(returned.c.taken_tick))
    .select_from(_elsewhere.join(returned, _of_value))
    .where(returned.c.taken_by == _PARENT, _foreign, *_held_then),
)
_standing = (_step.c.parent_id == _PARENT, is_step(_step), stood_alone(_step))
_BEGUN_SINCE = (
    sa.select(_step.c.id)
    .select_from(
        _parent.join(_step, sa.and_(_step.c.session_id == _parent.c.session_id, _step.c.step_of == _parent.c.task))
    )
    .where(
        _parent.c.id == _PARENT,
        *_standing,
        _step.c.started_tick >= bindparam("since", type_=sa.BigInteger),
        _step.c.run_id.is_not(None),
    )
)
_TAKING_FROM = sa.union(
    sa.select(_step.c.id)
    .select_from(value.join(_step, _step.c.id == value.c.taken_by))
    .where(value.c.pushed_by == _PUSHER, *_standing, *_held),
    sa.select(_step.c.id)
    .select_from(value.join(returned, _of_value).join(_step, _step.c.id == returned.c.taken_by))
    .where(value.c.pushed_by == _PUSHER, *_standing, *_held_then),
)


def resting(executor: Executor, at: Mapping[str, Any]) -> list[int]:
    """Return the completed steps that rest on what unfinished attempts had done by then, which is given back.

    These are the steps that `queries/resting_steps.py` would have found at the moment of the fork.

    Args:
        executor: The open transaction.
        at: The session `source`, the `tick` of the moment, and the `task` and the `step` from which on nothing is
            copied.
    """
    found: set[int] = set()
    for (parent_id,) in executor.execute(_UNDONE_PARENTS, at):
        found |= _of_attempt(executor, {**at, "parent_id": parent_id})
    return sorted(found)


def _of_attempt(executor: Executor, params: Mapping[str, Any]) -> set[int]:
    found = _ids(executor, _TAKING_FROM, {**params, "pusher_id": params["parent_id"]})
    takes = [row[0] for row in executor.execute(_FIRST_TAKES, params) if row[0] is not None]
    if takes:
        found |= _ids(executor, _BEGUN_SINCE, {**params, "since": min(takes)})
    new = list(found)
    while new:
        more = _ids(executor, _TAKING_FROM, {**params, "pusher_id": new.pop()}) - found
        new += more
        found |= more
    return found


def _ids(executor: Executor, statement: Any, params: Mapping[str, Any]) -> set[int]:
    return {row[0] for row in executor.execute(statement, params)}
