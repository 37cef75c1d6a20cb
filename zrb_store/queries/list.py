"""The sessions that `list` reads, with their runs and numbers of completed tasks."""

from __future__ import annotations

import itertools
import json
import operator
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from zrb_store.db.core import bindparam, literal, sa, statement, t
from zrb_store.db.dialect import among, matches
from zrb_store.db.rows import sound
from zrb_store.db.transaction import Executor, Row, Transaction, first_column
from zrb_store.names import NamePattern
from zrb_store.process import Projects
from zrb_store.queries import runs, sessions
from zrb_store.queries.attempts import is_step
from zrb_store.records import RunRecord, SessionRecord, by_key


def _last(suffix: Literal["tick", "at"]) -> sa.ColumnElement[int]:
    """Select when a session last ended, or else when its last run started, or else when it was created."""
    last_run = (t.run.c.session_id == t.session.c.id, t.run.c.number == t.session.c.fence)
    started = sa.select(t.run.c[f"started_{suffix}"]).where(*last_run).scalar_subquery()
    return sa.func.coalesce(t.session.c[f"ended_{suffix}"], started, t.session.c[f"created_{suffix}"])


def _ordered() -> sa.Select[*Row]:
    return sessions.selection().order_by(_last("tick").desc(), t.session.c.id.desc())


@statement
def _newest() -> sa.Select[*Row]:
    # Among all that have not ended, and as many of the others as are asked for: an index has these in their order.
    limit, other = bindparam("limit", type_=sa.Integer), t.session.alias("other")
    ends = sa.select(other.c.ended_tick).where(other.c.ended_tick.is_not(None)).order_by(other.c.ended_tick.desc())
    earliest = sa.func.coalesce(ends.limit(1).offset(limit).scalar_subquery(), literal(0))
    ended = t.session.c.ended_tick
    return _ordered().where(sa.or_(ended.is_(None), ended >= earliest)).limit(limit)


@dataclass(frozen=True)
class Chosen:
    """Which sessions are read."""

    statuses: Collection[str] | None = None  # as they are stored
    name: NamePattern | None = None
    task: str | None = None
    projects: Projects | None = None
    since: int | None = None  # in microseconds
    roots: bool = False  # leave out child sessions

    def conditions(self, dialect_name: str) -> Iterator[sa.ColumnElement[bool]]:
        """Yield what their rows must meet, at least as far as the database can tell."""
        if self.name is not None:
            yield matches(dialect_name, t.session.c.name, self.name)
        if self.statuses is not None:
            yield t.session.c.status.in_(self.statuses)
            if "completed" not in self.statuses:
                yield sessions.is_not_completed()
        if self.task is not None:
            yield t.session.c.task == self.task
        if self.projects is not None:
            yield runs.is_of(self.projects)
        if self.since is not None:
            yield _last("at") >= self.since
        if self.roots:
            yield t.session.c.parent.is_(None)


def count_sessions(transaction: Transaction, chosen: Chosen) -> int:
    """Count sessions."""
    names = sa.select(t.session.c.name).where(*chosen.conditions(transaction.dialect_name))
    if chosen.name is not None:
        return sum(chosen.name.matches(name) for [name] in transaction.stream(names))
    [[count]] = transaction.execute(sa.select(sa.func.count()).select_from(names.subquery()), {})
    return int(count)


def matching_sessions(
    transaction: Transaction, chosen: Chosen, *, before: int | None = None, limit: int | None = None
) -> Iterator[SessionRecord]:
    """Yield sessions, each with its stored status; with the id of a session, only those that come after it.

    Those whose last start or end came last are the first; without a run, their creation counts.
    """
    if limit is not None and before is None and chosen == Chosen():  # the SQL of this one is stored
        return sound(sessions.record, transaction.stream(_newest(), {"limit": limit}))
    name, conditions = chosen.name, list(chosen.conditions(transaction.dialect_name))
    if before is not None:
        [[tick]] = transaction.execute(sa.select(_last("tick")).where(t.session.c.id == before), {})
        conditions.append(sa.or_(_last("tick") < tick, sa.and_(_last("tick") == tick, t.session.c.id < before)))
    if name is not None and not name.is_exact:
        found = sound(sessions.record, transaction.stream(_ordered().where(*conditions)))
        return itertools.islice((each for each in found if name.matches(each.name)), limit)
    if limit is not None:
        conditions = [t.session.c.id.in_(_perhaps_first(transaction, conditions, limit))]
    return sound(sessions.record, transaction.stream(_ordered().where(*conditions).limit(limit)))


def _perhaps_first(
    transaction: Transaction, conditions: Sequence[sa.ColumnElement[bool]], limit: int
) -> sa.CompoundSelect[int]:
    """Select the ids of sessions that meet conditions, and may be the first ones: as `_newest` does for all."""
    ended = t.session.c.ended_tick
    chosen = sa.select(t.session.c.id).where(*conditions).correlate(None)
    ends = sa.select(ended).where(*conditions, ended.is_not(None)).order_by(ended.desc()).limit(1).offset(limit)
    earliest = next(map(first_column, transaction.execute(ends, {})), 0)
    # Not OR: an index of both the task and the end is then used for each.
    return sa.union_all(chosen.where(ended.is_(None)), chosen.where(ended >= earliest))


@statement
def _runs_of(dialect_name: str) -> sa.Select[*Row]:
    return (
        runs.selection()
        .where(among(dialect_name, t.run.c.session_id, "ids"))
        .order_by(t.run.c.session_id, t.run.c.number)
    )


def runs_by_session(executor: Executor, session_ids: Sequence[int]) -> dict[int, list[RunRecord]]:
    """Return the runs of some sessions by session id, the oldest run first."""
    rows = executor.execute(_runs_of(executor.dialect_name), {"ids": json.dumps(list(session_ids))})
    return by_key(sound(runs.record, rows), lambda run: run.session_id)


class TaskCounts(NamedTuple):
    """How far the tasks of a session are."""

    attempted: int = 0  # how many of them have attempts
    completed: int = 0  # how many of these have completed
    deliveries: int = 0  # how many of their attempts are deliveries
    delivered: int = 0  # how many of these have completed
    kept: frozenset[str] = frozenset()  # if that was asked, the tasks with an attempt that was not given back


@statement
def _task_counts(dialect_name: str) -> sa.Select[*Row]:
    was_kept = t.attempt.c.given_back_at.is_(None)
    stands = sa.and_(t.attempt.c.status == literal("completed"), was_kept)
    completed = sa.case((stands, t.attempt.c.task))
    is_delivery = t.attempt.c.kind == literal("delivery")
    kept = sa.case((was_kept, t.attempt.c.task))
    # One row for each session, but one for each task of a session whose tasks are asked for.
    task = sa.case((among(dialect_name, t.attempt.c.session_id, "by_task"), t.attempt.c.task))
    tasks, done, names = (sa.func.count(each.distinct()) for each in (t.attempt.c.task, completed, kept))
    deliveries = (sa.func.count(sa.case((each, literal(1)))) for each in (is_delivery, sa.and_(is_delivery, stands)))
    return (
        sa.select(t.attempt.c.session_id, task.label("name"), tasks, done, *deliveries, names)
        .where(among(dialect_name, t.attempt.c.session_id, "ids"), ~is_step())
        .group_by(literal(1), literal(2))
    )


def task_counts(executor: Executor, session_ids: Sequence[int], by_task: Sequence[int] = ()) -> dict[int, TaskCounts]:
    """Count for each session id the tasks that have attempts."""
    params = {"ids": json.dumps(list(session_ids)), "by_task": json.dumps(list(by_task))}
    found: dict[int, TaskCounts] = {}
    for session_id, task, *counts, kept in executor.execute(_task_counts(executor.dialect_name), params):
        before = found.get(session_id, TaskCounts())
        names = before.kept | {task} if kept and task is not None else before.kept
        found[session_id] = TaskCounts._make((*map(operator.add, before[:4], counts), names))
    return found
