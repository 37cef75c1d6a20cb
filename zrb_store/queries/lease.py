"""Leases: which run may work on a session, by the database's clock, and when a run counts as dead."""

from __future__ import annotations

from collections.abc import Callable

from zrb_store.db.core import bindparam, exists, literal, sa, statement, t
from zrb_store.db.dialect import now, schema_is_unchanged
from zrb_store.db.transaction import Executor
from zrb_store.errors import SessionBusy
from zrb_store.process import is_group_alive, is_own, is_running, is_stopped
from zrb_store.queries import runs
from zrb_store.queries.sessions import Removable
from zrb_store.records import RunRecord, SessionRecord

DURATION = 60.0
"""Seconds that a lease lasts."""
RENEWALS = 4
"""How often it is renewed meanwhile."""
SUSPICION = 20.0
"""Seconds that an expired lease may still be renewed. A process renews its lease every 15 s.

Without this time, an outage of the server, or a machine that was suspended, would look like the death of everybody.
"""


@statement
def _renew() -> sa.sql.dml.ReturningUpdate[int | None]:
    return (
        sa.update(t.run)
        .where(t.run.c.id == bindparam("run_id"), t.run.c.ended_at.is_(None), runs.is_newest(), schema_is_unchanged())
        .values(
            lease_expires_at=now() + bindparam("lease", type_=sa.BigInteger), suspected_at=None, acknowledged_at=None
        )
        .returning(t.run.c.stop_requested_at)
    )


def renew(executor: Executor, run_id: int, lease: int) -> tuple[int | None] | None:
    """Extend the lease of a run by microseconds from now.

    Return a row with the moment at which the run was asked to stop, or None if it has lost its lease.
    """
    return next(iter(executor.execute(_renew(), {"run_id": run_id, "lease": lease})), None)


def is_live(executor: Executor, run: RunRecord, moment: int) -> bool:
    """Whether the run still holds its lease at `moment` (the database's clock) and may be at work."""
    if run.ended_at is not None or run.lease_expires_at <= moment:
        return False
    running = is_running(*run.process)
    if running is None and executor.dialect_name == "sqlite":
        # SQLite uses this host's clock. It was ahead when the lease began if the lease outlasts one that begins now.
        return run.lease_expires_at - moment <= DURATION * 1_000_000
    return running is not False


def state_of_process(executor: Executor, run: RunRecord, moment: int) -> str:
    """Return `alive`, `dead` or, if nothing more is known, `lease expired` of a run's process at `moment`."""
    if is_live(executor, run, moment):
        return "alive"
    running = is_running(*run.process)
    if running and not is_stopped(run.pid):
        return "alive"  # one call may have kept all its threads waiting until its lease expired
    return "dead" if running is False else "lease expired"


def is_own_run(run: RunRecord) -> bool:
    """Whether this process has started the run."""
    return is_own(*run.process)


@statement
def _suspect() -> sa.sql.dml.ReturningUpdate[int]:
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
    """Return why a run that has not ended counts as dead; None if it does not, or is only suspected so far."""
    state = state_of_process(executor, run, moment)
    if state == "alive":
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


def status_of(executor: Executor, status: str, run: RunRecord | None, moment: int) -> str:
    """Return the status that readers show of a session with this stored status and newest run.

    A `running` session without a live run is `stale`, and stays so when another process has reclaimed what it held.
    """
    if status == "running" and (run is None or not is_live(executor, run, moment)):
        return "stale"
    return "stale" if status == "interrupted" and run is not None and run.origin == "reclaim" else status


class SessionRunning(SessionBusy):
    """A process that is alive runs this session, and nothing is wrong with that."""


def refuse_live(
    executor: Executor,
    session: SessionRecord | Removable,
    moment: int,
    is_renewed: Callable[[int], bool] = lambda _: False,
) -> RunRecord | None:
    """Raise `SessionBusy` if a process runs the session, else return its newest run, or None."""
    last = runs.last(executor, session.id)
    if last is None or last.ended_at is not None:
        return last
    own = is_own_run(last)  # `is_renewed`: whether this process still renews its own lease
    if (
        (is_live(executor, last, moment) or is_renewed(last.id))
        if own
        else (state_of_process(executor, last, moment) == "alive")
    ):
        age = max(0, moment - last.started_at) // 1_000_000
        raise SessionRunning(
            f"session {session.name} is being run by pid {last.pid} on {last.host} for {age} s; wait for it"
            + ("" if own else f", or end it with `zrb-store stop {session.name}` and start again")
        )
    return last


def refuse_at_work(executor: Executor, session: SessionRecord | Removable, moment: int) -> None:
    """Raise `SessionBusy` if a process runs the session, or has died and left a command that works on."""
    last = refuse_live(executor, session, moment)
    if last is not None and living_command(executor, last) is not None:
        raise SessionBusy(
            f"a command of session {session.name} has outlived the process that started it: wait for its end, or end "
            f"it with `zrb-store stop {session.name}`"
        )


def refusal_while_suspected(
    executor: Executor, session: SessionRecord, run: RunRecord, moment: int
) -> SessionBusy | None:
    """Return the refusal to take over a run that `refuse_live` has let pass, if it may still renew its lease.

    The transaction is to be committed: it may have recorded the suspicion.
    """
    if is_own_run(run) or cause_of_death(executor, run, moment):
        return None
    since = moment if run.suspected_at is None else min(run.suspected_at, moment)
    seconds = SUSPICION - (moment - since) // 1_000_000
    return SessionBusy(
        f"session {session.name} may still be run by pid {run.pid} on {run.host}, which has not renewed its lease: "
        f"start again in {seconds:.0f} s, when that process counts as dead"
    )


@statement
def _commands(holding: bool) -> sa.Select[int | None, str | None]:
    found = sa.select(t.attempt.c.command_pid, t.attempt.c.command_started)
    if holding:
        found = found.where(exists(t.value.c.taken_by == t.attempt.c.id))
    return found.where(
        t.attempt.c.run_id == bindparam("run_id"),
        t.attempt.c.status == literal("running"),
        t.attempt.c.command_pid.is_not(None),
    ).with_hint(t.attempt, "INDEXED BY ix_zrb_attempt_running", "sqlite")


def living_command(executor: Executor, run: RunRecord, *, holding: bool = False) -> int | None:
    """Return the process group of a command of this run that still works; None if none does.

    With `holding`, only a command whose attempt has taken values counts: it keeps these.
    """
    if run.ended_at is not None:
        return None
    started = executor.execute(_commands(holding), {"run_id": run.id})
    return next((pid for pid, at in started if is_group_alive(run.boot_id, run.pid_namespace, pid, at)), None)


def worked_until(run: RunRecord, now: int | None) -> int:
    """Return until when a run is known to have worked, in microseconds. `now` is None if it does not run now."""
    if run.ended_at is not None and run.status != "lost":
        return run.ended_at
    if now is not None and run.status is None:
        return now
    # The last that is known of a run that died is when it renewed its lease, or what it did later.
    return max(run.started_at, last_renewal(run.lease_expires_at), run.seen_at)


def last_renewal(lease_expires_at: int) -> int:
    """Return when a lease that expires then was renewed, in microseconds."""
    return lease_expires_at - int(DURATION * 1_000_000)
