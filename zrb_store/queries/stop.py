"""Requests to stop: whom they are for, and what came back when the runs had ended.

The request is a column of the run. A process on another machine learns of it when it renews the run's lease. It then
acts only if the change by hand says that nobody could send it a signal.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import NamedTuple

from zrb_store.db.columns import RUN
from zrb_store.db.core import bindparam, is_one_of, literal, sa, statement, t
from zrb_store.db.dialect import among
from zrb_store.db.transaction import Executor, Row, Transaction, first_column
from zrb_store.queries import runs
from zrb_store.queries.by_hand import record_change
from zrb_store.queries.clock import Moment, given_moment, given_tick
from zrb_store.records import UNSUCCESSFUL, RunRecord

_BY_LEASE = "when it renews its lease"


def is_part(name: str, session: str) -> bool:
    """Whether a session of this name, run by the same process, is the session itself or a child of it."""
    return name == session or name.startswith(f"{session}.")


class LiveRun(NamedTuple):
    """A run that has not ended."""

    id: int
    session_id: int
    session: str


_PROCESS = ("boot_id", "pid_namespace", "pid", "process_started")


@statement
def _beside() -> sa.Select[int, int, str]:
    return (
        sa.select(t.run.c.id, t.run.c.session_id, t.session.c.name)
        .select_from(t.run.join(t.session))
        .where(
            t.run.c.id != bindparam("of_run"),
            t.run.c.ended_at.is_(None),
            t.run.c.number == t.session.c.fence,
            # Not only with a live lease: this is the process, whatever became of its connection.
            *(t.run.c[name] == bindparam(name) for name in _PROCESS),
        )
        .order_by(t.session.c.name)
    )


def live_beside(executor: Executor, run: RunRecord) -> list[LiveRun]:
    """Return the other runs of the process that runs this one, in this store, which have not ended."""
    params = {"of_run": run.id, **{name: getattr(run, name) for name in _PROCESS}}
    return [LiveRun(*row) for row in executor.execute(_beside(), params)]


@statement
def _set_request(asked: bool) -> sa.Update:
    asked_at = sa.func.coalesce(t.run.c.stop_requested_at, given_moment()) if asked else None
    return sa.update(t.run).where(t.run.c.id == bindparam("of_run")).values(stop_requested_at=asked_at)


def ask(transaction: Transaction, run: RunRecord, live: Sequence[LiveRun], moment: Moment, *, by_lease: bool) -> None:
    """Record that a run's process is to end `live` runs: this one and its children's. It is to find this `by_lease`."""
    for each in live:
        transaction.execute(_set_request(True), {"of_run": each.id, **moment.params})
    record_change(transaction, "stop", live[0].session, f"run {run.number}{f', {_BY_LEASE}' if by_lease else ''}")


def withdraw(executor: Executor, run_id: int) -> None:
    """Forget the request to a run whose process refuses it, so that a later failure counts as one."""
    executor.execute(_set_request(False), {"of_run": run_id})


@statement
def _request() -> sa.Select[*Row]:
    wanted = literal("run ") + sa.cast(t.run.c.number, sa.Text) + literal(f", {_BY_LEASE}")
    newest = (
        sa.select(sa.func.max(t.change.c.id))
        .where(
            t.change.c.session == t.session.c.name, t.change.c.action == literal("stop"), t.change.c.detail == wanted
        )
        .scalar_subquery()
    )
    return (
        sa.select(newest, t.session.c.name, *(t.run.c[name] for name in RUN))
        .select_from(t.run.join(t.session))
        .where(t.run.c.id == bindparam("of_run"), t.run.c.ended_at.is_(None), t.run.c.number == t.session.c.fence)
    )


class StopRequest(NamedTuple):
    """A request that the process of a run is to find by itself."""

    id: int
    live: list[LiveRun]  # the run, then the others of its process


def request_to(executor: Executor, run_id: int) -> StopRequest | None:
    """Return the newest request for a run; None if there is none, if a signal was sent, or if the run has ended."""
    with executor.snapshot() as transaction:
        for newest, session, *columns in transaction.execute(_request(), {"of_run": run_id}):
            if newest is not None:
                run = runs.record(tuple(columns))
                own = LiveRun(run.id, run.session_id, session)
                return StopRequest(newest, [own, *live_beside(transaction, run)])
    return None


@statement
def _ended_attempts(dialect_name: str) -> sa.Select[int, str, int, str]:
    return (
        sa.select(t.attempt.c.id, t.attempt.c.task, t.attempt.c.number, t.attempt.c.status)
        .where(
            among(dialect_name, t.attempt.c.run_id, "ids"),
            t.attempt.c.ended_tick > given_tick(),
            is_one_of(t.attempt.c.status, *UNSUCCESSFUL),
        )
        .order_by(t.attempt.c.id)
    )


@statement
def _values(dialect_name: str) -> sa.Select[str, str, int]:
    queue = t.queue.join(t.session)
    return (
        sa.select(t.session.c.name, t.queue.c.name, sa.func.count())
        .select_from(t.returned.join(queue, t.queue.c.id == t.returned.c.queue_id))
        .where(among(dialect_name, t.returned.c.taken_by, "ids"), t.returned.c.returned_tick > given_tick())
        .group_by(t.session.c.name, t.queue.c.name)
        .order_by(t.session.c.name, t.queue.c.name)
    )


class CameBack(NamedTuple):
    """What became of the attempts that runs were asked to end."""

    attempts: list[tuple[str, str]]  # TASK#N and status
    values: list[tuple[str, str, int]]  # session, queue, and how many values were given back to it


def came_back(transaction: Transaction, live: Sequence[LiveRun], since: Moment) -> CameBack:
    """Return what ended without completing in these runs since a moment, and what was given back."""
    dialect = transaction.dialect_name
    params = {"ids": json.dumps([each.id for each in live]), **since.params}
    ended = transaction.execute(_ended_attempts(dialect), params)
    params = {"ids": json.dumps(list(map(first_column, ended))), **since.params}
    values = [(session, queue, count) for session, queue, count in transaction.execute(_values(dialect), params)]
    return CameBack([(f"{task}#{number}", status) for _, task, number, status in ended], values)
