"""The end of runs whose process was asked to stop, and does not end them itself."""

from __future__ import annotations

from collections.abc import Sequence

from zrb_store.db.engine import Database
from zrb_store.db.transaction import Transaction
from zrb_store.queries import runs
from zrb_store.queries.stop import LiveRun
from zrb_store.runtime import notify


def end_runs(database: Database, live: Sequence[LiveRun]) -> bool:
    """End a run, the first one, and those of its child sessions as interrupted, and give back what they did.

    Return False if the run had ended.
    """
    told = notify.is_wanted()

    def work(transaction: Transaction) -> list[LiveRun]:
        return [each for each in live if runs.end(transaction, each.session_id, each.id, "interrupted", told=told)]

    has_ended = live[0] in database.transact(work, "end")
    if told and has_ended:
        notify.notifier().notify_end(database, live[0].session, live[0].id)
    return has_ended
