"""Takes values back from attempts whose process died, and takes back what these pushed (guarantees.md, promise 10)."""

from __future__ import annotations

from dataclasses import asdict
from typing import NamedTuple
from weakref import WeakKeyDictionary

from zrb_store.db.clock import clock
from zrb_store.db.engine import Database
from zrb_store.db.transaction import Transaction
from zrb_store.process import EndWatch, identity
from zrb_store.queries import lease, runs, sessions
from zrb_store.queries import reclaim as queries
from zrb_store.queries.clock import now_micros
from zrb_store.queries.pushers import NOBODY, Alive, alive
from zrb_store.runtime import notify

_INTERVAL = 1.0  # seconds between two searches of a queue that has values


class Search(NamedTuple):
    """The last search of a queue."""

    until: float  # when it is to be searched again, by `clock.monotonic`
    alive: Alive  # the runs that it found, and left
    others: EndWatch | None = None  # of the other processes that run them

    def alive_now(self) -> Alive:
        """Return the runs that still work; nobody if any process has died since."""
        return NOBODY if self.others is not None and self.others.has_ended() else self.alive


NEVER = Search(0.0, NOBODY)
"""What is known of a queue that was not searched."""

_searches: WeakKeyDictionary[Database, dict[int, Search]] = WeakKeyDictionary()


def searches(database: Database) -> dict[int, Search]:
    """Return the last search of each queue: one dictionary for each database."""
    return _searches.setdefault(database, {})


def known_alive(database: Database, queue_id: int) -> Alive:
    """Return the runs that have to do with a queue and are known to work."""
    return searches(database).get(queue_id, NEVER).alive_now()


def search(database: Database, queue_id: int, taker: str | None, *, missing: bool = False) -> bool:
    """Undo what dead attempts of other sessions, and dead deliveries, did to a queue, if it is time to look.

    It is time at the first look of this process, when something is `missing` (the queue is empty, it is edited, or a
    pusher may have died), and else once a second. Return whether something came back, by this process or by another one
    that was faster.
    """
    known, now = searches(database), clock.monotonic()
    if not missing and now < known.get(queue_id, NEVER).until:
        return False
    own = None if taker is None else taker.partition("/")[0]
    came_back, own_run, others = False, 0, {}
    for holder in queries.holding_runs(database, queue_id):
        # The taker's own run is alive, whatever became of its lease.
        if holder.session == own or lease.is_own_run(holder.run):
            own_run = holder.run.id
        elif _reclaim(database, holder, taker):
            came_back = True
        else:
            others[holder.run.id] = holder.run
    left = alive(own_run, others) if own_run or others else NOBODY
    watch = EndWatch(run.process for run in others.values()) if others else None
    known[queue_id] = Search(now + _INTERVAL, left, watch)
    return came_back


def _reclaim(database: Database, holder: queries.HoldingRun, taker: str | None) -> bool:
    reason = lease.cause_of_death(database, holder.run, now_micros(database))
    if reason is None or lease.living_command(database, holder.run, holding=True) is not None:
        return False
    if not holder.is_delivery and sessions.are_related(database, holder.session_id, holder.home_id):
        return False
    me = identity()
    by = taker or f"pid {me.pid} on {me.host}"
    # Nothing more is stored of this process: its command line may have secrets that only the taker's run knows.
    unknown = dict.fromkeys(("folder", "python_version", "zrb_version"))
    columns = {**asdict(me), "origin": "reclaim", "command": "[]", **unknown}

    def work(transaction: Transaction) -> bool:
        session = sessions.find(transaction, holder.session, lock=True)
        if session is None:
            return False
        last = runs.last(transaction, session.id)
        if session.fence != holder.run.number or last is None or last.ended_at is not None:
            return True  # somebody else was faster
        if lease.is_live(transaction, last, now_micros(transaction)):
            return False
        if lease.living_command(transaction, last, holding=True) is not None:
            return False
        queries.take_over(transaction, session, columns, f"reclaimed by {by}: {reason}")
        from zrb_store.queries.by_hand import record_change

        record_change(transaction, "reclaim", session.name, f"run {last.number}: {reason}; reclaimed by {by}")
        return True

    if not database.transact(work, "reclaim"):
        return False
    if notify.is_wanted():
        notify.notifier().notify_death(database, holder.session, holder.run, reason)
    return True
