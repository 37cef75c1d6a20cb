"""What `check` reads: sessions that are not done, what completed after them, and dead values."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from zrb_store.db.core import bindparam, literal_column, sa, statement, t
from zrb_store.db.dialect import among
from zrb_store.db.transaction import Executor, Row, Transaction
from zrb_store.project import Projects
from zrb_store.queries import sessions
from zrb_store.queries.programs import is_of
from zrb_store.queries.requeue import is_dead
from zrb_store.records import SessionRecord


@statement
def _not_done() -> sa.Select[*Row]:
    return (
        sessions.selection()
        .where(
            t.session.c.status.in_([literal_column(f"'{status}'") for status in ("running", "failed", "interrupted")]),
            sessions.is_not_completed(),
            t.session.c.parent.is_(None),
        )
        .order_by(t.session.c.id.desc())
    )


def not_done(transaction: Transaction, projects: Projects | None = None) -> Iterator[SessionRecord]:
    """Yield the sessions that failed, were interrupted or run, with their stored status, the newest first.

    Child sessions are left out.

    Args:
        transaction: A snapshot.
        projects: Only sessions of these projects.
    """
    statement = _not_done() if projects is None else _not_done().construct.where(is_of(projects))
    return map(sessions.record, transaction.stream(statement))


class Completion(NamedTuple):
    """The completion of a session: the tick of its end, and the session's id."""

    tick: int
    session_id: int


@statement
def _last_completion(in_project: bool, newer: bool) -> sa.Select[int | None, int]:
    has_completed = t.session.c.status == literal_column("'completed'")
    # Not IS NOT DISTINCT FROM, for which PostgreSQL uses no index.
    project = t.session.c.project == bindparam("project") if in_project else t.session.c.project.is_(None)
    completed = (t.session.c.task == bindparam("task"), project, has_completed, t.session.c.finished_tick.is_not(None))
    statement = (
        sa.select(t.session.c.finished_tick, t.session.c.id)
        .where(*completed)
        .order_by(t.session.c.finished_tick.desc())
        .limit(literal_column("1"))
    )
    return statement.where(t.session.c.id > bindparam("after_id")) if newer else statement


def last_completion(
    executor: Executor, task: str, project: str | None, after_id: int | None = None
) -> Completion | None:
    """Return how a session of a task last completed, or None.

    Args:
        executor: The open transaction.
        task: The main task.
        project: The folder of the project; None for sessions of no project.
        after_id: Only sessions that were created after the one with this id count.
    """
    statement = _last_completion(project is not None, after_id is not None)
    rows = executor.execute(statement, {"task": task, "project": project, "after_id": after_id})
    return Completion(*rows[0]) if rows else None


@statement
def _with_deliveries(dialect_name: str) -> sa.Select[int]:
    return (
        sa.select(t.attempt.c.session_id)
        .where(among(dialect_name, t.attempt.c.session_id, "ids"), t.attempt.c.role == literal_column("'delivery'"))
        .distinct()
    )


def with_deliveries(executor: Executor, session_ids: Sequence[int]) -> set[int]:
    """Return which of these sessions have taken values as deliveries."""
    rows = executor.execute(_with_deliveries(executor.dialect_name), {"ids": json.dumps(list(session_ids))})
    return {row[0] for row in rows}


class DeadQueue(NamedTuple):
    """A queue that has dead values.

    Attributes:
        session: Name of its session.
        project: The folder of the session's project.
        queue: Its name.
        dead: How many of its values are dead.
        at: When the last of them died, in microseconds.
    """

    session: str
    project: str | None
    queue: str
    dead: int
    at: int


@statement
def _dead_queues() -> sa.Select[str, str | None, str, int, int]:
    dead = (
        sa.select(t.value.c.queue_id, sa.func.count().label("count"), sa.func.max(t.value.c.ended_at).label("at"))
        .where(is_dead())
        .group_by(t.value.c.queue_id)
        .with_hint(t.value, "INDEXED BY ix_zrb_value_dead", "sqlite")
        .subquery()
    )
    return (
        sa.select(t.session.c.name, t.session.c.project, t.queue.c.name, dead.c.count, dead.c.at)
        .select_from(
            dead.join(t.queue, t.queue.c.id == dead.c.queue_id).join(t.session, t.session.c.id == t.queue.c.session_id)
        )
        .order_by(dead.c.at.desc(), t.queue.c.id)
    )


def dead_queues(executor: Executor, projects: Projects | None = None) -> list[DeadQueue]:
    """Return the queues that have dead values, those whose values died last first.

    Args:
        executor: The database, or the open transaction.
        projects: Only queues of sessions of these projects.
    """
    statement = _dead_queues() if projects is None else _dead_queues().construct.where(is_of(projects))
    return [DeadQueue(*row) for row in executor.execute(statement, {})]
