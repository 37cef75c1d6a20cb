"""Attempts in effect at the moment of a fork, and steps that depend on those given back in it (promises 1 and 11)."""

from __future__ import annotations

import functools

from zrb_store.db.core import Params, bindparam, literal, sa, statement, t
from zrb_store.db.transaction import Executor
from zrb_store.queries.attempts import attempt_as
from zrb_store.queries.clock import given_tick
from zrb_store.queries.dependent_steps import ids, with_takers

_step, _parent = functools.partial(attempt_as, "step"), functools.partial(attempt_as, "parent")


def source_id() -> sa.BindParameter[int]:
    """Return the session that is copied."""
    return bindparam("source", type_=t.session.c.id.type)


def is_step(table: sa.FromClause) -> sa.ColumnElement[bool]:
    """Return the condition that an attempt is one of a step."""
    return table.c.role == literal("step")


def _is_left_out(table: sa.FromClause) -> sa.ColumnElement[bool]:
    """Return the condition that an attempt is of the task `:task`, or of its step `:step` (NULL: any of them)."""
    task = bindparam("task", type_=sa.Text)
    return sa.and_(
        table.c.session_id == source_id(),
        sa.case(
            (
                is_step(table),
                sa.and_(
                    table.c.step_of == task,
                    sa.func.coalesce(bindparam("step", type_=sa.Text), table.c.step) == table.c.step,
                ),
            ),
            else_=table.c.task == task,
        ),
    )


def stood_alone(table: sa.FromClause) -> sa.ColumnElement[bool]:
    """Return the condition that an attempt had completed, was not given back by then, and is not left out."""
    return sa.and_(
        table.c.status == literal("completed"),
        table.c.ended_tick <= given_tick(),
        sa.or_(table.c.given_back_at.is_(None), table.c.given_back_tick > given_tick()),
        sa.not_(_is_left_out(table)),
    )


def _of_value() -> sa.ColumnElement[bool]:
    return sa.and_(t.returned.c.queue_id == t.value.c.queue_id, t.returned.c.seq == t.value.c.seq)


@statement
def _all_undone_parents() -> sa.CompoundSelect[int]:
    in_source = sa.and_(t.queue.c.id == t.value.c.queue_id, t.queue.c.session_id == source_id())
    # Steps of other sessions matter if they have worked on queues of this one.
    visitors = sa.union(
        sa.select(t.value.c.pushed_by).select_from(t.value.join(t.queue, in_source)),
        sa.select(t.value.c.taken_by).select_from(t.value.join(t.queue, in_source)),
        sa.select(t.returned.c.taken_by).select_from(t.returned.join(t.value, _of_value()).join(t.queue, in_source)),
    )
    undone_parents = (
        sa.select(_parent().c.id)
        .select_from(_step().join(_parent(), _parent().c.id == _step().c.parent_id))
        .where(
            is_step(_step()),
            stood_alone(_step()),
            sa.not_(stood_alone(_parent())),
            sa.or_(_parent().c.given_back_at.is_(None), _parent().c.given_back_tick > given_tick()),
        )
    )
    return sa.union(
        undone_parents.where(_step().c.session_id == source_id(), _step().c.step_of.is_not(None)),
        undone_parents.where(_step().c.id.in_(visitors)),
    )


@statement
def _first_takes() -> sa.CompoundSelect[int | None]:
    parent = bindparam("parent_id", type_=t.attempt.c.id.type)
    elsewhere = t.value.join(t.queue).join(_parent(), _parent().c.id == parent)
    foreign = t.queue.c.session_id != _parent().c.session_id
    return sa.union_all(
        sa.select(sa.func.min(t.value.c.ended_tick))
        .select_from(elsewhere)
        .where(t.value.c.taken_by == parent, foreign, t.value.c.ended_tick <= given_tick()),
        sa.select(sa.func.min(t.returned.c.taken_tick))
        .select_from(elsewhere.join(t.returned, _of_value()))
        .where(
            t.returned.c.taken_by == parent,
            foreign,
            t.returned.c.taken_tick <= given_tick(),
            t.returned.c.returned_tick > given_tick(),
        ),
    )


def _in_effect() -> tuple[sa.ColumnElement[bool], ...]:
    return (
        _step().c.parent_id == bindparam("parent_id", type_=t.attempt.c.id.type),
        is_step(_step()),
        stood_alone(_step()),
    )


@statement
def _begun_since() -> sa.Select[int]:
    return (
        sa.select(_step().c.id)
        .select_from(
            _parent().join(
                _step(), sa.and_(_step().c.session_id == _parent().c.session_id, _step().c.step_of == _parent().c.task)
            )
        )
        .where(
            _parent().c.id == bindparam("parent_id", type_=t.attempt.c.id.type),
            *_in_effect(),
            _step().c.started_tick >= bindparam("since", type_=sa.BigInteger),
            _step().c.run_id.is_not(None),
        )
    )


@statement
def _taking_from() -> sa.CompoundSelect[int]:
    pusher = bindparam("pusher_id", type_=t.attempt.c.id.type)
    return sa.union(
        sa.select(_step().c.id)
        .select_from(t.value.join(_step(), _step().c.id == t.value.c.taken_by))
        .where(t.value.c.pushed_by == pusher, *_in_effect(), t.value.c.ended_tick <= given_tick()),
        sa.select(_step().c.id)
        .select_from(t.value.join(t.returned, _of_value()).join(_step(), _step().c.id == t.returned.c.taken_by))
        .where(
            t.value.c.pushed_by == pusher,
            *_in_effect(),
            t.returned.c.taken_tick <= given_tick(),
            t.returned.c.returned_tick > given_tick(),
        ),
    )


def dependent(executor: Executor, at: Params) -> list[int]:
    """Return the completed steps that depend on what is given back in a copy, as of its moment."""
    parents = ids(executor, _all_undone_parents(), at)
    return sorted({each for parent_id in parents for each in _of_attempt(executor, {**at, "parent_id": parent_id})})


def _of_attempt(executor: Executor, params: Params) -> set[int]:
    found = ids(executor, _taking_from(), {**params, "pusher_id": params["parent_id"]})
    takes = [row[0] for row in executor.execute(_first_takes(), params) if row[0] is not None]
    if takes:
        found |= ids(executor, _begun_since(), {**params, "since": min(takes)})
    return with_takers(executor, found, _taking_from(), params)
