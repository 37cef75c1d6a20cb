"""What `fork` copies: a session as it was at one moment. The database copies the rows without sending them here."""

from __future__ import annotations

import functools
import json
from typing import Any, NamedTuple

from zrb_store.db.core import attempt, bindparam, chunk, literal_column, output, queue, returned, sa, session, value
from zrb_store.db.dialect import among, insert_if_absent, new_id, new_ids, now, tick
from zrb_store.db.transaction import Executor
from zrb_store.queries.clock import TICK
from zrb_store.queries.fork_steps import SOURCE as _SOURCE
from zrb_store.queries.fork_steps import is_step, resting, stood_alone
from zrb_store.records import SessionRecord

_TARGET = bindparam("target", type_=session.c.id.type)
_TASK = bindparam("task", type_=sa.Text)

_first_start: sa.Select[Any] = sa.select(sa.func.min(attempt.c.started_tick)).where(attempt.c.session_id == _SOURCE)
_FIRST_START = _first_start.where(attempt.c.task == _TASK, ~is_step(attempt))
_FIRST_STEP = _first_start.where(attempt.c.step_of == _TASK)
_FIRST_START_OF_STEP = _FIRST_STEP.where(attempt.c.step == bindparam("step", type_=sa.Text))


def first_start(executor: Executor, session_id: int, task: str, step: str | None = None) -> int | None:
    """Return the tick at which a task, or a step of it, first started; None if it never did.

    A fork may have steps of a task that has not started in it. Then the first of them counts.
    """
    of_task = {"source": session_id, "task": task}
    if step is not None:
        rows = executor.execute(_FIRST_START_OF_STEP, {**of_task, "step": step})
    else:
        rows = executor.execute(_FIRST_START, of_task)
        if rows[0][0] is None:
            rows = executor.execute(_FIRST_STEP, of_task)
    tick: int | None = rows[0][0]
    return tick


@functools.cache
def _create(dialect_name: str) -> Any:
    columns = ("name", "project", "task", "path", "inputs", "tasks", "forked_from")
    values: dict[str, Any] = {name: bindparam(name) for name in columns}
    values |= {"status": literal_column("'open'"), "created_at": now(), "created_tick": tick()}
    values["id"] = new_id(literal_column("zrb_session"))
    return insert_if_absent(dialect_name, session).values(values).returning(session.c.id)


def create(executor: Executor, name: str, source: SessionRecord) -> int | None:
    """Create an `open` session with the task and inputs of `source`.

    Returns:
        Its id, or None if a session of that name exists.
    """
    row = {
        "name": name,
        "project": source.project,
        "task": source.task,
        "path": json.dumps(source.path),
        "inputs": source.inputs,
        "tasks": json.dumps(dict.fromkeys(source.tasks, "waiting")),
        "forked_from": source.name,
    }
    rows = executor.execute(_create(executor.dialect_name), row)
    return rows[0][0] if rows else None


def _stood(table: Any, dialect_name: str) -> Any:
    """Return the condition that an attempt stood at the moment, and does not rest on what comes back in the copy."""
    return sa.and_(stood_alone(table), sa.not_(among(dialect_name, table.c.id, "resting")))


def _undone(table: Any, dialect_name: str) -> Any:
    """Return the condition that an attempt exists but did not stand at the moment."""
    return sa.and_(table.c.id.is_not(None), sa.not_(_stood(table, dialect_name)))


_lowest, _highest = sa.func.min(value.c.seq), sa.func.max(value.c.seq)
_COPY_QUEUES = sa.insert(queue).from_select(
    ["id", "session_id", "name", "max_deliveries", "low", "high"],
    sa.select(
        new_ids(literal_column("zrb_queue"), queue.c.id),
        _TARGET,
        queue.c.name,
        queue.c.max_deliveries,
        sa.case((_lowest < 1, _lowest), else_=1),
        sa.case((_highest > 0, _highest), else_=0),
    )
    .select_from(queue.outerjoin(value, sa.and_(value.c.queue_id == queue.c.id, value.c.pushed_tick <= TICK)))
    .where(queue.c.session_id == _SOURCE)
    .group_by(queue.c.id, queue.c.name, queue.c.max_deliveries)
    .having(sa.or_(_highest.is_not(None), queue.c.max_deliveries.is_not(None)))
    .order_by(queue.c.id),
)

_new_queue = queue.alias("new_queue")
_same_queue = sa.and_(
    _new_queue.c.session_id == _TARGET, _new_queue.c.name == queue.c.name, queue.c.session_id == _SOURCE
)
_KEPT = (
    *("task", "number", "role", "status", "restorable", "arguments", "result_seq", "started_at", "ended_at"),
    *("step_of", "step", "step_number", "once", "result", "started_tick", "ended_tick"),
)
_parent, _new_parent = attempt.alias("parent"), attempt.alias("new_parent")


def _is_copy(new: Any, old: Any) -> Any:
    return sa.and_(
        new.c.session_id == _TARGET,
        old.c.session_id == _SOURCE,
        new.c.task == old.c.task,
        new.c.number == old.c.number,
    )


@functools.cache
def _copy_attempts(dialect_name: str, *, steps: bool) -> Any:
    """Make the statement that copies attempts of tasks, or those of steps. Steps need the copies of their parents."""
    return sa.insert(attempt).from_select(
        ["id", "session_id", "fence", "result_queue_id", "parent_id", *_KEPT],
        sa.select(
            new_ids(literal_column("zrb_attempt"), attempt.c.id),
            _TARGET,
            literal_column("0"),
            _new_queue.c.id,
            _new_parent.c.id,
            *(attempt.c[name] for name in _KEPT),
        )
        .select_from(
            attempt.outerjoin(queue, queue.c.id == attempt.c.result_queue_id)
            .outerjoin(_new_queue, _same_queue)
            .outerjoin(_parent, _parent.c.id == attempt.c.parent_id)
            .outerjoin(_new_parent, _is_copy(_new_parent, _parent)),
        )
        .where(
            attempt.c.session_id == _SOURCE,
            is_step(attempt) if steps else ~is_step(attempt),
            _stood(attempt, dialect_name),
        )
        .order_by(attempt.c.id),
    )


_original = attempt.alias("original")
_KEPT_OF_OUTPUT = ("piece", "start", "size", "data")
_COPY_OUTPUT = sa.insert(output).from_select(
    ["attempt_id", *_KEPT_OF_OUTPUT],
    sa.select(attempt.c.id, *(output.c[name] for name in _KEPT_OF_OUTPUT))
    .select_from(
        attempt.join(_original, _is_copy(attempt, _original)).join(output, output.c.attempt_id == _original.c.id)
    )
    .where(attempt.c.session_id == _TARGET, _original.c.session_id == _SOURCE),
)

_pusher, _holder = attempt.alias("pusher"), attempt.alias("holder")
_new_pusher, _new_holder = attempt.alias("new_pusher"), attempt.alias("new_holder")
# The attempt that held the value at the moment is in zrb_return if the value was returned later, otherwise in its row.
_returned_later = returned.c.id.is_not(None)
_had_ended = value.c.ended_tick <= TICK
_holder_id = sa.case((_returned_later, returned.c.taken_by), (_had_ended, value.c.taken_by))
_taken_at = sa.case((_returned_later, returned.c.taken_at), else_=value.c.ended_at)
_taken_tick = sa.case((_returned_later, returned.c.taken_tick), else_=value.c.ended_tick)
_was_held = sa.or_(_returned_later, sa.func.coalesce(_had_ended, sa.false()))
_zero: sa.ColumnClause[Any] = literal_column("0")
_one: sa.ColumnClause[Any] = literal_column("1")
_is_dead = value.c.state == literal_column("'dead'")
_is_retracted = value.c.state == literal_column("'retracted'")
_counted = returned.alias("counted")
_counts: sa.Select[Any] = sa.select(_counted.c.deliveries).where(
    _counted.c.queue_id == value.c.queue_id, _counted.c.seq == value.c.seq, _counted.c.deliveries.is_not(None)
)
_last_count = _counts.where(_counted.c.returned_tick <= TICK).order_by(_counted.c.id.desc()).limit(_one)
_next_count = _counts.where(_counted.c.returned_tick > TICK).order_by(_counted.c.id).limit(_one)
# Only the count of a value that is itself a copy, which has no returns, begins with its death: it is not known then.
_before_next = sa.case((_next_count.scalar_subquery() == _zero, _one), else_=_next_count.scalar_subquery() - _one)
_deliveries = sa.func.coalesce(_last_count.scalar_subquery(), _before_next, value.c.deliveries)
_KEPT_OF_VALUE = ("seq", "type", "size", "pushed_at", "moved_from", "data", "pushed_tick", "plain")


@functools.cache
def _copy_values(dialect_name: str) -> Any:
    """Make the statement that copies the values."""
    pusher_undone, holder_undone = _undone(_pusher, dialect_name), _undone(_holder, dialect_name)
    # A holder that is unknown belonged to a session that was deleted. If a return followed, its attempt was given back,
    # so it had not completed.
    given_back = sa.or_(holder_undone, sa.and_(_returned_later, returned.c.taken_by.is_(None)))
    was_dead = sa.or_(
        sa.and_(_returned_later, sa.func.coalesce(returned.c.deliveries, _one) == _zero),
        sa.and_(
            sa.not_(_returned_later),
            sa.func.coalesce(_had_ended, sa.false()),
            # A value that was retracted although its pusher still stood at the moment was dead before.
            sa.or_(_is_dead, sa.and_(_is_retracted, _pusher.c.id.is_not(None), sa.not_(pusher_undone))),
        ),
    )
    stays_taken = sa.and_(_was_held, sa.not_(given_back), sa.not_(was_dead))
    return sa.insert(value).from_select(
        [
            *("queue_id", "state", "pushed_by", "ended_at", "ended_tick", "taken_by", "orphaned", "deliveries"),
            *_KEPT_OF_VALUE,
        ],
        sa.select(
            _new_queue.c.id,
            sa.case(
                (was_dead, literal_column("'dead'")),
                (sa.not_(stays_taken), literal_column("'live'")),
                (_returned_later, literal_column("'taken'")),
                else_=value.c.state,
            ),
            _new_pusher.c.id,
            sa.case((sa.or_(stays_taken, was_dead), _taken_at)),
            sa.case((sa.or_(stays_taken, was_dead), _taken_tick)),
            sa.case((stays_taken, _new_holder.c.id)),
            sa.and_(stays_taken, pusher_undone),
            _deliveries,
            *(value.c[name] for name in _KEPT_OF_VALUE),
        )
        .select_from(
            value.join(queue, queue.c.id == value.c.queue_id)
            .join(_new_queue, _same_queue)
            .outerjoin(
                returned,
                sa.and_(
                    returned.c.queue_id == value.c.queue_id,
                    returned.c.seq == value.c.seq,
                    returned.c.taken_tick <= TICK,
                    returned.c.returned_tick > TICK,
                ),
            )
            .outerjoin(_pusher, _pusher.c.id == value.c.pushed_by)
            .outerjoin(_holder, _holder.c.id == _holder_id)
            .outerjoin(_new_pusher, _is_copy(_new_pusher, _pusher))
            .outerjoin(_new_holder, _is_copy(_new_holder, _holder))
        )
        .where(
            value.c.pushed_tick <= TICK,
            sa.not_(sa.and_(_is_retracted, _was_held, sa.not_(_returned_later), sa.not_(was_dead))),
            sa.or_(stays_taken, sa.not_(pusher_undone)),
        ),
    )


# The values themselves are copied before.
_copied = value.alias("copied")
_COPY_CHUNKS = sa.insert(chunk).from_select(
    ["queue_id", "seq", "number", "data"],
    sa.select(_new_queue.c.id, chunk.c.seq, chunk.c.number, chunk.c.data).select_from(
        chunk.join(queue, queue.c.id == chunk.c.queue_id)
        .join(_new_queue, _same_queue)
        .join(_copied, sa.and_(_copied.c.queue_id == _new_queue.c.id, _copied.c.seq == chunk.c.seq))
    ),
)


def copy_as_of(executor: Executor, source: int, target: int, task: str, step: str | None, tick: int) -> None:
    """Copy a session as it was before a tick, as if every attempt that had not completed by then were given back.

    Only attempts that had completed are copied, and the steps that stand without the attempts around them. A value
    keeps its seq, and it keeps its pusher and its taker if they are copied too. Attempts of other sessions are not
    copied, so that the copy does not depend on other sessions. What an attempt printed is copied with it.

    Args:
        executor: The open transaction.
        source: Id of the session that is copied.
        target: Id of the new, empty session.
        task: The task that first started at that moment, or the task of `step`. Its attempts are not copied.
        step: The step that first started at that moment. Without one, no steps of the task are copied.
        tick: The tick of that first start.
    """
    at: dict[str, Any] = {"source": source, "task": task, "step": step, "tick": tick}
    params = {**at, "target": target, "resting": json.dumps(resting(executor, at))}
    name = executor.dialect_name
    copies = (_copy_attempts(name, steps=False), _copy_attempts(name, steps=True), _copy_values(name))
    for statement in (_COPY_QUEUES, *copies, _COPY_CHUNKS, _COPY_OUTPUT):
        executor.execute(statement, params)


# A copied value keeps its queue, its seq and the time of its push. No two values of a session have all three in common.
_IN_SESSION = sa.and_(
    queue.c.session_id == session.c.id,
    queue.c.name == bindparam("queue", type_=sa.Text),
    value.c.queue_id == queue.c.id,
    value.c.seq == bindparam("seq", type_=sa.BigInteger),
    value.c.pushed_at == bindparam("pushed_at", type_=sa.BigInteger),
)
_ORIGINAL: sa.Select[Any] = sa.select(literal_column("1")).where(
    session.c.name == bindparam("source", type_=sa.Text), _IN_SESSION
)
_COPIES = (
    sa.select(session.c.name, session.c.created_at, session.c.created_tick)
    .where(session.c.forked_from == bindparam("source", type_=sa.Text), _IN_SESSION)
    .order_by(session.c.created_tick, session.c.id)
)


class Copy(NamedTuple):
    """A session with a copy of a value, and when it was forked: time and tick."""

    session: str
    at: int
    tick: int


def has_original(executor: Executor, source: str, queue_name: str, seq: int, pushed_at: int) -> bool:
    """Whether session `source` still has the original of a copied value, which has the copy's queue, seq and time."""
    place = {"source": source, "queue": queue_name, "seq": seq, "pushed_at": pushed_at}
    return bool(executor.execute(_ORIGINAL, place))


def copies(executor: Executor, source: str, queue_name: str, seq: int, pushed_at: int) -> list[Copy]:
    """Return the forks of session `source` that have a copy of this value, the oldest first."""
    place = {"source": source, "queue": queue_name, "seq": seq, "pushed_at": pushed_at}
    return [Copy(*row) for row in executor.execute(_COPIES, place)]
