"""Leases: which run may work on a session, by the database's clock; and what holds the values of other sessions.

Values are held by running attempts, and by completed steps of tasks that have not completed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from zrb_store.db.columns import RUN
from zrb_store.db.core import bindparam, exists, literal_column, sa, statement, t
from zrb_store.db.dialect import among, now, schema_is_unchanged
from zrb_store.db.transaction import Executor, Row
from zrb_store.errors import SessionBusy
from zrb_store.process import is_group_alive, is_own, is_running, is_stopped
from zrb_store.queries import deliveries, runs
from zrb_store.queries.attempts import is_in_effect
from zrb_store.records import RunRecord, SessionRecord

if TYPE_CHECKING:
    from sqlalchemy.sql.dml import ReturningUpdate


DURATION = 60.0
"""Seconds that a lease lasts."""
SUSPICION = 20.0
"""Seconds that an expired lease may still be renewed. A process renews its lease every 15 s.

Without this time, an outage of the server, or a machine that was suspended, would look like the death of everybody.
"""


@statement
def _renew() -> ReturningUpdate[int]:
    return (
        sa.update(t.run)
        .where(t.run.c.id == bindparam("run_id"), t.run.c.ended_at.is_(None), runs.is_newest(), schema_is_unchanged())
        .values(lease_expires_at=now() + bindparam("lease", type_=sa.BigInteger), suspected_at=None)
        .returning(t.run.c.id)
    )


def renew(executor: Executor, run_id: int, lease: int) -> bool:
    """Extend the lease of a run to `lease` microseconds from now; return False if the run has lost its lease."""
    return bool(executor.execute(_renew(), {"run_id": run_id, "lease": lease}))


def is_live(executor: Executor, run: RunRecord, moment: int) -> bool:
    """Whether the run still holds its lease at `moment` (the database's clock) and may be at work."""
    if run.ended_at is not None or run.lease_expires_at <= moment:
        return False
    running = is_running(*_process(run))
    if running is None and executor.dialect_name == "sqlite":
        # SQLite uses this host's clock. It was ahead when the lease began if the lease outlasts one that begins now.
        return run.lease_expires_at - moment <= DURATION * 1_000_000
    return running is not False


def state_of_process(executor: Executor, run: RunRecord, moment: int) -> str:
    """Return what is known of a run's process at `moment`.

    Returns:
        `alive`: the run holds its lease, or its process runs on this machine and is not stopped. Such a process may
        have lost its lease, for instance because one call has kept all its threads waiting.
        `dead`: the process ran on this machine, and is not there any more.
        `lease expired`: nothing more is known.
    """
    if is_live(executor, run, moment):
        return "alive"
    running = is_running(*_process(run))
    if running and not is_stopped(run.pid):
        return "alive"
    return "dead" if running is False else "lease expired"


def _process(run: RunRecord) -> tuple[str | None, str | None, int, str | None]:
    return run.boot_id, run.pid_namespace, run.pid, run.process_started


def is_own_run(run: RunRecord) -> bool:
    """Whether this process has started the run."""
    return is_own(*_process(run))


@statement
def _suspect() -> ReturningUpdate[int]:
    return (
        sa.update(t.run)
        .where(
            t.run.c.id == bindparam("run_id"),
            # A suspicion of the future comes from a clock that was ahead.
            sa.or_(t.run.c.suspected_at.is_(None), t.run.c.suspected_at > now()),
            t.run.c.ended_at.is_(None),
            schema_is_unchanged(),
            t.run.c.lease_expires_at == bindparam("seen", type_=sa.BigInteger),
        )
        .values(suspected_at=now())
        .returning(t.run.c.id)
    )


def cause_of_death(executor: Executor, run: RunRecord, moment: int) -> str | None:
    """Return why a run that has not ended counts as dead; None if it does not, or not yet.

    Whoever first finds its lease expired records that as a suspicion, which a renewal removes.
    """
    state = state_of_process(executor, run, moment)
    if state == "alive" or living_command(executor, run) is not None:
        return None
    if state == "dead":
        return "its process had died"
    if run.suspected_at is None or run.suspected_at > moment:
        executor.execute(_suspect(), {"run_id": run.id, "seen": run.lease_expires_at})
        return None
    return "its lease had expired" if moment - run.suspected_at >= SUSPICION * 1_000_000 else None


def how_it_died(executor: Executor, run: RunRecord, moment: int) -> str:
    """Return how it is known that a run, which is not live at `moment`, is dead."""
    return "its process has died" if state_of_process(executor, run, moment) == "dead" else "its lease has expired"


def status_of(executor: Executor, session: SessionRecord, run: RunRecord | None, moment: int) -> str:
    """Return the status that readers show: a `running` session without a live run is `stale`."""
    if session.status == "running" and (run is None or not is_live(executor, run, moment)):
        return "stale"
    return session.status


def refuse_live(
    executor: Executor, session: SessionRecord, moment: int, is_renewed: Callable[[int], bool] = lambda _: False
) -> RunRecord | None:
    """Raise `SessionBusy` if a process is running the session at `moment`.

    Args:
        is_renewed: Whether this process still renews the lease of this run. Other processes are looked at.

    Returns:
        The newest run, on which no process works any more; None if there was none.
    """
    last = runs.last(executor, session.id)
    if last is None or last.ended_at is not None:
        return last
    own = is_own_run(last)
    if (
        (is_live(executor, last, moment) or is_renewed(last.id))
        if own
        else (state_of_process(executor, last, moment) == "alive")
    ):
        age = max(0, moment - last.started_at) // 1_000_000
        end = f"with `kill {last.pid}`" if is_running(*_process(last)) else "there"
        raise SessionBusy(
            f"session {session.name} is being run by pid {last.pid} on {last.host} for {age} s; wait for it"
            + ("" if own else f", or end it {end} and start again")
        )
    pid = living_command(executor, last)
    if pid is not None:
        raise SessionBusy(
            f"a command of session {session.name} has outlived its consumer: wait for its process group, "
            f"or end it with `kill -- -{pid}`"
        )
    return last


def suspected(executor: Executor, session: SessionRecord, run: RunRecord, moment: int) -> SessionBusy | None:
    """Return the refusal to take over a run that `refuse_live` has let pass, if it may still renew its lease.

    The transaction is to be committed: it may have recorded the suspicion.
    """
    if run.ended_at is not None or is_own_run(run) or {"lease_expires_at", "ended_at"}.intersection(run.damage):
        return None  # no renewal changes a damaged time
    if cause_of_death(executor, run, moment):
        return None
    since = moment if run.suspected_at is None else min(run.suspected_at, moment)
    seconds = SUSPICION - (moment - since) // 1_000_000
    return SessionBusy(
        f"session {session.name} may still be run by pid {run.pid} on {run.host}, which has not renewed its lease: "
        f"start again in {seconds:.0f} s, when that counts as dead"
    )


def living_command(executor: Executor, run: RunRecord) -> int | None:
    """Return the process group of a command that a run has started and that still works, although the run may be dead.

    What such a command has been given cannot be given to another one yet.
    """
    if run.ended_at is not None:
        return None
    started = deliveries.commands(executor, run.id)
    return next((pid for pid, at in started if is_group_alive(run.boot_id, run.pid_namespace, pid, at)), None)


def worked_until(run: RunRecord, now: int | None) -> int:
    """Return the last moment at which a run is known to have worked, in microseconds.

    Args:
        run: The run, with the outcome that readers see: `lost` if its process died.
        now: The present, or the moment at which the run is seen; None if it does not run then.
    """
    if run.ended_at is not None and run.outcome != "lost":
        return run.ended_at
    if now is not None and run.outcome is None:
        return now
    # The last that is known of a run that died is when it renewed its lease.
    return run.lease_expires_at - int(DURATION * 1_000_000)


class Holder(NamedTuple):
    """An attempt that is running and holds values."""

    home_id: int  # the session whose values it holds
    session: str  # name of the attempt's own session
    task: str
    number: int
    run: RunRecord  # its run, whose process may have died


@statement
def _holders(dialect_name: str) -> sa.Select[*Row]:
    return (
        sa.select(
            t.queue.c.session_id,
            t.session.c.name,
            t.attempt.c.task,
            t.attempt.c.number,
            *(t.run.c[name] for name in RUN),
        )
        .select_from(
            t.attempt.join(t.run)
            .join(t.session, t.session.c.id == t.attempt.c.session_id)
            .join(t.value, t.value.c.taken_by == t.attempt.c.id)
            .join(t.queue, t.queue.c.id == t.value.c.queue_id)
        )
        .where(
            t.attempt.c.status == literal_column("'running'"), among(dialect_name, t.queue.c.session_id, "session_ids")
        )
        .with_hint(t.attempt, "INDEXED BY ix_zrb_attempt_running", "sqlite")
        .distinct()
    )


def holders(executor: Executor, session_ids: Sequence[int]) -> list[Holder]:
    """Return the running attempts, of any session, that hold values of some sessions' queues."""
    rows = executor.execute(_holders(executor.dialect_name), {"session_ids": json.dumps(list(session_ids))})
    return [
        Holder(home_id, name, task, number, runs.record(tuple(columns)))
        for home_id, name, task, number, *columns in rows
    ]


class UnfinishedSession(NamedTuple):
    """A session that has steps and has not completed."""

    id: int
    name: str
    status: str  # its stored status: `failed`, `interrupted`, or `running`, though the run may have died
    run: RunRecord


def _next_with_steps(*after: sa.ColumnElement[bool]) -> sa.Select[*Row]:
    """Select the first session that has steps, found by the index of steps without reading the others."""
    return (
        sa.select(sa.func.min(t.attempt.c.session_id).label("session_id"))
        .where(t.attempt.c.step_of.is_not(None), *after)
        .with_hint(t.attempt, "INDEXED BY ix_zrb_attempt_step", "sqlite")
    )


@statement
def _unfinished() -> sa.Select[*Row]:
    found = _next_with_steps().cte("found", recursive=True)
    with_steps = found.union_all(
        sa.select(_next_with_steps(t.attempt.c.session_id > found.c.session_id).scalar_subquery()).where(
            found.c.session_id.is_not(None)
        )
    )
    return (
        sa.select(t.session.c.id, t.session.c.name, t.session.c.status, *(t.run.c[name] for name in RUN))
        .select_from(
            with_steps.join(t.session, t.session.c.id == with_steps.c.session_id).join(
                t.run, sa.and_(t.run.c.session_id == t.session.c.id, t.run.c.number == t.session.c.fence)
            )
        )
        .where(
            t.session.c.status.in_([literal_column(f"'{status}'") for status in ("running", "failed", "interrupted")])
        )
    )


def unfinished_sessions(executor: Executor) -> list[UnfinishedSession]:
    """Return the sessions that have steps and a run and have not completed."""
    return [
        UnfinishedSession(session_id, name, status, runs.record(tuple(columns)))
        for session_id, name, status, *columns in executor.execute(_unfinished())
    ]


class HoldingStep(NamedTuple):
    """A completed step of a task that has not completed, which holds values of another session."""

    home_id: int  # the session whose values it holds
    session_id: int  # the step's own session
    step_of: str
    task: str  # the step's id: TASK/NUMBER
    number: int
    since: int  # when it took the first of these values, in microseconds


@statement
def _holding_steps(dialect_name: str) -> sa.Select[int, int, str | None, str, int, int | None]:
    whole = t.attempt.alias("whole")
    completed = exists(
        whole.c.session_id == t.attempt.c.session_id,
        whole.c.task == t.attempt.c.step_of,
        whole.c.role.not_in([literal_column("'delivery'"), literal_column("'step'")]),
        is_in_effect(whole),
    )
    since = sa.func.min(t.value.c.ended_at)
    columns = (t.queue.c.session_id, t.attempt.c.session_id, t.attempt.c.step_of, t.attempt.c.task, t.attempt.c.number)
    return (
        sa.select(*columns, since)
        .select_from(
            t.attempt.join(t.value, t.value.c.taken_by == t.attempt.c.id).join(
                t.queue, t.queue.c.id == t.value.c.queue_id
            )
        )
        .where(
            among(dialect_name, t.attempt.c.session_id, "step_sessions"),
            t.attempt.c.step_of.is_not(None),
            is_in_effect(),
            t.value.c.state == literal_column("'taken'"),
            among(dialect_name, t.queue.c.session_id, "session_ids"),
            t.queue.c.session_id != t.attempt.c.session_id,
            ~completed,
        )
        .group_by(*columns)
        .order_by(since)
    )


def holding_steps(executor: Executor, session_ids: Sequence[int], step_sessions: Sequence[int]) -> list[HoldingStep]:
    """Return the completed steps that hold values of other sessions, of tasks that have not completed."""
    params = {"session_ids": json.dumps(list(session_ids)), "step_sessions": json.dumps(list(step_sessions))}
    return [HoldingStep(*row) for row in executor.execute(_holding_steps(executor.dialect_name), params)]
