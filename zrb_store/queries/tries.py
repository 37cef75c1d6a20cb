"""What readers show of a session's attempts."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy import bindparam, literal_column

from zrb_store.db.dialect import among
from zrb_store.db.tables import attempt, run, session, value
from zrb_store.db.transaction import Executor, Transaction
from zrb_store.queries import attempts
from zrb_store.records import AttemptRecord

_LONG = ("arguments", "error_traceback")


def _attempts(*without: str) -> sa.Select[Any]:
    return (
        sa.select(
            attempt.c.id,
            attempt.c.session_id,
            session.c.name,
            attempt.c.run_id,
            run.c.number,
            *[
                sa.null() if column.name in without else column
                for column in attempt.c
                if column.name not in ("id", "session_id", "run_id")
            ],
        )
        .select_from(
            attempt.join(session, session.c.id == attempt.c.session_id).outerjoin(run, run.c.id == attempt.c.run_id)
        )
        .where(attempt.c.session_id == bindparam("session_id"))
    )


_of_task = attempt.c.task == bindparam("task")
_by_then = attempt.c.started_at <= bindparam("moment", type_=sa.BigInteger)
# The sign keeps SQLite from walking the whole table by id.
_IN_ORDER: sa.ColumnClause[Any] = sa.literal_column("+zrb_attempt.id")
_IN_SHORT = _attempts(*_LONG)


def attempts_in_short(executor: Executor, session_id: int) -> list[AttemptRecord]:
    """Every attempt of the session, oldest first, without its arguments and its traceback, which may be long."""
    # Sorted here: told to, SQLite may walk the whole table by id.
    return [attempts.record(row) for row in sorted(executor.execute(_IN_SHORT, {"session_id": session_id}))]


_OF_TASK = _IN_SHORT.where(_of_task).order_by(attempt.c.number)
_OF_TASK_THEN = _OF_TASK.where(_by_then)


def attempts_of_task(
    transaction: Transaction, session_id: int, task: str, moment: int | None = None
) -> Iterator[AttemptRecord]:
    """The attempts of one task by number, in short; those that had started by a moment, if one is given."""
    statement = _OF_TASK if moment is None else _OF_TASK_THEN
    params = {"session_id": session_id, "task": task, "moment": moment}
    return map(attempts.record, transaction.stream(statement, params))


_FIRST = sa.func.min(attempt.c.id)
_TASKS = (
    sa.select(attempt.c.task, sa.func.max(attempt.c.number), sa.func.count())
    .where(attempt.c.session_id == bindparam("session_id"))
    .group_by(attempt.c.task)
    .order_by(_FIRST)
)
_TASKS_THEN = _TASKS.where(_by_then)


class Tried(NamedTuple):
    """A task that was tried: the number of its last attempt, and how many attempts it has."""

    task: str
    last: int
    attempts: int


def tried(executor: Executor, session_id: int, moment: int | None = None) -> list[Tried]:
    """The tasks that a session tried (by a moment, if one is given), in the order of their first attempts."""
    statement = _TASKS if moment is None else _TASKS_THEN
    return [Tried(*row) for row in executor.execute(statement, {"session_id": session_id, "moment": moment})]


_ONE = _IN_SHORT.where(_of_task, attempt.c.number == bindparam("number"))


def attempt_in_short(executor: Executor, session_id: int, task: str, number: int) -> AttemptRecord | None:
    """One attempt of the session, in short, or None."""
    rows = executor.execute(_ONE, {"session_id": session_id, "task": task, "number": number})
    return attempts.record(rows[0]) if rows else None


_IN_FULL = _attempts("arguments").order_by(_IN_ORDER)
_IN_FULL_OF_TASK = _IN_FULL.where(_of_task)


def attempts_with_errors(transaction: Transaction, session_id: int, task: str | None) -> Iterator[AttemptRecord]:
    """Every attempt of the session, or of one task of it, oldest first, with its traceback."""
    statement = _IN_FULL if task is None else _IN_FULL_OF_TASK
    return map(attempts.record, transaction.stream(statement, {"session_id": session_id, "task": task}))


_owned = value.alias("owned")


@functools.cache
def _holding(dialect_name: str) -> Any:
    one: sa.ColumnClause[Any] = literal_column("1")
    return sa.select(attempt.c.id).where(
        among(dialect_name, attempt.c.id, "ids"),
        sa.or_(
            sa.exists(sa.select(one).where(_owned.c.taken_by == attempt.c.id)),
            sa.exists(sa.select(one).where(_owned.c.pushed_by == attempt.c.id, _owned.c.ended_at.is_(None))),
        ),
    )


def holding(executor: Executor, attempt_ids: Sequence[int]) -> set[int]:
    """Those of some attempts that hold a value, in any queue, or pushed one that is still there."""
    rows = executor.execute(_holding(executor.dialect_name), {"ids": json.dumps(list(attempt_ids))})
    return {row[0] for row in rows}
