"""What readers show of sessions, each part in one statement, whatever the number of rows."""

from __future__ import annotations

import functools
import json
from collections.abc import Collection, Iterator, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy import bindparam, literal_column

from zrb_store.columns import ATTEMPT, CHANGE, readable
from zrb_store.db.dialect import among, now
from zrb_store.db.tables import attempt, change, queue, run, session, value
from zrb_store.db.transaction import Executor, Transaction
from zrb_store.queries import sessions
from zrb_store.queries.values import was_live
from zrb_store.records import RunRecord, SessionRecord

_NEWEST_FIRST = (session.c.created_at.desc(), session.c.id.desc())


def sessions_like(
    transaction: Transaction,
    *,
    statuses: Collection[str] | None = None,
    task: str | None = None,
    project: str | None = None,
    since: int | None = None,
    roots: bool = False,
    limit: int | None = None,
) -> Iterator[SessionRecord]:
    """Sessions that fit every given condition, newest first, each with its stored status.

    Args:
        transaction: A snapshot.
        statuses: Stored statuses.
        task: Name of the main task.
        project: Folder of the project.
        since: Created at this moment (microseconds) or later.
        roots: Leave child sessions out.
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
    return map(sessions.record, transaction.stream(statement))


@functools.cache
def _runs_of(dialect_name: str) -> Any:
    return (
        sa.select(*run.c).where(among(dialect_name, run.c.session_id, "ids")).order_by(run.c.session_id, run.c.number)
    )


def runs_of(executor: Executor, session_ids: Sequence[int]) -> dict[int, list[RunRecord]]:
    """The runs of some sessions by session id, first to newest."""
    found: dict[int, list[RunRecord]] = {}
    for row in executor.execute(_runs_of(executor.dialect_name), {"ids": json.dumps(list(session_ids))}):
        record = sessions.run_record(row)
        found.setdefault(record.session_id, []).append(record)
    return found


@functools.cache
def _task_counts(dialect_name: str) -> Any:
    stands = sa.and_(attempt.c.status == literal_column("'completed'"), attempt.c.given_back_at.is_(None))
    completed = sa.case((stands, attempt.c.task))
    return (
        sa.select(attempt.c.session_id, sa.func.count(attempt.c.task.distinct()), sa.func.count(completed.distinct()))
        .where(among(dialect_name, attempt.c.session_id, "ids"))
        .group_by(attempt.c.session_id)
    )


def task_counts(executor: Executor, session_ids: Sequence[int]) -> dict[int, tuple[int, int]]:
    """Of some sessions by id: how many tasks have attempts, and how many of them have completed."""
    rows = executor.execute(_task_counts(executor.dialect_name), {"ids": json.dumps(list(session_ids))})
    return {row[0]: (row[1], row[2]) for row in rows}


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


_OVERVIEW = sa.select(
    now(), sa.select(sa.func.count()).where(attempt.c.session_id == bindparam("session_id")).scalar_subquery()
)


def overview(executor: Executor, session_id: int) -> tuple[int, int]:
    """The database's clock, and how many attempts a session has."""
    moment, count = executor.execute(_OVERVIEW, {"session_id": session_id})[0]
    return moment, count


_QUEUES = sa.select(queue.c.id, queue.c.name).where(queue.c.session_id == bindparam("session_id"))


def queue_names(executor: Executor, session_id: int) -> dict[int, str]:
    """The name of each queue of the session by id, in the order of their first push."""
    return {row[0]: row[1] for row in sorted(executor.execute(_QUEUES, {"session_id": session_id}))}


class Queue(NamedTuple):
    """A queue of a session, and how many values it has, live or not, and live."""

    id: int
    name: str
    values: int
    live: int


@functools.cache
def _queues(named: bool, then: bool) -> Any:
    count = sa.select(sa.func.count()).where(value.c.queue_id == queue.c.id)
    if then:
        every = count.where(value.c.pushed_at <= bindparam("moment", type_=sa.BigInteger))
        live = count.where(was_live)
    else:
        every = count
        live = count.where(value.c.ended_at.is_(None)).with_hint(value, "INDEXED BY ix_zrb_value_live", "sqlite")
    counts: list[Any] = [every.scalar_subquery(), live.scalar_subquery()]
    if named:
        zero: sa.ColumnClause[Any] = literal_column("0")
        counts = [sa.case((queue.c.name == bindparam("queue"), each), else_=zero) for each in counts]
    return sa.select(queue.c.id, queue.c.name, *counts).where(queue.c.session_id == bindparam("session_id"))


def queues(executor: Executor, session_id: int, name: str | None = None, *, at: int | None = None) -> list[Queue]:
    """The queues of a session, in the order of their first push.

    Args:
        executor: What to run on.
        session_id: Which session.
        name: Count only the values of this one.
        at: As they were at this moment (microseconds) instead of now.
    """
    params = {"session_id": session_id, "queue": name, "moment": at}
    return [Queue(*row) for row in sorted(executor.execute(_queues(name is not None, at is not None), params))]


@functools.cache
def _newest_result(in_project: bool) -> Any:
    conditions = [
        session.c.status == literal_column("'completed'"),
        attempt.c.task == bindparam("task"),
        attempt.c.status == literal_column("'completed'"),
        attempt.c.given_back_at.is_(None),
        attempt.c.result_seq.is_not(None),
        # One whose time is damaged is not the newest.
        attempt.c.ended_at <= literal_column(str(ATTEMPT["ended_at"].most)),
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


_CHANGES = sa.select(*change.c).where(change.c.session == bindparam("session")).order_by(change.c.id)


class Change(NamedTuple):
    """What a person did to a session by hand."""

    at: int
    action: str
    detail: str | None
    user: str | None
    host: str
    pid: int


def changes(transaction: Transaction, session_name: str) -> Iterator[tuple[Change, tuple[str, ...]]]:
    """Everything done by hand to a session of that name, oldest first, each with the columns that are damaged."""
    for row in transaction.stream(_CHANGES, {"session": session_name}):
        named, damage = readable(CHANGE, row)
        yield Change(**{name: named[name] for name in Change._fields}), damage
