"""Leases: which run may work on a session, by the database's clock."""

from __future__ import annotations

from zrb_store.db.core import bindparam, run, sa
from zrb_store.db.dialect import now, schema_is_unchanged
from zrb_store.db.transaction import Executor
from zrb_store.errors import SessionBusy
from zrb_store.process import is_group_alive, is_running, is_stopped
from zrb_store.queries import deliveries, runs
from zrb_store.records import RunRecord, SessionRecord

DURATION = 60.0
"""Seconds that a lease lasts."""

_RENEW = (
    sa.update(run)
    .where(run.c.id == bindparam("run_id"), run.c.ended_at.is_(None), runs.is_newest, schema_is_unchanged)
    .values(lease_expires_at=now() + bindparam("lease", type_=sa.BigInteger), suspected_at=None)
    .returning(run.c.id)
)


def renew(executor: Executor, run_id: int, lease: int) -> bool:
    """Extend the lease of a run to `lease` microseconds from now.

    Returns:
        False if the run has lost its lease.
    """
    return bool(executor.execute(_RENEW, {"run_id": run_id, "lease": lease}))


def is_live(executor: Executor, run: RunRecord, moment: int) -> bool:
    """Whether the run still holds its lease at `moment` (the database's clock) and may be at work."""
    if run.ended_at is not None or run.lease_expires_at <= moment:
        return False
    running = is_running(run.boot_id, run.pid_namespace, run.pid, run.process_started)
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
    running = is_running(run.boot_id, run.pid_namespace, run.pid, run.process_started)
    if running and not is_stopped(run.pid):
        return "alive"
    return "dead" if running is False else "lease expired"


def how_it_died(executor: Executor, run: RunRecord, moment: int) -> str:
    """Return how it is known that a run, which is not live at `moment`, is dead."""
    return "its process has died" if state_of_process(executor, run, moment) == "dead" else "its lease has expired"


def status_of(executor: Executor, session: SessionRecord, run: RunRecord | None, moment: int) -> str:
    """Return the status that readers show: a `running` session without a live run is `stale`."""
    if session.status == "running" and (run is None or not is_live(executor, run, moment)):
        return "stale"
    return session.status


def refuse_live(executor: Executor, session: SessionRecord, moment: int) -> RunRecord | None:
    """Raise `SessionBusy` if a process is running the session at `moment`.

    Returns:
        The newest run, on which no process works any more; None if there was none.
    """
    last = runs.last(executor, session.id)
    if last is None:
        return None
    if is_live(executor, last, moment):
        age = max(0, moment - last.started_at) // 1_000_000
        raise SessionBusy(
            f"session {session.name} is being run by pid {last.pid} on {last.host} for {age} s; "
            f"wait for it, or end it with `kill {last.pid}` on that machine and start again"
        )
    pid = living_command(executor, last)
    if pid is not None:
        raise SessionBusy(
            f"a command of session {session.name} has outlived its consumer: wait for its process group, "
            f"or end it with `kill -- -{pid}`"
        )
    return last


def living_command(executor: Executor, run: RunRecord) -> int | None:
    """Return the process group of a command that a run has started and that still works, although the run may be dead.

    What such a command has been given cannot be given to another one yet.
    """
    if run.ended_at is not None:
        return None
    started = deliveries.commands(executor, run.id)
    return next((pid for pid, at in started if is_group_alive(run.boot_id, run.pid_namespace, pid, at)), None)
