"""Copies of a session as it was at one moment. The database copies the rows without sending them here.

For `fork`, all that had not completed by then is given back in the copy. For `replay` it is `exact`: what was held is
held, by nobody that could give it back.
"""

from __future__ import annotations

import functools
import json
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from zrb_store.db.columns import ATTEMPT, MOST_TICK
from zrb_store.db.core import Params, bindparam, exists, is_one_of, literal, made_once, sa, statement, t
from zrb_store.db.dialect import among, insert_if_absent, new_id, new_ids, now, tick
from zrb_store.db.transaction import Executor, Row
from zrb_store.queries.attempts import ERROR, attempt_as, is_of_no_task, is_same_step, is_step
from zrb_store.queries.clock import Moment, given_tick
from zrb_store.queries.dependent_steps import ids, of_attempt, source_id, stood, stood_alone
from zrb_store.queries.runs import inputs_then
from zrb_store.queries.steps import StepRecord, select_steps, step_record
from zrb_store.queries.values import due_then, is_same_value
from zrb_store.records import UNFINISHED, SessionRecord

if TYPE_CHECKING:
    from sqlalchemy.sql.dml import ReturningInsert


_step, _parent = functools.partial(attempt_as, "step"), functools.partial(attempt_as, "parent")


@statement
def _first_start(of: Literal["task", "any step", "step"]) -> sa.Select[int | None]:
    task, step = bindparam("task", type_=sa.Text), bindparam("step", type_=sa.Text)
    first = sa.select(sa.func.min(t.attempt.c.started_tick)).where(t.attempt.c.session_id == source_id())
    if of == "task":
        return first.where(t.attempt.c.task == task, ~is_step(t.attempt))
    of_steps = first.where(t.attempt.c.step_of == task)
    return of_steps.where(t.attempt.c.step == step) if of == "step" else of_steps


def first_start(executor: Executor, session_id: int, task: str, step: str | None = None) -> int | None:
    """Return the tick at which a task first started, or a step of it, or the first step that a fork has of it."""
    of_task = {"source": session_id, "task": task}
    if step is not None:
        rows = executor.execute(_first_start("step"), {**of_task, "step": step})
    else:
        rows = executor.execute(_first_start("task"), of_task)
        if rows[0][0] is None:
            rows = executor.execute(_first_start("any step"), of_task)
    tick: int | None = rows[0][0]
    return tick


@statement
def _create(dialect_name: str) -> ReturningInsert[int]:
    columns = ("name", "project", "task", "path", "inputs", "tasks", "forked_from", "traceparent")
    inserted = insert_if_absent(dialect_name, t.session).values({name: bindparam(name) for name in columns})
    new = inserted.values(id=new_id("zrb_session"), status=literal("open"), created_at=now(), created_tick=tick())
    return new.returning(t.session.c.id)


def create(executor: Executor, name: str, source: SessionRecord, tick: int) -> int | None:
    """Create an `open` session with the task of `source`, and the inputs that it had at a moment.

    Return its id, or None if the name is taken.
    """
    row = {
        "name": name,
        "project": source.project,
        "task": source.task,
        "path": json.dumps(source.path),
        "inputs": inputs_then(executor, source, tick),
        "tasks": json.dumps(dict.fromkeys(source.tasks, "not started")),
        "forked_from": source.name,
        "traceparent": source.traceparent,
    }
    rows = executor.execute(_create(executor.dialect_name), row)
    return rows[0][0] if rows else None


def _stood(table: sa.FromClause, dialect_name: str) -> sa.ColumnElement[bool]:
    """Return the condition that an attempt stood at the moment, and does not depend on what comes back in the copy."""
    return sa.and_(stood_alone(table), sa.not_(among(dialect_name, table.c.id, "dependent")))


def _undone(table: sa.FromClause, dialect_name: str) -> sa.ColumnElement[bool]:
    """Return the condition that an attempt exists but did not stand at the moment."""
    return sa.and_(table.c.id.is_not(None), sa.not_(_stood(table, dialect_name)))


def _was_undone(table: sa.FromClause) -> sa.ColumnElement[bool]:
    """Return the condition that what an attempt did to queues of the session had been undone by the moment.

    In queues of other sessions it is undone as the attempt fails.
    """
    failed = sa.and_(is_one_of(table.c.status, *UNFINISHED), ~is_of_no_task(table), table.c.session_id != source_id())
    return sa.and_(
        table.c.id.is_not(None),
        sa.func.coalesce(
            sa.or_(table.c.given_back_tick <= given_tick(), sa.and_(failed, table.c.ended_tick <= given_tick())),
            sa.false(),
        ),
    )


_RULES = ("max_deliveries", "retry_after")


@statement
def _copy_queues() -> sa.Insert:
    rules = [t.queue.c[name] for name in _RULES]
    lowest = sa.func.min(t.value.c.seq)
    highest = sa.func.max(t.value.c.seq)
    return sa.insert(t.queue).from_select(
        ["id", "session_id", "name", *_RULES, "low", "high"],
        sa.select(
            new_ids("zrb_queue", t.queue.c.id),
            bindparam("target", type_=t.session.c.id.type),
            t.queue.c.name,
            *rules,
            sa.case((lowest < 1, lowest), else_=1),
            sa.case((highest > 0, highest), else_=0),
        )
        .select_from(
            t.queue.outerjoin(
                t.value, sa.and_(t.value.c.queue_id == t.queue.c.id, t.value.c.pushed_tick <= given_tick())
            )
        )
        .where(t.queue.c.session_id == source_id())
        .group_by(t.queue.c.id, t.queue.c.name, *rules)
        .having(sa.or_(highest.is_not(None), *(rule.is_not(None) for rule in rules)))
        .order_by(t.queue.c.id),
    )


@made_once
def _new_queue() -> sa.FromClause:
    return t.queue.alias("new_queue")


def _same_queue() -> sa.ColumnElement[bool]:
    return sa.and_(
        _new_queue().c.session_id == bindparam("target", type_=t.session.c.id.type),
        _new_queue().c.name == t.queue.c.name,
        t.queue.c.session_id == source_id(),
    )


_ERROR = (*ERROR, "error_data")
_OTHERWISE = (  # what a fork does not take over: ids, the process, the error, and when it was given back
    *("id", "session_id", "run_id", "fence", "result_queue_id", "parent_id", "used_by", "command_pid"),
    *("command_started", "given_back_at", "given_back_tick", *_ERROR),
)
_KEPT = [name for name in ATTEMPT if name not in _OTHERWISE]


def _is_copy(new: sa.FromClause, old: sa.FromClause) -> sa.ColumnElement[bool]:
    return sa.and_(
        new.c.session_id == bindparam("target", type_=t.session.c.id.type),
        old.c.session_id == source_id(),
        new.c.task == old.c.task,
        new.c.number == old.c.number,
    )


def _as_then() -> dict[str, sa.ColumnElement[Any]]:
    """Return the columns of an attempt as they were at the moment. One that had not ended is given back."""
    attempt, at = t.attempt.c, bindparam("time", type_=sa.BigInteger)
    had_ended = sa.func.coalesce(attempt.ended_tick <= given_tick(), sa.false())
    then: dict[str, sa.ColumnElement[Any]] = {name: attempt[name] for name in _KEPT}
    then |= {name: sa.case((had_ended, attempt[name])) for name in _ERROR}
    then["result_seq"] = sa.case((stood(t.attempt), attempt.result_seq))  # else it was retracted, and is not copied
    then["status"] = sa.case((had_ended, attempt.status), else_=literal("interrupted"))
    for what, when in (("at", at), ("tick", given_tick())):
        then[f"ended_{what}"] = sa.case((had_ended, attempt[f"ended_{what}"]), else_=when)
        given_back = attempt[f"given_back_{what}"]
        came_back = attempt.given_back_tick <= given_tick()
        then[f"given_back_{what}"] = sa.case((came_back, given_back), (sa.not_(had_ended), when))
    return then


@statement
def _copy_attempts(dialect_name: str, *, steps: bool, exact: bool) -> sa.Insert:
    """Make the statement that copies attempts of tasks, or those of steps. Steps need the copies of their parents."""
    kept = _as_then() if exact else {name: t.attempt.c[name] for name in _KEPT}
    parent = t.attempt.alias("parent")
    new_parent = t.attempt.alias("new_parent")
    return sa.insert(t.attempt).from_select(
        ["id", "session_id", "fence", "result_queue_id", "parent_id", *kept],
        sa.select(
            new_ids("zrb_attempt", t.attempt.c.id),
            bindparam("target", type_=t.session.c.id.type),
            literal(0),
            sa.case((kept["result_seq"].is_not(None), _new_queue().c.id)),
            new_parent.c.id,
            *kept.values(),
        )
        .select_from(
            t.attempt.outerjoin(t.queue, t.queue.c.id == t.attempt.c.result_queue_id)
            .outerjoin(_new_queue(), _same_queue())
            .outerjoin(parent, parent.c.id == t.attempt.c.parent_id)
            .outerjoin(new_parent, _is_copy(new_parent, parent))
        )
        .where(
            t.attempt.c.session_id == source_id(),
            is_step(t.attempt) if steps else ~is_step(t.attempt),
            t.attempt.c.started_tick <= given_tick() if exact else _stood(t.attempt, dialect_name),
        )
        .order_by(t.attempt.c.id),
    )


_KEPT_OF_OUTPUT = ("piece", "start", "size", "data")


@statement
def _copy_output() -> sa.Insert:
    original = t.attempt.alias("original")
    copied = t.attempt.join(original, _is_copy(t.attempt, original))
    return sa.insert(t.output).from_select(
        ["attempt_id", *_KEPT_OF_OUTPUT],
        sa.select(t.attempt.c.id, *(t.output.c[name] for name in _KEPT_OF_OUTPUT)).select_from(
            copied.join(t.output, t.output.c.attempt_id == original.c.id)
        ),
    )


_KEPT_OF_VALUE = ("seq", "pushed_at", "moved_from", "pushed_tick", "plain", "traceparent")
_CONTENT = ("type", "size", "data")


@statement
def _copy_values(dialect_name: str, exact: bool) -> sa.Insert:
    """Make the statement that copies the values."""
    pusher = t.attempt.alias("pusher")
    holder = t.attempt.alias("holder")
    new_pusher = t.attempt.alias("new_pusher")
    new_holder = t.attempt.alias("new_holder")
    # The attempt that held the value at the moment is in zrb_return if the value was returned later, otherwise in its
    # row.
    returned_later = t.returned.c.id.is_not(None)
    had_ended = t.value.c.ended_tick <= given_tick()
    holder_id = sa.case((returned_later, t.returned.c.taken_by), (had_ended, t.value.c.taken_by))
    taken_at = sa.case((returned_later, t.returned.c.taken_at), else_=t.value.c.ended_at)
    taken_tick = sa.case((returned_later, t.returned.c.taken_tick), else_=t.value.c.ended_tick)
    was_held = sa.or_(returned_later, sa.func.coalesce(had_ended, sa.false()))
    is_dead = t.value.c.state == literal("dead")
    is_retracted = t.value.c.state == literal("retracted")
    # What it was at the moment, if another content was put in its place later.
    replaced, earlier = t.replaced.alias("replaced"), t.replaced.alias("earlier")
    next_one = sa.select(sa.func.min(replaced.c.id)).where(
        is_same_value(replaced, t.value), replaced.c.replaced_tick > given_tick()
    )

    def was_replaced(rows: sa.FromClause) -> sa.ScalarSelect[int]:
        by_then = (is_same_value(replaced, rows), replaced.c.replaced_tick <= given_tick())
        return sa.select(sa.func.max(replaced.c.replaced_tick)).where(*by_then).scalar_subquery()

    content = (sa.case((earlier.c.id.is_not(None), earlier.c[name]), else_=t.value.c[name]) for name in _CONTENT)
    counted = t.returned.alias("counted")
    counts = sa.select(counted.c.failed_deliveries).where(
        is_same_value(counted, t.value), counted.c.failed_deliveries.is_not(None)
    )
    last_count = (
        counts.where(
            counted.c.returned_tick <= given_tick(),
            counted.c.returned_tick >= sa.func.coalesce(was_replaced(counted), literal(0)),
        )
        .order_by(counted.c.id.desc())
        .limit(literal(1))
    )
    next_count = (
        counts.where(
            counted.c.returned_tick > given_tick(),
            counted.c.returned_tick < sa.func.coalesce(earlier.c.replaced_tick, literal(MOST_TICK * 2)),
        )
        .order_by(counted.c.id)
        .limit(literal(1))
    )
    # Only the count of a value that is itself a copy, which has no returns, begins with its death: it is not known
    # then.
    before_next = sa.case(
        (next_count.scalar_subquery() == literal(0), literal(1)), else_=next_count.scalar_subquery() - literal(1)
    )
    failed_deliveries = sa.func.coalesce(
        # Nothing changes it after the end of a value: one that was dropped keeps the count that it died with.
        sa.case((t.value.c.ended_tick <= given_tick(), t.value.c.failed_deliveries)),
        last_count.scalar_subquery(),
        was_replaced(t.value) * literal(0),
        before_next,
        earlier.c.failed_deliveries,
        t.value.c.failed_deliveries,
    )
    pusher_undone = _was_undone(pusher) if exact else _undone(pusher, dialect_name)
    # A holder that is unknown belonged to a session that was deleted. If a return followed, its attempt was given back,
    # so it had not completed.
    given_back = sa.or_(_undone(holder, dialect_name), sa.and_(returned_later, t.returned.c.taken_by.is_(None)))
    given_back = sa.false() if exact else given_back
    was_dead = sa.or_(
        sa.and_(returned_later, sa.func.coalesce(t.returned.c.failed_deliveries, literal(1)) == literal(0)),
        sa.and_(
            sa.not_(returned_later),
            sa.func.coalesce(had_ended, sa.false()),
            # A value that was retracted although its pusher still stood at the moment was dead before.
            sa.or_(is_dead, sa.and_(is_retracted, pusher.c.id.is_not(None), sa.not_(pusher_undone))),
        ),
    )
    stays_taken = sa.and_(was_held, sa.not_(given_back), sa.not_(was_dead))
    # Whoever is given back in the copy has undone nothing there.
    links = [
        sa.case((stood(owner), new.c.id)) if exact else new.c.id
        for owner, new in ((pusher, new_pusher), (holder, new_holder))
    ]
    due_at = due_then()
    if exact:  # as long as then
        due_at += sa.select(now()).scalar_subquery() - bindparam("time", type_=sa.BigInteger)
    return sa.insert(t.value).from_select(
        [
            *("queue_id", "state", "pushed_by", "ended_at", "ended_tick", "taken_by", "orphaned", "failed_deliveries"),
            *("due_at", *_KEPT_OF_VALUE, *_CONTENT),
        ],
        sa.select(
            _new_queue().c.id,
            sa.case(
                (was_dead, literal("dead")),
                (sa.not_(stays_taken), literal("live")),
                (returned_later, literal("taken")),
                else_=t.value.c.state,
            ),
            links[0],
            sa.case((sa.or_(stays_taken, was_dead), taken_at)),
            sa.case((sa.or_(stays_taken, was_dead), taken_tick)),
            sa.case((stays_taken, links[1])),
            sa.and_(stays_taken, pusher_undone),
            failed_deliveries,
            # What comes back with the fork is not delayed: the attempt is one of its own session.
            sa.case((sa.not_(was_held), due_at)),
            *(t.value.c[name] for name in _KEPT_OF_VALUE),
            *content,
        )
        .select_from(
            t.value.join(t.queue)
            .join(_new_queue(), _same_queue())
            .outerjoin(
                t.returned,
                sa.and_(
                    is_same_value(t.returned, t.value),
                    t.returned.c.taken_tick <= given_tick(),
                    t.returned.c.returned_tick > given_tick(),
                ),
            )
            .outerjoin(earlier, earlier.c.id == next_one.scalar_subquery())
            .outerjoin(pusher, pusher.c.id == t.value.c.pushed_by)
            .outerjoin(holder, holder.c.id == holder_id)
            .outerjoin(new_pusher, _is_copy(new_pusher, pusher))
            .outerjoin(new_holder, _is_copy(new_holder, holder))
        )
        .where(
            t.value.c.pushed_tick <= given_tick(),
            sa.not_(sa.and_(is_retracted, was_held, sa.not_(returned_later), sa.not_(was_dead))),
            sa.true() if exact else sa.or_(stays_taken, sa.not_(pusher_undone)),
        ),
    )


@statement
def _copy_chunks() -> sa.Insert:
    # The values themselves are copied before, and those whole whose content was replaced later.
    copied = t.value.alias("copied")
    return sa.insert(t.chunk).from_select(
        ["queue_id", "seq", "number", "data"],
        sa.select(_new_queue().c.id, t.chunk.c.seq, t.chunk.c.number, t.chunk.c.data)
        .select_from(
            t.chunk.join(t.queue, t.queue.c.id == t.chunk.c.queue_id)
            .join(_new_queue(), _same_queue())
            .join(copied, sa.and_(copied.c.queue_id == _new_queue().c.id, copied.c.seq == t.chunk.c.seq))
        )
        .where(copied.c.data == literal("")),
    )


@statement
def _all_undone_parents() -> sa.CompoundSelect[int]:
    in_source = sa.and_(t.queue.c.id == t.value.c.queue_id, t.queue.c.session_id == source_id())
    returned = t.returned.join(t.value, is_same_value(t.returned, t.value))
    # Steps of other sessions matter if they have worked on queues of this one.
    visitors = sa.union(
        sa.select(t.value.c.pushed_by).select_from(t.value.join(t.queue, in_source)),
        sa.select(t.value.c.taken_by).select_from(t.value.join(t.queue, in_source)),
        sa.select(t.returned.c.taken_by).select_from(returned.join(t.queue, in_source)),
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
        undone_parents.where(_step().c.session_id == source_id()),
        undone_parents.where(_step().c.id.in_(visitors)),
    )


def _dependent(executor: Executor, at: Params) -> list[int]:
    """Return the completed steps that depend on what is given back in a copy, as of its moment."""
    parents = ids(executor, _all_undone_parents(), at)
    return sorted({each for parent_id in parents for each in of_attempt(executor, parent_id, fork=at)})


def copy_as_of(executor: Executor, source: int, target: int, task: str, step: str | None, tick: int) -> None:
    """Copy a session as it was before a tick, as if every attempt that had not completed by then were given back.

    A value keeps its seq, and its pusher and taker if they are copied too. Attempts of other sessions are not copied,
    nor those of `task` itself, nor its steps; if `step` is given, only that one of its steps is not.
    """
    at: Params = {"source": source, "task": task, "step": step, **Moment(2**63 - 1, tick).bounds}
    _copy(executor, {**at, "target": target, "dependent": json.dumps(_dependent(executor, at))})


def copy_exactly(executor: Executor, source: int, target: int, moment: Moment) -> None:
    """Copy a session exactly as it was at a moment."""
    _copy(executor, {"source": source, "target": target, **moment.bounds}, exact=True)


def _copy(executor: Executor, params: Params, *, exact: bool = False) -> None:
    name = executor.dialect_name
    attempts = (_copy_attempts(name, steps=steps, exact=exact) for steps in (False, True))
    for copy in (_copy_queues(), *attempts, _copy_values(name, exact), _copy_chunks(), _copy_output()):
        executor.execute(copy, params)


@statement
def _once_left_out() -> sa.Select[*Row]:
    newer, copied = t.attempt.alias("newer"), t.attempt.alias("copied")
    return (
        select_steps("arguments", "result")
        .where(
            t.attempt.c.session_id == source_id(),
            t.attempt.c.step_of.is_not(None),
            t.attempt.c.once,
            t.attempt.c.status != literal("failed"),
            ~exists(is_same_step(newer, t.attempt), newer.c.id > t.attempt.c.id),
            ~exists(_is_copy(copied, t.attempt)),
        )
        .order_by(t.attempt.c.id)
        .limit(literal(1))
    )


def once_left_out(executor: Executor, source: int, target: int) -> StepRecord | None:
    """Return the first step declared `once` that happened, or may have happened, and that a fork does not have."""
    rows = executor.execute(_once_left_out(), {"source": source, "target": target})
    return step_record(rows[0]) if rows else None


@statement
def _copies(original: bool) -> sa.Select[str, int, int]:
    # A copied value keeps its queue, its seq and the time of its push. No two values of a session have all three in
    # common.
    found = sa.select(t.session.c.name, t.session.c.created_at, t.session.c.created_tick).where(
        (t.session.c.name if original else t.session.c.forked_from) == bindparam("source", type_=sa.Text),
        t.queue.c.session_id == t.session.c.id,
        t.queue.c.name == bindparam("queue", type_=sa.Text),
        t.value.c.queue_id == t.queue.c.id,
        t.value.c.seq == bindparam("seq", type_=sa.BigInteger),
        t.value.c.pushed_at == bindparam("pushed_at", type_=sa.BigInteger),
    )
    return found.order_by(t.session.c.created_tick, t.session.c.id)


class Copy(NamedTuple):
    """A session with a copy of a value, and when it was forked: time and tick."""

    session: str
    at: int
    tick: int


def has_original(executor: Executor, source: str, queue_name: str, seq: int, pushed_at: int) -> bool:
    """Whether session `source` still has the original of a copied value, which has the copy's queue, seq and time."""
    place = {"source": source, "queue": queue_name, "seq": seq, "pushed_at": pushed_at}
    return bool(executor.execute(_copies(True), place))


def copies(executor: Executor, source: str, queue_name: str, seq: int, pushed_at: int) -> list[Copy]:
    """Return the forks of session `source` that have a copy of this value, the oldest first."""
    place = {"source": source, "queue": queue_name, "seq": seq, "pushed_at": pushed_at}
    return [Copy(*row) for row in executor.execute(_copies(False), place)]
