"""What `db` reads: how many rows a store has."""

from __future__ import annotations

from zrb_store.db.core import attempt, queue, run, sa, session, value
from zrb_store.db.transaction import Executor

_count = sa.func.count()
_ROWS = {
    "sessions": sa.select(_count).select_from(session),
    "runs": sa.select(_count).select_from(run),
    "attempts": sa.select(_count).select_from(attempt),
    "queues": sa.select(_count).select_from(queue),
    "values": sa.select(_count).select_from(value),
    "live values": sa.select(_count).select_from(value).where(value.c.ended_at.is_(None)),
}


def rows(executor: Executor) -> dict[str, int]:
    """Count the rows of each kind."""
    return {name: executor.execute(statement)[0][0] for name, statement in _ROWS.items()}
