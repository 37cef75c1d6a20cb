"""Leases of this process's runs: one thread renews them all, over connections of its own."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Collection, Hashable, Sequence
from typing import TYPE_CHECKING, Protocol

from zrb_store.db.clock import clock
from zrb_store.db.engine import Database, StoreReplaced
from zrb_store.db.patience import NoConnectionLeft
from zrb_store.errors import LeaseLost, ZrbStoreError
from zrb_store.observe import flush
from zrb_store.process import own_ending_signal
from zrb_store.queries.lease import DURATION, RENEWALS, renew

_log = logging.getLogger("zrb_store")


if TYPE_CHECKING:
    from zrb_store.queries.stop import LiveRun

    class LeaseHolder(Protocol):
        """A run that holds a lease."""

        id: int
        session: str
        database: Database

        def lose(self, error: ZrbStoreError) -> None:
            """Handle the loss of the lease. The renewal thread calls this."""


class _Renewal:
    """The renewing thread. It starts with the first lease and ends with the last."""

    def __init__(self) -> None:
        self.duration = DURATION
        self.interval = DURATION / RENEWALS
        self.reset()

    def reset(self) -> None:
        self._holders: list[LeaseHolder] = []
        # Connections of its own, so that it never waits for what tasks do with theirs. Only if a server allows no more,
        # it shares those of the tasks.
        self._databases: dict[Hashable, Database] = {}
        self._sharing: set[Hashable] = set()
        self._failing: set[LeaseHolder] = set()
        self._answered: dict[int, int] = {}  # by run, the last request to stop that this process has obeyed or refused
        self._due = False
        self._changed = threading.Condition()
        self._renewing = threading.Lock()
        self._thread: threading.Thread | None = None

    def duration_in_micros(self) -> int:
        """Return how long a lease lasts."""
        return int(self.duration * 1_000_000)

    def set_duration(self, seconds: float) -> float:
        """Let leases last this long, and renew all of them now. Return how many seconds they lasted before."""
        previous, self.duration, self.interval = self.duration, seconds, seconds / RENEWALS
        with self._changed:
            self._due = bool(self._holders)
            self._changed.notify()
        return previous

    def add(self, holder: LeaseHolder) -> None:
        with self._changed:
            self._holders.append(holder)
            if self._thread is None:
                self._thread = threading.Thread(target=self._renew_all, name="zrb-store-lease", daemon=True)
                self._thread.start()

    def remove(self, holder: LeaseHolder) -> None:
        with self._changed:
            with contextlib.suppress(ValueError):
                self._holders.remove(holder)
            self._failing.discard(holder)
            if not self._holders:
                self._changed.notify()

    def is_renewed(self, database: Database, run_id: int) -> bool:
        """Whether this process renews the lease of a run of this database."""
        with self._changed:
            return any((each.id, each.database.url) == (run_id, database.url) for each in self._holders)

    def abandon(self, database: Database, run_id: int) -> None:
        """Stop renewing the lease of a run of this database, if this process does. A renewal under way ends first."""
        with self._renewing, self._changed:
            kept = [each for each in self._holders if (each.id, each.database.url) != (run_id, database.url)]
            self._holders[:] = kept

    def _renew_all(self) -> None:
        while True:
            with self._changed:
                is_woken = not self._due and bool(self._holders) and clock.wait(self._changed, self.interval)
                # It was woken because the last lease ended. The present ones are new and need no renewal yet.
                is_early = is_woken and not self._due
                self._due = False
                if not self._holders:
                    self._close_all_but(())
                    self._thread = None
                    return
                holders = list(self._holders)
            self._close_all_but({holder.database.url for holder in holders})
            for holder in () if is_early else holders:
                if holder.database.closed:
                    self.remove(holder)
                    continue
                try:
                    self._renew(holder)
                except StoreReplaced as error:
                    self._lose(holder, error)
                except Exception as error:  # noqa: BLE001 - whatever it is, the other leases must be renewed
                    # There is time for more attempts before the lease ends, and the run's own writes report errors too.
                    if holder not in self._failing:
                        self._failing.add(holder)
                        _log.warning("the lease of session %s could not be renewed: %s", holder.session, error)

    def _renew(self, holder: LeaseHolder) -> None:
        holder.database.refuse_replaced()
        with self._renewing:
            if holder not in self._holders:  # it was abandoned, or the run has ended
                return
            try:
                renewed = renew(self._database(holder), holder.id, self.duration_in_micros())
            except NoConnectionLeft:
                self._sharing.add(holder.database.url)
                renewed = renew(holder.database, holder.id, self.duration_in_micros())
        if renewed:
            (stop_requested_at,) = renewed
            if stop_requested_at is not None:
                self._stop(holder)
            if holder in self._failing:
                self._failing.discard(holder)
                _log.warning("the lease of session %s is renewed again", holder.session)
        else:
            message = f"session {holder.session} was taken over by another process: this run must end"
            self._lose(holder, LeaseLost(message))

    def _stop(self, holder: LeaseHolder) -> None:
        """End this process as a signal does, if another machine asked for it and it runs no other session."""
        from zrb_store.queries import stop

        request = stop.request_to(self._database(holder), holder.id)
        if request is None or request.id <= self._answered.get(holder.id, 0):
            return
        number, dies_at_once = own_ending_signal()
        with self._changed:  # the run cannot end meanwhile: it first gives up its lease
            others = {*(each.session for each in request.live), *(each.session for each in self._holders)}
            others = {name for name in others if not stop.is_part(name, holder.session)}
            is_obeyed = not others and holder in self._holders
            if is_obeyed and not dies_at_once:
                os.kill(os.getpid(), number)
        if is_obeyed and dies_at_once:
            self._end_process(holder, request.live, number)
        self._answered[holder.id] = request.id
        if others:
            stop.withdraw(self._database(holder), holder.id)
            _log.warning("%s was asked to stop, but this process also runs %s", holder.session, ", ".join(others))

    def _end_process(self, holder: LeaseHolder, live: Sequence[LiveRun], number: int) -> None:
        """End the runs of this process, which could not do that any more, and then the process by a signal."""
        from zrb_store.runtime.stop import end_runs

        if end_runs(self._database(holder), live):  # else it has just ended by itself
            flush()
            os.kill(os.getpid(), number)
            os._exit(128 + number)  # no such signal reaches the process 1 of a container

    def _database(self, holder: LeaseHolder) -> Database:
        url = holder.database.url
        if url in self._sharing:
            return holder.database
        database = self._databases.get(url)
        if database is None:
            database = self._databases[url] = Database(url)
        database.timeout = min(Database.timeout, self.interval)
        return database

    def _lose(self, holder: LeaseHolder, error: ZrbStoreError) -> None:
        with self._changed:
            if holder not in self._holders:  # the run has just ended by itself
                return
            self._holders.remove(holder)
        holder.lose(error)

    def _close_all_but(self, needed: Collection[Hashable]) -> None:
        for url in self._databases.keys() - needed:
            self._databases.pop(url).close()


_renewal = _Renewal()

start_renewing = _renewal.add
stop_renewing = _renewal.remove
is_renewed = _renewal.is_renewed
abandon = _renewal.abandon
duration_in_micros = _renewal.duration_in_micros
set_duration = _renewal.set_duration

# A forked child has neither the leases of its parent nor the thread.
os.register_at_fork(after_in_child=_renewal.reset)
