"""What `fork` copies: a session as it was at one moment. The database copies the rows without sending them here."""

from __future__ import annotations

import functools
import json
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy import bindparam, literal_column

from zrb_store.db.dialect import insert_if_absent, now
from zrb_store.db.tables import attempt, queue, returned, session, value
from zrb_store.db.transaction import Executor
from zrb_store.records import SessionRecord

_SOURCE = bindparam("source", type_=session.c.id.type)
_TARGET = bindparam("target", type_=session.c.id.type)
_TASK = bindparam("task", type_=sa.Text)
_MOMENT = bindparam("moment", type_=sa.BigInteger)
_COMPLETED: sa.ColumnClause[Any] = literal_column("'completed'")

_FIRST_START = sa.select(sa.func.min(attempt.c.started_at)).where(
    attempt.c.session_id == _SOURCE, attempt.c.task == _TASK
)


def first_start(executor: Executor, session_id: int, task: str) -> int | None:
    """Return when the task first started, or None if it never did."""
    moment: int | None = executor.execute(_FIRST_START, {"source": session_id, "task": task})[0][0]
    return moment


@functools.cache
def _create(dialect_name: str) -> Any:
    columns = ("name", "project", "task", "path", "inputs", "tasks", "forked_from")
    values = {"status": literal_column("'open'"), "created_at": now(), **{name: bindparam(name) for name in columns}}
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


def _stood(table: Any) -> Any:
    """Return the condition that an attempt stood at the moment.

    It had completed and had not been given back by then, and it is not an attempt of task `:task` itself.
    """
    return sa.and_(
        table.c.status == _COMPLETED,
        table.c.ended_at <= _MOMENT,
        sa.or_(table.c.given_back_at.is_(None), table.c.given_back_at > _MOMENT),
        sa.not_(sa.and_(table.c.session_id == _SOURCE, table.c.task == _TASK)),
    )


def _undone(table: Any) -> Any:
    """Return the condition that an attempt exists but did not stand at the moment."""
    return sa.and_(table.c.id.is_not(None), sa.not_(_stood(table)))


_lowest, _highest = sa.func.min(value.c.seq), sa.func.max(value.c.seq)
_COPY_QUEUES = sa.insert(queue).from_select(
    ["session_id", "name", "max_deliveries", "low", "high"],
    sa.select(
        _TARGET,
        queue.c.name,
        queue.c.max_deliveries,
        sa.case((_lowest < 1, _lowest), else_=1),
        sa.case((_highest > 0, _highest), else_=0),
    )
    .select_from(queue.outerjoin(value, sa.and_(value.c.queue_id == queue.c.id, value.c.pushed_at <= _MOMENT)))
    .where(queue.c.session_id == _SOURCE)
    .group_by(queue.c.id, queue.c.name, queue.c.max_deliveries)
    .having(sa.or_(_highest.is_not(None), queue.c.max_deliveries.is_not(None)))
    .order_by(queue.c.id),
)

_new_queue = queue.alias("new_queue")
_same_queue = sa.and_(
    _new_queue.c.session_id == _TARGET, _new_queue.c.name == queue.c.name, queue.c.session_id == _SOURCE
)
_KEPT = ("task", "number", "role", "status", "restorable", "arguments", "result_seq", "started_at", "ended_at")
_COPY_ATTEMPTS = sa.insert(attempt).from_select(
    ["session_id", "fence", "result_queue_id", *_KEPT],
    sa.select(_TARGET, literal_column("0"), _new_queue.c.id, *(attempt.c[name] for name in _KEPT))
    .select_from(
        attempt.outerjoin(queue, queue.c.id == attempt.c.result_queue_id).outerjoin(_new_queue, _same_queue),
    )
    .where(attempt.c.session_id == _SOURCE, _stood(attempt))
    .order_by(attempt.c.id),
)

_pusher, _holder = attempt.alias("pusher"), attempt.alias("holder")
_new_pusher, _new_holder = attempt.alias("new_pusher"), attempt.alias("new_holder")


def _is_copy(new: Any, old: Any) -> Any:
    return sa.and_(
        new.c.session_id == _TARGET,
        old.c.session_id == _SOURCE,
        new.c.task == old.c.task,
        new.c.number == old.c.number,
    )


# The attempt that held the value at the moment is in zrb_return if the value was returned later, otherwise in its row.
_returned_later = returned.c.id.is_not(None)
_holder_id = sa.case((_returned_later, returned.c.taken_by), (value.c.ended_at <= _MOMENT, value.c.taken_by))
_taken_at = sa.case((_returned_later, returned.c.taken_at), else_=value.c.ended_at)
_was_held = sa.or_(_returned_later, sa.func.coalesce(value.c.ended_at <= _MOMENT, sa.false()))
# A holder that is unknown belonged to a session that was deleted. If a return followed, its attempt was given back, so
# it had not completed.
_given_back = sa.or_(_undone(_holder), sa.and_(_returned_later, returned.c.taken_by.is_(None)))
_zero: sa.ColumnClause[Any] = literal_column("0")
_one: sa.ColumnClause[Any] = literal_column("1")
_is_dead = value.c.state == literal_column("'dead'")
_is_retracted = value.c.state == literal_column("'retracted'")
_was_dead = sa.or_(
    sa.and_(_returned_later, sa.func.coalesce(returned.c.deliveries, _one) == _zero),
    sa.and_(
        sa.not_(_returned_later),
        sa.func.coalesce(value.c.ended_at <= _MOMENT, sa.false()),
        # A value that was retracted although its pusher still stood at the moment was dead before.
        sa.or_(_is_dead, sa.and_(_is_retracted, _pusher.c.id.is_not(None), sa.not_(_undone(_pusher)))),
    ),
)
_stays_taken = sa.and_(_was_held, sa.not_(_given_back), sa.not_(_was_dead))
_counted = returned.alias("counted")
_counts: sa.Select[Any] = sa.select(_counted.c.deliveries).where(
    _counted.c.queue_id == value.c.queue_id, _counted.c.seq == value.c.seq, _counted.c.deliveries.is_not(None)
)
_last_count = _counts.where(_counted.c.returned_at <= _MOMENT).order_by(_counted.c.id.desc()).limit(_one)
_next_count = _counts.where(_counted.c.returned_at > _MOMENT).order_by(_counted.c.id).limit(_one)
# Only the count of a value that is itself a copy, which has no returns, begins with its death: it is not known then.
_before_next = sa.case((_next_count.scalar_subquery() == _zero, _one), else_=_next_count.scalar_subquery() - _one)
_deliveries = sa.func.coalesce(_last_count.scalar_subquery(), _before_next, value.c.deliveries)
_KEPT_OF_VALUE = ("seq", "type", "size", "pushed_at", "moved_from", "data")
_COPY_VALUES = sa.insert(value).from_select(
    ["queue_id", "state", "pushed_by", "ended_at", "taken_by", "orphaned", "deliveries", *_KEPT_OF_VALUE],
    sa.select(
        _new_queue.c.id,
        sa.case(
            (_was_dead, literal_column("'dead'")),
            (sa.not_(_stays_taken), literal_column("'live'")),
            (_returned_later, literal_column("'taken'")),
            else_=value.c.state,
        ),
        _new_pusher.c.id,
        sa.case((sa.or_(_stays_taken, _was_dead), _taken_at)),
        sa.case((_stays_taken, _new_holder.c.id)),
        sa.and_(_stays_taken, _undone(_pusher)),
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
                returned.c.taken_at <= _MOMENT,
                returned.c.returned_at > _MOMENT,
            ),
        )
        .outerjoin(_pusher, _pusher.c.id == value.c.pushed_by)
        .outerjoin(_holder, _holder.c.id == _holder_id)
        .outerjoin(_new_pusher, _is_copy(_new_pusher, _pusher))
        .outerjoin(_new_holder, _is_copy(_new_holder, _holder))
    )
    .where(
        value.c.pushed_at <= _MOMENT,
        sa.not_(sa.and_(_is_retracted, _was_held, sa.not_(_returned_later), sa.not_(_was_dead))),
        sa.or_(_stays_taken, sa.not_(_undone(_pusher))),
    ),
)


def copy_as_of(executor: Executor, source: int, target: int, task: str, moment: int) -> None:
    """Copy a session as it was at a moment, as if every attempt that had not completed by then were given back.

    Only attempts that had completed are copied. A value keeps its seq, and it keeps its pusher and its taker if they
    are copied too. Attempts of other sessions are not copied, so that the copy does not depend on other sessions.

    Args:
        executor: The open transaction.
        source: Id of the session that is copied.
        target: Id of the new, empty session.
        task: The task that first started at that moment.
        moment: Microseconds since 1970.
    """
    params = {"source": source, "target": target, "task": task, "moment": moment}
    for statement in (_COPY_QUEUES, _COPY_ATTEMPTS, _COPY_VALUES):
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
    sa.select(session.c.name, session.c.created_at)
    .where(session.c.forked_from == bindparam("source", type_=sa.Text), _IN_SESSION)
    .order_by(session.c.created_at, session.c.id)
)


class Copy(NamedTuple):
    """A session with a copy of a value, and when it was forked."""

    session: str
    at: int


def has_original(executor: Executor, source: str, queue_name: str, seq: int, pushed_at: int) -> bool:
    """Whether session `source` still has the original of a copied value, which has the copy's queue, seq and time."""
    place = {"source": source, "queue": queue_name, "seq": seq, "pushed_at": pushed_at}
    return bool(executor.execute(_ORIGINAL, place))


def copies(executor: Executor, source: str, queue_name: str, seq: int, pushed_at: int) -> list[Copy]:
    """Return the forks of session `source` that have a copy of this value, the oldest first."""
    place = {"source": source, "queue": queue_name, "seq": seq, "pushed_at": pushed_at}
    return [Copy(*row) for row in executor.execute(_COPIES, place)]
