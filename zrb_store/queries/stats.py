"""What `stats` reads: how often each task ran, how these runs ended, and how long they took."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, TypeVarTuple

from zrb_store.db.columns import RUN
from zrb_store.db.core import bindparam, literal_column, sa, statement, t
from zrb_store.db.transaction import Executor, Transaction
from zrb_store.queries import runs
from zrb_store.records import RunRecord

Ts = TypeVarTuple("Ts")


def _ran() -> sa.ColumnElement[bool]:
    # What reclaims a dead run is stored as a run too.
    return t.run.c.origin != literal_column("'reclaim'")


def _chosen(statement: sa.Select[*Ts], task: str | None, since: int | None) -> sa.Select[*Ts]:
    statement = statement.select_from(t.run.join(t.session, t.session.c.id == t.run.c.session_id)).where(_ran())
    if task is not None:
        statement = statement.where(t.session.c.task == task)
    return statement if since is None else statement.where(t.run.c.started_at >= since)


class Outcome(NamedTuple):
    """The runs of one task that ended in the same way.

    Attributes:
        project: The folder of the project, None for none.
        task: The main task, None if it is not known.
        outcome: `completed`, `failed`, `interrupted` or `lost`; None for those that have not ended.
        runs: How many there are.
        newest: The id of the one that started last.
        ended_at: When the last of them ended, in microseconds.
    """

    project: str | None
    task: str | None
    outcome: str | None
    runs: int
    newest: int
    ended_at: int | None


def outcomes(executor: Executor, task: str | None = None, since: int | None = None) -> list[Outcome]:
    """Count the runs of each project, main task and outcome.

    Args:
        executor: The open transaction.
        task: Only runs of this main task.
        since: Only runs that started at this moment (in microseconds) or later.
    """
    group = (t.session.c.project, t.session.c.task, t.run.c.outcome)
    statement = sa.select(*group, sa.func.count(), sa.func.max(t.run.c.id), sa.func.max(t.run.c.ended_at)).group_by(
        *group
    )
    return [Outcome(*row) for row in executor.execute(_chosen(statement, task, since), {})]


def durations(
    transaction: Transaction, task: str | None = None, since: int | None = None
) -> Iterator[tuple[str | None, str | None, int]]:
    """Return project, main task and duration (in microseconds) of each completed run, in ascending order of all three.

    Args:
        transaction: A snapshot.
        task: Only runs of this main task.
        since: Only runs that started at this moment (in microseconds) or later.
    """
    # The end of a damaged run may be missing.
    took = sa.func.coalesce(t.run.c.ended_at - t.run.c.started_at, literal_column("0")).label("took")
    statement = _chosen(sa.select(t.session.c.project, t.session.c.task, took), task, since)
    statement = statement.where(t.run.c.outcome == literal_column("'completed'"))
    rows = transaction.stream(statement.order_by(t.session.c.project, t.session.c.task, took))
    return ((project, name, duration) for project, name, duration in rows)


def running(
    executor: Executor, task: str | None = None, since: int | None = None
) -> list[tuple[str | None, str | None, RunRecord]]:
    """Return project, main task and record of each run that has not ended.

    Args:
        executor: The open transaction.
        task: Only runs of this main task.
        since: Only runs that started at this moment (in microseconds) or later.
    """
    columns = (t.session.c.project, t.session.c.task, *(t.run.c[name] for name in RUN))
    statement = _chosen(sa.select(*columns), task, since).where(t.run.c.ended_at.is_(None))
    rows = executor.execute(statement, {})
    return [(project, name, runs.record(tuple(columns))) for project, name, *columns in rows]


class RecentRun(NamedTuple):
    """A run that has ended.

    Attributes:
        project: The folder of the project, None for none.
        task: The main task, None if it is not known.
        session: Name of its session.
        outcome: `completed`, `failed`, `interrupted` or `lost`.
        started_at: When it started, in microseconds.
        ended_at: When it ended.
    """

    project: str | None
    task: str | None
    session: str
    outcome: str
    started_at: int
    ended_at: int


def recent_runs(executor: Executor, task: str | None, since: int | None, most: int) -> list[RecentRun]:
    """Return the runs that have ended, those that began last first, of which there are at most so many.

    Args:
        executor: The open transaction.
        task: Only runs of this main task.
        since: Only runs that started at this moment (in microseconds) or later.
        most: How many runs to return at most.
    """
    columns = (
        t.session.c.project,
        t.session.c.task,
        t.session.c.name,
        t.run.c.outcome,
        t.run.c.started_at,
        t.run.c.ended_at,
    )
    statement = _chosen(sa.select(*columns), task, since).where(
        t.run.c.ended_at.is_not(None), t.run.c.outcome.is_not(None)
    )
    return [RecentRun(*row) for row in executor.execute(statement.order_by(t.run.c.id.desc()).limit(most), {})]


@statement
def _places() -> sa.Select[int, str]:
    places = sa.select(t.run.c.id, t.session.c.name).select_from(
        t.run.join(t.session, t.session.c.id == t.run.c.session_id)
    )
    return places.where(t.run.c.id == bindparam("run_id"))


def session_names(executor: Executor, run_ids: list[int]) -> dict[int, str]:
    """Return the names of the sessions of these runs by the id of the run."""
    # One statement for each: they are few, and each is found by its key.
    found = (executor.execute(_places(), {"run_id": one}) for one in run_ids)
    return {row[0]: row[1] for rows in found for row in rows}
