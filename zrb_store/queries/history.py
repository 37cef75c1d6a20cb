"""What readers show of a session, each part in one statement, whatever the number of rows."""

from __future__ import annotations

import functools
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy import bindparam, literal_column

from zrb_store.db.tables import attempt, change, queue, returned, run, session, value
from zrb_store.db.transaction import Executor, Row
from zrb_store.queries import attempts, sessions
from zrb_store.queries.values import was_live
from zrb_store.records import AttemptRecord, ReturnRecord, RunRecord, SessionRecord, ValueRecord

_NEWEST_FIRST = (session.c.created_at.desc(), session.c.id.desc())


def sessions_page(
    executor: Executor,
    *,
    statuses: Collection[str] | None = None,
    task: str | None = None,
    project: str | None = None,
    since: int | None = None,
    roots: bool = False,
    before: SessionRecord | None = None,
    limit: int | None = None,
) -> list[SessionRecord]:
    """Sessions that fit every given condition, newest first, each with its stored status.

    Args:
        executor: What to run on.
        statuses: Stored statuses.
        task: Name of the main task.
        project: Folder of the project.
        since: Created at this moment (microseconds) or later.
        roots: Leave child sessions out.
        before: The last session of the page before.
        limit: How many at the most.
    """
    statement = sa.select(*session.c).order_by(*_NEWEST_FIRST).limit(limit)
    if statuses is not None:
        statement = statement.where(session.c.status.in_(statuses))
    if task is not None:
        statement = statement.where(session.c.task == task)
    if project is not None:
        statement = statement.where(session.c.project == project)
    if since is not None:
        statement = statement.where(session.c.created_at >= since)
    if roots:
        statement = statement.where(session.c.parent.is_(None))
    if before is not None:
        statement = statement.where(
            session.c.created_at <= before.created_at,
            sa.or_(session.c.created_at < before.created_at, session.c.id < before.id),
        )
    return [sessions.record(row) for row in executor.execute(statement)]


def runs_of(executor: Executor, session_ids: Sequence[int]) -> dict[int, list[RunRecord]]:
    """The runs of some sessions by session id, first to newest."""
    columns = (run.c.session_id, run.c.number)
    statement = sa.select(*run.c).where(run.c.session_id.in_(session_ids)).order_by(*columns)
    found: dict[int, list[RunRecord]] = {}
    for row in executor.execute(statement):
        record = sessions.run_record(row)
        found.setdefault(record.session_id, []).append(record)
    return found


def task_counts(executor: Executor, session_ids: Sequence[int]) -> dict[int, tuple[int, int]]:
    """Of some sessions by id: how many tasks have attempts, and how many of them have completed."""
    stands = sa.and_(attempt.c.status == "completed", attempt.c.given_back_at.is_(None))
    completed = sa.case((stands, attempt.c.task))
    statement = (
        sa.select(attempt.c.session_id, sa.func.count(attempt.c.task.distinct()), sa.func.count(completed.distinct()))
        .where(attempt.c.session_id.in_(session_ids))
        .group_by(attempt.c.session_id)
    )
    return {row[0]: (row[1], row[2]) for row in executor.execute(statement)}


# By name: the index of names is all that is read. Of names with a date the newest come first.
_PREFIX = (
    sa.select(session.c.name)
    .where(sa.func.substr(session.c.name, literal_column("1"), bindparam("length")) == bindparam("prefix"))
    .order_by(session.c.name.desc())
    .limit(bindparam("count"))
)


def names_with_prefix(executor: Executor, prefix: str, limit: int) -> list[str]:
    """Names of sessions that begin so, in the same case."""
    rows = executor.execute(_PREFIX, {"prefix": prefix, "length": len(prefix), "count": limit})
    return [row[0] for row in rows]


_NEWEST_NAMES = sa.select(session.c.name).order_by(*_NEWEST_FIRST).limit(bindparam("count"))


def newest_names(executor: Executor, limit: int) -> list[str]:
    """Names of the newest sessions."""
    return [row[0] for row in executor.execute(_NEWEST_NAMES, {"count": limit})]


_LONG = ("arguments", "error_traceback")
_ATTEMPTS = (
    sa.select(
        attempt.c.id,
        attempt.c.session_id,
        session.c.name,
        attempt.c.run_id,
        run.c.number,
        *[
            sa.null() if column.name in _LONG else column
            for column in attempt.c
            if column.name not in ("id", "session_id", "run_id")
        ],
    )
    .select_from(
        attempt.join(session, session.c.id == attempt.c.session_id).outerjoin(run, run.c.id == attempt.c.run_id)
    )
    .where(attempt.c.session_id == bindparam("session_id"))
)


def attempts_in_short(executor: Executor, session_id: int) -> list[AttemptRecord]:
    """Every attempt of the session, oldest first, without its arguments and its traceback, which may be long."""
    # Sorted here: told to, SQLite may walk the whole table by id.
    return [attempts.record(row) for row in sorted(executor.execute(_ATTEMPTS, {"session_id": session_id}))]


_QUEUES = sa.select(queue.c.id, queue.c.name).where(queue.c.session_id == bindparam("session_id"))


def queue_names(executor: Executor, session_id: int) -> dict[int, str]:
    """The name of each queue of the session by id, in the order of their first push."""
    return {row[0]: row[1] for row in sorted(executor.execute(_QUEUES, {"session_id": session_id}))}


def _queue_ids(named: bool) -> sa.Select[Any]:
    ids = sa.select(queue.c.id).where(queue.c.session_id == bindparam("session_id"))
    return ids.where(queue.c.name == bindparam("queue")) if named else ids


@functools.cache
def _values(named: bool, live: bool, then: bool) -> Any:
    is_live = was_live if then else value.c.ended_at.is_(None)
    statement = (
        sa.select(*value.c, is_live)
        .where(value.c.queue_id.in_(_queue_ids(named)))
        .order_by(value.c.queue_id, value.c.seq)
    )
    return statement.where(is_live) if live else statement


def values_of(
    executor: Executor, session_id: int, queue_name: str | None = None, *, live: bool = False, at: int | None = None
) -> list[tuple[ValueRecord, bool]]:
    """The values of a session's queues (or of one of them) in the order of each queue.

    Args:
        executor: What to run on.
        session_id: Which session.
        queue_name: Only this queue.
        live: Only live values.
        at: At this moment (microseconds) instead of now.

    Returns:
        Each row as it is today, with whether it is (or was) in its queue.
    """
    statement = _values(queue_name is not None, live, at is not None)
    rows = executor.execute(statement, {"session_id": session_id, "queue": queue_name, "moment": at})
    return [(value_record(row[:-1]), bool(row[-1])) for row in rows]


def value_record(row: Row) -> ValueRecord:
    """A row of the value table as a record."""
    fields = list(row)
    fields[10] = bool(fields[10])
    return ValueRecord(*fields)


_RETURN = [column for column in returned.c if column.name != "id"]


@functools.cache
def _returns(named: bool) -> Any:
    in_queues = returned.c.queue_id.in_(_queue_ids(named))
    return sa.select(*_RETURN).where(in_queues).order_by(returned.c.queue_id, returned.c.seq, returned.c.id)


def returns_of(executor: Executor, session_id: int, queue_name: str | None = None) -> list[ReturnRecord]:
    """Each give-back of each value in a session's queues (or in one of them): of each value the oldest first."""
    rows = executor.execute(_returns(queue_name is not None), {"session_id": session_id, "queue": queue_name})
    return [ReturnRecord(*row) for row in rows]


class AttemptName(NamedTuple):
    """What a value's history needs to know of an attempt in another session."""

    session: str
    task: str
    number: int
    given_back_at: int | None


@functools.cache
def _visitors(named: bool) -> Any:
    in_queues = _queue_ids(named)
    involved = sa.union(
        sa.select(value.c.pushed_by).where(value.c.queue_id.in_(in_queues)),
        sa.select(value.c.taken_by).where(value.c.queue_id.in_(in_queues)),
        sa.select(returned.c.taken_by).where(returned.c.queue_id.in_(in_queues)),
    )
    return (
        sa.select(attempt.c.id, session.c.name, attempt.c.task, attempt.c.number, attempt.c.given_back_at)
        .select_from(attempt.join(session, session.c.id == attempt.c.session_id))
        .where(attempt.c.id.in_(involved), attempt.c.session_id != bindparam("session_id"))
    )


def visitors(executor: Executor, session_id: int, queue_name: str | None = None) -> dict[int, AttemptName]:
    """The attempts of other sessions that pushed to, or took from, a session's queues, by id."""
    rows = executor.execute(_visitors(queue_name is not None), {"session_id": session_id, "queue": queue_name})
    return {row[0]: AttemptName(*row[1:]) for row in rows}


_VALUE = sa.select(*value.c).where(value.c.queue_id == bindparam("queue_id"), value.c.seq == bindparam("seq"))


def value_at(executor: Executor, queue_id: int, seq: int) -> ValueRecord | None:
    """One value, or None."""
    rows = executor.execute(_VALUE, {"queue_id": queue_id, "seq": seq})
    return value_record(rows[0]) if rows else None


_RETURNS_OF_ONE = (
    sa.select(*_RETURN)
    .where(returned.c.queue_id == bindparam("queue_id"), returned.c.seq == bindparam("seq"))
    .order_by(returned.c.id)
)


def returns_of_value(executor: Executor, queue_id: int, seq: int) -> list[ReturnRecord]:
    """Each give-back of one value, oldest first."""
    rows = executor.execute(_RETURNS_OF_ONE, {"queue_id": queue_id, "seq": seq})
    return [ReturnRecord(*row) for row in rows]


_COPIES = (
    sa.select(*value.c)
    .where(value.c.queue_id == bindparam("queue_id"), value.c.moved_from == bindparam("seq"))
    .order_by(value.c.pushed_at, value.c.seq)
)


def copies(executor: Executor, queue_id: int, seq: int) -> list[ValueRecord]:
    """The values of its queue that a value went on as."""
    return [value_record(row) for row in executor.execute(_COPIES, {"queue_id": queue_id, "seq": seq})]


@functools.cache
def _newest_result(in_project: bool) -> Any:
    conditions = [
        session.c.status == literal_column("'completed'"),
        attempt.c.task == bindparam("task"),
        attempt.c.status == literal_column("'completed'"),
        attempt.c.given_back_at.is_(None),
        attempt.c.result_seq.is_not(None),
    ]
    if in_project:
        conditions.append(sa.or_(session.c.project == bindparam("project"), session.c.project.is_(None)))
    return (
        sa.select(session.c.name, attempt.c.id)
        .select_from(attempt.join(session, session.c.id == attempt.c.session_id))
        .where(*conditions)
        .order_by(attempt.c.ended_at.desc(), attempt.c.id.desc())
        .limit(literal_column("1"))
    )


def newest_result(executor: Executor, task: str, project: str | None) -> tuple[str, int] | None:
    """The newest standing attempt of a task that left a result, in a completed session.

    Args:
        executor: What to run on.
        task: Name of the task, main or not.
        project: Only sessions of this project, and those that belong to none.

    Returns:
        The session's name and the attempt's id.
    """
    rows = executor.execute(_newest_result(project is not None), {"task": task, "project": project})
    return (rows[0][0], rows[0][1]) if rows else None


_CHANGES = (
    sa.select(change.c.at, change.c.action, change.c.detail, change.c.user, change.c.host, change.c.pid)
    .where(change.c.session == bindparam("session"))
    .order_by(change.c.id)
)


class Change(NamedTuple):
    """What a person did to a session by hand."""

    at: int
    action: str
    detail: str | None
    user: str | None
    host: str
    pid: int


def changes(executor: Executor, session_name: str) -> list[Change]:
    """Everything done by hand to a session of that name, oldest first."""
    return [Change(*row) for row in executor.execute(_CHANGES, {"session": session_name})]
