"""The newest runs of each main task: how long they took and how they ended, as a plot shows them."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from zrb_store.db.engine import Database
from zrb_store.local_time import beginning
from zrb_store.queries import stats
from zrb_store.queries.clock import now_micros

MOST = 60
"""The most runs of one task."""
_READ = 3000  # runs of all tasks


def recent_runs(
    database: Database, *, task: str | None = None, since: timedelta | datetime | None = None
) -> dict[tuple[str | None, str | None], list[dict[str, Any]]]:
    """Return the newest runs that have ended, the oldest of them first, by project and main task.

    A task that has not run for long has none: only the last 3,000 runs of the store are looked at.

    Args:
        database: Where to look.
        task: Only this main task.
        since: Only runs that started at most this long ago, or since this time.
    """
    with database.snapshot() as transaction:
        start = None if since is None else beginning(since, now_micros(transaction))
        found = stats.recent_runs(transaction, task, start, _READ)
    runs: dict[tuple[str | None, str | None], list[dict[str, Any]]] = {}
    for each in found:
        own = runs.setdefault((each.project, each.task), [])
        if len(own) < MOST:
            seconds = max(0, each.ended_at - each.started_at) / 1_000_000
            own.append(
                {
                    "session": each.session,
                    "outcome": each.outcome,
                    "started_at": each.started_at / 1_000_000,
                    "seconds": seconds,
                }
            )
    return {key: own[::-1] for key, own in runs.items()}
