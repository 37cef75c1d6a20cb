"""`ack`: what somebody knows already is not reported again."""

from __future__ import annotations

from zrb_store.db.engine import Database
from zrb_store.db.transaction import Transaction
from zrb_store.errors import ZrbStoreError
from zrb_store.queries import lease, runs, sessions
from zrb_store.queries.by_hand import record_change
from zrb_store.queries.clock import now_micros
from zrb_store.queries.waits import parked
from zrb_store.watch import queries


def acknowledge(database: Database, *names: str, reason: str | None = None) -> None:
    """Let `check` be quiet about how sessions have ended by now, all of them or none; it reports what comes later."""

    def work(transaction: Transaction) -> None:
        for name in names:
            session = sessions.get(transaction, name, lock=True)
            last = runs.last(transaction, session.id)
            if session.status == "completed" and (last is None or last.error is None):
                raise ZrbStoreError(f"session {name} has completed: there is nothing to acknowledge")
            if session.status == "waiting" and not any(each.is_late for each in parked(transaction, [session.id])):
                raise ZrbStoreError(f"session {name} waits, and not past a deadline: there is nothing to acknowledge")
            moment = now_micros(transaction)
            is_live = last is not None and lease.status_of(transaction, session.status, last, moment) == "running"
            if not queries.acknowledge(transaction, session.id, but=last.id if last is not None and is_live else None):
                raise ZrbStoreError(f"no run of session {name} has ended yet: nothing was acknowledged")
            record_change(transaction, "ack", name, None, reason)

    database.transact(work, "ack")
