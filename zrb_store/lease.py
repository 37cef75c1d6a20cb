"""Keeping leases alive: one thread per process renews them all."""

from __future__ import annotations

import contextlib
import os
import threading
from typing import Protocol

from zrb_store.db.engine import Database
from zrb_store.db.transaction import Executor
from zrb_store.errors import SessionBusy
from zrb_store.process import provably_dead
from zrb_store.queries import sessions
from zrb_store.records import RunRecord, SessionRecord

DURATION = 60.0
"""Seconds that a lease lasts."""
RENEWAL = 15.0
"""Seconds between two renewals."""


class Holder(Protocol):
    """A run that holds a lease."""

    id: int
    database: Database
    lost: bool


def duration_in_micros() -> int:
    """How long a lease lasts from now on."""
    return int(DURATION * 1_000_000)


def is_live(run: RunRecord, moment: int) -> bool:
    """Whether the run still holds its lease at `moment` (the database's clock) and may be at work."""
    return run.ended_at is None and run.lease_expires_at > moment and not is_dead(run)


def is_dead(run: RunRecord) -> bool:
    """Whether the run's process is provably dead, so that nobody needs to wait for the lease to expire."""
    return provably_dead(run.boot_id, run.pid_namespace, run.pid, run.process_started)


def status_of(session: SessionRecord, run: RunRecord | None, moment: int) -> str:
    """The status that readers show: a `running` session without a live run is `stale`."""
    if session.status == "running" and (run is None or not is_live(run, moment)):
        return "stale"
    return session.status


def refuse_live(executor: Executor, session: SessionRecord, moment: int) -> None:
    """Raise `SessionBusy` if a process runs the session at `moment`."""
    last = sessions.last_run(executor, session.id)
    if last is not None and is_live(last, moment):
        age = (moment - last.started_at) // 1_000_000
        raise SessionBusy(
            f"session {session.name} is being run by pid {last.pid} on {last.host} for {age} s; "
            "wait for it, or end it and start again"
        )


class _Keeper:
    """The thread. It starts with the first lease and ends with the last."""

    def __init__(self) -> None:
        self._reset()

    def _reset(self) -> None:
        self._holders: list[Holder] = []
        self._due = False
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def add(self, holder: Holder) -> None:
        with self._changed:
            self._holders.append(holder)
            if self._thread is None:
                self._thread = threading.Thread(target=self._renew_all, name="zrb-store-lease", daemon=True)
                self._thread.start()

    def remove(self, holder: Holder) -> None:
        with self._changed:
            with contextlib.suppress(ValueError):
                self._holders.remove(holder)
            self._changed.notify()

    def _lose(self, holder: Holder) -> None:
        with self._changed:
            if holder in self._holders:  # else the run has just ended by itself
                self._holders.remove(holder)
                holder.lost = True

    def renew_now(self) -> None:
        with self._changed:
            self._due = True
            self._changed.notify()

    def _renew_all(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._due or not self._holders, timeout=RENEWAL)
                self._due = False
                if not self._holders:
                    self._thread = None
                    return
                holders = list(self._holders)
            for holder in holders:
                if holder.database.closed:
                    self.remove(holder)
                    continue
                # Unreachable for now: the lease lasts for more tries, and the run's own writes speak up.
                # Whatever else it is, the other leases must be renewed.
                with contextlib.suppress(Exception):
                    if not sessions.renew(holder.database, holder.id, duration_in_micros()):
                        self._lose(holder)


_keeper = _Keeper()

keep = _keeper.add
"""Renew the lease of a run from now on."""
release = _keeper.remove
"""Stop renewing the lease of a run."""
renew_now = _keeper.renew_now
"""Renew all leases now: `DURATION` has changed."""

if hasattr(os, "register_at_fork"):
    # A forked child has no lease of its own, and not the thread either.
    os.register_at_fork(after_in_child=_keeper._reset)
