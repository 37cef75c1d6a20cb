"""Keeping leases alive: one thread per process renews them all, each store over a connection of its own."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Collection, Hashable
from typing import Protocol

from zrb_store.db.engine import Database, StoreReplaced
from zrb_store.db.transaction import Executor
from zrb_store.errors import LeaseLost, SessionBusy, ZrbStoreError
from zrb_store.process import is_running
from zrb_store.queries import sessions
from zrb_store.records import RunRecord, SessionRecord

STANDARD_DURATION = 60.0
DURATION = STANDARD_DURATION
"""Seconds that a lease lasts."""
RENEWAL = 15.0
"""Seconds between two renewals."""

_log = logging.getLogger("zrb_store")


class Holder(Protocol):
    """A run that holds a lease."""

    id: int
    session: str
    database: Database

    def lose(self, error: ZrbStoreError) -> None:
        """Learn, in another thread, that the run may do no more."""


def duration_in_micros() -> int:
    """How long a lease lasts from now on."""
    return int(DURATION * 1_000_000)


def is_live(executor: Executor, run: RunRecord, moment: int) -> bool:
    """Whether the run still holds its lease at `moment` (the database's clock) and may be at work."""
    if run.ended_at is not None or run.lease_expires_at <= moment:
        return False
    running = is_running(run.boot_id, run.pid_namespace, run.pid, run.process_started)
    if running is None and executor.dialect_name == "sqlite":
        # The clock is that of this host, and was ahead when the lease was taken: such a lease may never end.
        longest = int(max(DURATION, STANDARD_DURATION) * 1_000_000)
        return run.lease_expires_at - moment <= longest
    return running is not False


def status_of(executor: Executor, session: SessionRecord, run: RunRecord | None, moment: int) -> str:
    """The status that readers show: a `running` session without a live run is `stale`."""
    if session.status == "running" and (run is None or not is_live(executor, run, moment)):
        return "stale"
    return session.status


def refuse_live(executor: Executor, session: SessionRecord, moment: int) -> None:
    """Raise `SessionBusy` if a process runs the session at `moment`."""
    last = sessions.last_run(executor, session.id)
    if last is not None and is_live(executor, last, moment):
        age = max(0, moment - last.started_at) // 1_000_000
        raise SessionBusy(
            f"session {session.name} is being run by pid {last.pid} on {last.host} for {age} s; "
            "wait for it, or end it and start again"
        )


class _Renewal:
    """The thread. It starts with the first lease and ends with the last.

    Its connections are its own, so that it never waits for what tasks do with theirs.
    """

    def __init__(self) -> None:
        self._reset()

    def _reset(self) -> None:
        self._holders: list[Holder] = []
        self._databases: dict[Hashable, Database] = {}
        self._failing: set[Holder] = set()
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
            self._failing.discard(holder)
            self._changed.notify()

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
                    self._close(())
                    self._thread = None
                    return
                holders = list(self._holders)
            self._close({holder.database.url for holder in holders})
            for holder in holders:
                if holder.database.closed:
                    self.remove(holder)
                    continue
                try:
                    self._renew(holder)
                except StoreReplaced as error:
                    self._lose(holder, error)
                except Exception as error:  # noqa: BLE001 - whatever it is, the other leases must be renewed
                    self._note_failure(holder, error)

    def _renew(self, holder: Holder) -> None:
        holder.database.refuse_replaced()
        url = holder.database.url
        database = self._databases.get(url)
        if database is None:
            database = self._databases[url] = Database(url, check=False)
        if sessions.renew(database, holder.id, duration_in_micros()):
            if holder in self._failing:
                self._failing.discard(holder)
                _log.warning("the lease of session %s is renewed again", holder.session)
        else:
            self._lose(
                holder, LeaseLost(f"session {holder.session} was taken over by another process: this run must end")
            )

    def _lose(self, holder: Holder, error: ZrbStoreError) -> None:
        with self._changed:
            if holder not in self._holders:  # the run has just ended by itself
                return
            self._holders.remove(holder)
        holder.lose(error)

    def _note_failure(self, holder: Holder, error: Exception) -> None:
        # The lease lasts for more tries, and the run's own writes speak up.
        if holder not in self._failing:
            self._failing.add(holder)
            _log.warning("the lease of session %s could not be renewed: %s", holder.session, error)

    def _close(self, needed: Collection[Hashable]) -> None:
        for url in [url for url in self._databases if url not in needed]:
            self._databases.pop(url).close()


_renewal = _Renewal()

keep = _renewal.add
"""Renew the lease of a run from now on."""
release = _renewal.remove
"""Stop renewing the lease of a run."""
renew_now = _renewal.renew_now
"""Renew all leases now: `DURATION` has changed."""

if hasattr(os, "register_at_fork"):
    # A forked child has no lease of its own, and not the thread either.
    os.register_at_fork(after_in_child=_renewal._reset)
