"""`stop`: ask the process that runs a session to end it, and wait until it has.

The request is recorded before the signal is sent, so that the run ends as `interrupted` whatever its process does.
"""

from __future__ import annotations

import signal
from dataclasses import dataclass, replace

from zrb_store.db.clock import clock
from zrb_store.db.engine import Database
from zrb_store.db.transaction import Transaction
from zrb_store.errors import SessionBusy, ZrbStoreError
from zrb_store.process import ending_signal, is_running, send_signal
from zrb_store.queries import lease, runs, sessions
from zrb_store.queries import stop as queries
from zrb_store.queries.clock import Moment, draw, now_micros
from zrb_store.queries.commands import left_commands
from zrb_store.records import RunRecord, SessionRecord
from zrb_store.runtime.commands import end_commands
from zrb_store.runtime.stop import end_runs

_LOOK = 0.1  # seconds between two looks whether it has ended
_KILLED = 10.0  # seconds that a process may take to be gone after SIGKILL


@dataclass(frozen=True)
class _Request:
    """A request that was recorded."""

    run: RunRecord
    live: list[queries.LiveRun]  # the run, then those of its child sessions
    moment: Moment
    signal: signal.Signals | None  # how it ends in order; None if no signal can be sent


@dataclass(frozen=True)
class StopResult:
    """How a session ended that was stopped."""

    status: str
    back: queries.CameBack


def stop(database: Database, name: str, *, timeout: float = 30.0, kill: bool = False) -> StopResult:
    """Ask the process that runs a session to end it, wait so many seconds, and return what came back.

    A session that waits becomes interrupted. With `kill`, the process gets SIGKILL if it has not ended by then. What
    its attempts did is then given back here, and counts as no delivery. The commands that it leaves are ended, also
    if it has died before.
    """
    if (dead := _dead(database, name)) is not None:
        end_commands(database, dead)
        return StopResult(dead.status, queries.CameBack([], []))
    request = database.transact(lambda transaction: _ask(transaction, name, kill=kill), "stop")
    if request is None:
        return StopResult("interrupted", queries.CameBack([], []))
    if request.signal and runs.status_of(database, request.run.id) == (None,):  # it may just have ended by itself
        send_signal(*request.run.process, request.signal)
    if not _wait(database, request, timeout):
        if kill:
            send_signal(*request.run.process, signal.SIGKILL)
        if not kill or not _wait(database, request, _KILLED):
            raise _still_running_error(database, request, name, timeout)
    end_commands(database, sessions.get(database, name))
    with database.snapshot() as transaction:
        status = sessions.get(transaction, name).status
        return StopResult(status, queries.came_back(transaction, request.live, request.moment))


def _dead(database: Database, name: str) -> SessionRecord | None:
    """Return the session if no process runs it, but commands of it live; with the status that readers show."""
    with database.snapshot() as transaction:
        session = sessions.get(transaction, name)
        run, moment = runs.last(transaction, session.id), now_micros(transaction)
        if run is None or (run.ended_at is None and lease.state_of_process(transaction, run, moment) == "alive"):
            return None
        if not left_commands(transaction, session, database.url):
            return None
        return replace(session, status=lease.status_of(transaction, session.status, run, moment))


def _ask(transaction: Transaction, name: str, *, kill: bool) -> _Request | None:
    """Record the request; return None if the session waited, and now does not any more."""
    session = sessions.get(transaction, name, lock=True)
    run, moment = runs.last(transaction, session.id), now_micros(transaction)
    if run is not None and session.status == "waiting":
        since = draw(transaction)
        runs.end_session(transaction, session.id, "interrupted", since)
        queries.ask(transaction, run, [queries.LiveRun(run.id, session.id, name)], since, by_lease=False)
        return None
    if run is None or run.ended_at is not None or lease.state_of_process(transaction, run, moment) != "alive":
        status = lease.status_of(transaction, session.status, run, moment)
        raise ZrbStoreError(f"session {name} does not run ({status}): nothing was stopped")
    if run.origin == "web":
        server = f"the web server with pid {run.pid} on {run.host}"
        raise SessionBusy(f"session {name} runs in {server}, which would also end: nothing was stopped")
    beside = queries.live_beside(transaction, run)
    if others := [each.session for each in beside if not queries.is_part(each.session, name)]:
        raise SessionBusy(
            f"pid {run.pid} on {run.host} runs session {name}, and also {', '.join(others)}: nothing was stopped"
        )
    is_here = send_signal(*run.process, 0)
    number = ending_signal(run.pid, handles_sigterm=run.handles_sigterm) if is_here else None
    if kill and number is None:
        raise ZrbStoreError(
            f"pid {run.pid} runs on {run.host}, where this user cannot kill it from here: without --kill, it finds the "
            "request within 15 s"
        )
    since = draw(transaction)
    live = [queries.LiveRun(run.id, session.id, name), *beside]
    queries.ask(transaction, run, live, since, by_lease=number is None)
    return _Request(run, live, since, number)


def _wait(database: Database, request: _Request, seconds: float) -> bool:
    """Wait until the run has ended; return False if it has not in so many seconds."""
    deadline = clock.monotonic() + seconds
    while runs.status_of(database, request.run.id) == (None,):
        if is_running(*request.run.process) is False:
            end_commands(database, sessions.get(database, request.live[0].session))
            end_runs(database, request.live)
        elif clock.monotonic() >= deadline:
            return False
        else:
            clock.sleep(_LOOK)
    return True


def _still_running_error(database: Database, request: _Request, name: str, timeout: float) -> ZrbStoreError:
    run = request.run
    last = runs.last(database, run.session_id) or run
    age = max(0, now_micros(database) - max(last.started_at, lease.worked_until(last, None))) // 1_000_000
    sign = f"pid {run.pid} on {run.host} last gave a sign of life {age} s ago"
    rhythm = lease.DURATION / lease.RENEWALS
    if request.signal is None and age > rhythm:
        return ZrbStoreError(
            f"session {name} may still run, {timeout:g} s after it was asked to stop: {sign}, although it does every "
            f"{rhythm:g} s; it can be started again once its lease has expired"
        )
    kill = f"`zrb-store stop {name} --kill` kills it"
    remedy = kill if request.signal else f"it looks every {rhythm:g} s whether it is to stop"
    return ZrbStoreError(f"session {name} still runs {timeout:g} s after it was asked to stop: {sign}; {remedy}")
