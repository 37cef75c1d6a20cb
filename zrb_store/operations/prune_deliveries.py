"""What `prune` deletes of consumers, which may run for ever: what they have done, long ago."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

from zrb_store.db.engine import Database
from zrb_store.db.transaction import Transaction
from zrb_store.queries import prune_deliveries as queries
from zrb_store.queries.changes import record_change
from zrb_store.queries.prune import count_settled

_AT_ONCE = 500


def prune_values(
    database: Database, cutoff: int, delete: Callable[[int], int], *, dry_run: bool
) -> Iterator[tuple[str, int]]:
    """Delete the values that completed deliveries took before a moment, whatever the status of the queue's session.

    Args:
        database: The store.
        cutoff: The moment.
        delete: Deletes them from the queue of this id, and returns how many there were.
        dry_run: Delete nothing.

    Yields:
        The name of each session, and how many of its values were deleted.
    """
    counts: Counter[str] = Counter()
    for queue in queries.delivered_queues(database, cutoff):
        if dry_run:
            counts[queue.session] += count_settled(database, [queue.id], cutoff, delivered=True)
        else:
            counts[queue.session] += delete(queue.id)
    yield from ((session, count) for session, count in counts.items() if count)


def prune_attempts(database: Database, cutoff: int) -> None:
    """Delete deliveries that ended before a moment and that no value names any more, and runs that have none left."""
    deleted: list[int] = []
    count = 0

    def delete_some(transaction: Transaction) -> list[int]:
        return queries.delete_deliveries(transaction, cutoff, deleted[-1] if deleted else 0, _AT_ONCE)

    while deleted := database.transact(delete_some, "prune"):
        count += len(deleted)

    def delete_runs(transaction: Transaction) -> None:
        runs = queries.delete_runs(transaction, cutoff)
        if count or runs:
            record_change(transaction, "prune", None, f"{count} old deliveries, and {runs} runs without any")

    database.transact(delete_runs, "prune")
