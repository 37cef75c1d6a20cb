"""Takes values back from attempts whose process died (guarantees.md, promise 10)."""

from __future__ import annotations

from dataclasses import asdict
from weakref import WeakKeyDictionary

from zrb_store.db.clock import clock
from zrb_store.db.engine import Database
from zrb_store.db.transaction import Transaction
from zrb_store.process import identity
from zrb_store.queries import lease, runs, sessions
from zrb_store.queries import reclaim as queries
from zrb_store.queries.clock import now_micros

_INTERVAL = 1.0  # seconds between two searches of a queue that has values

_due: WeakKeyDictionary[Database, dict[int, float]] = WeakKeyDictionary()


def due_times(database: Database) -> dict[int, float]:
    """Return when each queue is due to be searched again, by `clock.monotonic`: one dictionary for each database."""
    return _due.setdefault(database, {})


def search(database: Database, queue_id: int, taker: str | None, *, missing: bool = False) -> bool:
    """Reclaim what dead attempts of other sessions, and dead deliveries, hold of a queue, if it is time to look.

    It is time at the first look of this process, when something is `missing` (the queue is empty, or it is edited), and
    else once a second. Return whether something came back, by this process or by another one that was faster.
    """
    due, now = due_times(database), clock.monotonic()
    if not missing and now < due.get(queue_id, now):
        return False
    due[queue_id] = now + _INTERVAL
    own = None if taker is None else taker.partition("/")[0]
    came_back = False
    for holder in queries.holding_runs(database, queue_id):
        # The taker's own run is alive, whatever became of its lease.
        if holder.session != own and not lease.is_own_run(holder.run):
            came_back |= _reclaim(database, holder, taker)
    return came_back


def _reclaim(database: Database, holder: queries.HoldingRun, taker: str | None) -> bool:
    reason = None if holder.run.damage else lease.cause_of_death(database, holder.run, now_micros(database))
    if reason is None:
        return False
    if not holder.is_delivery and sessions.are_related(database, holder.session_id, holder.home_id):
        return False
    me = identity()
    by = taker or f"pid {me.pid} on {me.host}"
    # Nothing more is stored of this process: its command line may have secrets that only the taker's run knows.
    unknown = dict.fromkeys(("folder", "python_version", "zrb_version"))
    columns = {**asdict(me), "origin": "reclaim", "command": "[]", **unknown}

    def work(transaction: Transaction) -> bool:
        session = sessions.find(transaction, holder.session, lock=True, even_damaged=True)
        if session is None or session.damage:
            return False
        last = runs.last(transaction, session.id)
        if session.fence != holder.run.number or last is None or last.ended_at is not None:
            return True  # somebody else was faster
        if lease.is_live(transaction, last, now_micros(transaction)) or lease.living_command(transaction, last):
            return False
        queries.take_over(transaction, last, session, columns, f"reclaimed by {by}: {reason}")
        from zrb_store.queries.by_hand import record_change  # late: most runs find nobody dead

        record_change(transaction, "reclaim", session.name, f"run {last.number}: {reason}; reclaimed by {by}")
        return True

    if not database.transact(work, "reclaim"):
        return False
    from zrb_store.runtime.notify import tell_death  # late: few processes die

    tell_death(database, holder.session, holder.run, reason)
    return True
