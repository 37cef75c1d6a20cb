"""Attempts: begin, complete and fail. Every write of an attempt carries its fence."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy import bindparam, literal_column

from zrb_store.columns import ATTEMPT, readable
from zrb_store.db.dialect import now, schema_holds
from zrb_store.db.tables import attempt, queue, run, session, value
from zrb_store.db.transaction import Executor, Row
from zrb_store.records import AttemptRecord

_holder = attempt.alias("holder")
# The condition under which an attempt may write: it runs, and no newer run has taken its session over. On PostgreSQL
# the lock makes a take-over that happens at this moment wait for the write, or the write see the take-over.
# Not a join: of a table in which ANALYZE met a single row, SQLite reads all rows even if one is asked for by its id.
holds = sa.exists(
    sa.select(literal_column("1"))
    .where(
        _holder.c.id == bindparam("attempt_id"),
        _holder.c.status == literal_column("'running'"),
        _holder.c.fence
        == sa.select(session.c.fence).where(session.c.id == _holder.c.session_id).correlate(_holder).scalar_subquery(),
    )
    .with_for_update(read=True, of=_holder)
)

_COLUMNS = [
    attempt.c.id,
    attempt.c.session_id,
    session.c.name,
    attempt.c.run_id,
    run.c.number,
    *[column for column in attempt.c if column.name not in ("id", "session_id", "run_id")],
]
_FROM = attempt.join(session, session.c.id == attempt.c.session_id).outerjoin(run, run.c.id == attempt.c.run_id)
_SELECT = sa.select(*_COLUMNS).select_from(_FROM)


def record(row: Row) -> AttemptRecord:
    """A row of `_SELECT` as a record."""
    attempt_id, session_id, session_name, run_id, number, *others = row
    named, damage = readable(ATTEMPT, (attempt_id, session_id, run_id, *others))
    return AttemptRecord(session=session_name, run=number, **named, damage=damage)


_unfinished = sa.and_(
    attempt.c.given_back_at.is_(None),
    attempt.c.status != literal_column("'completed'"),
)
_of_task = sa.and_(attempt.c.session_id == bindparam("session_id"), attempt.c.task == bindparam("task"))
_fence_holds = sa.exists(
    sa.select(literal_column("1"))
    .where(session.c.id == bindparam("session_id"), session.c.fence == bindparam("fence", type_=sa.Integer))
    .with_for_update(read=True)
)

_other = attempt.alias("other")
_other_of_task = sa.and_(_other.c.session_id == bindparam("session_id"), _other.c.task == bindparam("task"))


def _begin(*unless: sa.ColumnElement[bool]) -> sa.Executable:
    """The next attempt of a task, unless an earlier one that was not given back is like this."""
    in_the_way: sa.Select[Any] = sa.select(literal_column("1")).where(
        _other_of_task, _other.c.given_back_at.is_(None), *unless
    )
    number = sa.func.coalesce(sa.func.max(_other.c.number), literal_column("0")) + literal_column("1")
    source = sa.select(
        bindparam("session_id", type_=attempt.c.id.type),
        bindparam("run_id", type_=attempt.c.id.type),
        bindparam("fence", type_=sa.Integer),
        bindparam("task", type_=sa.Text),
        sa.select(number).where(_other_of_task).scalar_subquery(),
        bindparam("role", type_=sa.Text),
        literal_column("'running'"),
        bindparam("arguments", type_=sa.Text),
        now(),
    ).where(schema_holds, _fence_holds, ~sa.exists(in_the_way))
    columns = ["session_id", "run_id", "fence", "task", "number", "role", "status", "arguments", "started_at"]
    return sa.insert(attempt).from_select(columns, source).returning(attempt.c.id, attempt.c.number)


_BEGIN = _begin(_other.c.status != literal_column("'completed'"))
_BEGIN_ONCE = _begin()


def begin(
    executor: Executor,
    session_id: int,
    run_id: int | None,
    fence: int,
    task: str,
    role: str,
    arguments: str | None,
    *,
    once: bool = False,
) -> tuple[int, int] | None:
    """Start the next attempt of `task`.

    Returns:
        Its id and number; None if the fence does not hold, an earlier attempt is not finished or, for what is done
        `once`, has completed.
    """
    params = {"session_id": session_id, "run_id": run_id, "fence": fence, "task": task, "role": role}
    rows = executor.execute(_BEGIN_ONCE if once else _BEGIN, {**params, "arguments": arguments})
    return (rows[0][0], rows[0][1]) if rows else None


_REOPEN = (
    sa.update(attempt)
    .where(_of_task, attempt.c.role == literal_column("'check'"), _fence_holds)
    .values(
        run_id=bindparam("run_id"),
        fence=bindparam("fence", type_=sa.Integer),
        status=literal_column("'running'"),
        started_at=now(),
        ended_at=None,
        given_back_at=None,
        error_type=None,
        error_message=None,
        error_traceback=None,
    )
    .returning(attempt.c.id, attempt.c.number)
)


def reopen_check(executor: Executor, session_id: int, run_id: int, fence: int, task: str) -> tuple[int, int] | None:
    """Start the one attempt that a readiness check has, again."""
    rows = executor.execute(_REOPEN, {"session_id": session_id, "run_id": run_id, "fence": fence, "task": task})
    return (rows[0][0], rows[0][1]) if rows else None


_LOCK: sa.Select[Any] = (
    sa.select(literal_column("1"))
    .where(holds, attempt.c.id == bindparam("attempt_id"))
    .with_for_update(of=attempt, key_share=True)
)


def lock(executor: Executor, attempt_id: int) -> bool:
    """Keep an attempt from writing elsewhere until the transaction ends. False: it may not write any more."""
    # SQLite has one writer at a time.
    return executor.dialect_name == "sqlite" or bool(executor.execute(_LOCK, {"attempt_id": attempt_id}))


_COMPLETE = (
    sa.update(attempt)
    .where(holds, attempt.c.id == bindparam("attempt_id"))
    .values(
        status=literal_column("'completed'"),
        ended_at=now(),
        restorable=bindparam("restorable", type_=sa.Boolean),
        result_queue_id=bindparam("result_queue_id"),
        result_seq=bindparam("result_seq"),
    )
    .returning(attempt.c.id)
)


def complete(executor: Executor, attempt_id: int, *, restorable: bool, result: tuple[int, int] | None) -> bool:
    """Mark a running attempt completed, with the queue id and seq of its result. False: it may not write."""
    queue_id, seq = result or (None, None)
    params = {"attempt_id": attempt_id, "restorable": restorable, "result_queue_id": queue_id, "result_seq": seq}
    return bool(executor.execute(_COMPLETE, params))


_FAIL = (
    sa.update(attempt)
    .where(holds, attempt.c.id == bindparam("attempt_id"))
    .values(
        status=bindparam("status"),
        ended_at=now(),
        error_type=bindparam("error_type"),
        error_message=bindparam("error_message"),
        error_traceback=bindparam("error_traceback"),
    )
    .returning(attempt.c.id)
)


def fail(executor: Executor, attempt_id: int, status: str, error: tuple[str | None, str | None, str | None]) -> bool:
    """Mark a running attempt `failed` or `interrupted`. Its doings stay until it is given back."""
    kind, message, traceback = error
    params = {"error_type": kind, "error_message": message, "error_traceback": traceback}
    return bool(executor.execute(_FAIL, {"attempt_id": attempt_id, "status": status, **params}))


_BY_ID = _SELECT.where(attempt.c.id == bindparam("of"))


def by_id(executor: Executor, attempt_id: int) -> AttemptRecord | None:
    """The attempt, or None."""
    rows = executor.execute(_BY_ID, {"of": attempt_id})
    return record(rows[0]) if rows else None


_BY_NAME = _SELECT.where(session.c.name == bindparam("session"), attempt.c.task == bindparam("task"))
_BY_NUMBER = _BY_NAME.where(attempt.c.number == bindparam("number"))


def by_name(executor: Executor, session_name: str, task: str, number: int) -> AttemptRecord | None:
    """Attempt `number` of `task` in the session of that name, or None."""
    rows = executor.execute(_BY_NUMBER, {"session": session_name, "task": task, "number": number})
    return record(rows[0]) if rows else None


_OF_SESSION = _SELECT.where(attempt.c.session_id == bindparam("session_id")).order_by(attempt.c.id)


def of_session(executor: Executor, session_id: int) -> list[AttemptRecord]:
    """Every attempt of the session, oldest first."""
    return [record(row) for row in executor.execute(_OF_SESSION, {"session_id": session_id})]


_STANDING = (
    _SELECT.where(_of_task, attempt.c.status == literal_column("'completed'"), attempt.c.given_back_at.is_(None))
    .order_by(attempt.c.number.desc())
    .limit(literal_column("1"))
)


def standing(executor: Executor, session_id: int, task: str) -> AttemptRecord | None:
    """The newest attempt of `task` that completed and was not given back, or None."""
    rows = executor.execute(_STANDING, {"session_id": session_id, "task": task})
    return record(rows[0]) if rows else None


_UNFINISHED_OF_TASK = _SELECT.where(_of_task, _unfinished).order_by(attempt.c.id.desc())
_UNFINISHED = _SELECT.where(attempt.c.session_id == bindparam("session_id"), _unfinished).order_by(attempt.c.id.desc())
_UNFINISHED_OF_TASK_LOCKED = _UNFINISHED_OF_TASK.with_for_update(of=attempt, key_share=True)
_UNFINISHED_LOCKED = _UNFINISHED.with_for_update(of=attempt, key_share=True)


def unfinished(
    executor: Executor, session_id: int, task: str | None = None, *, lock: bool = False
) -> list[AttemptRecord]:
    """The attempts that did not complete and are not given back yet, newest first; `lock` waits for their writes."""
    if task is None:
        rows = executor.execute(_UNFINISHED_LOCKED if lock else _UNFINISHED, {"session_id": session_id})
    else:
        statement = _UNFINISHED_OF_TASK_LOCKED if lock else _UNFINISHED_OF_TASK
        rows = executor.execute(statement, {"session_id": session_id, "task": task})
    return [record(row) for row in rows]


_RESULT = (
    sa.select(value.c.data, queue.c.name, value.c.seq)
    .select_from(value.join(queue, queue.c.id == value.c.queue_id))
    .where(value.c.queue_id == bindparam("queue_id"), value.c.seq == bindparam("seq"))
)


def result(executor: Executor, of: AttemptRecord) -> tuple[str, str, int] | None:
    """The stored result of an attempt, taken or not: encoded value, queue name and seq. None: it has none."""
    if of.result_queue_id is None:
        return None
    rows = executor.execute(_RESULT, {"queue_id": of.result_queue_id, "seq": of.result_seq})
    return (rows[0][0], rows[0][1], rows[0][2]) if rows else None
