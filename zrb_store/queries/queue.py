"""What a queue allows."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy import bindparam

from zrb_store.db.columns import QUEUE
from zrb_store.db.tables import queue
from zrb_store.db.transaction import Executor

_LIMIT = QUEUE["max_deliveries"]
_QUEUE_ID = bindparam("of_queue", type_=queue.c.id.type)
_READ = sa.select(queue.c.max_deliveries).where(queue.c.id == _QUEUE_ID)
_SET = sa.update(queue).where(queue.c.id == _QUEUE_ID).values(max_deliveries=bindparam("limit", type_=sa.Integer))


def max_deliveries(executor: Executor, queue_id: int) -> int | None:
    """Return how often a value of the queue is delivered at most; None if that is not limited."""
    rows = executor.execute(_READ, {"of_queue": queue_id})
    return readable_limit(rows[0][0]) if rows else None


def readable_limit(limit: Any) -> int | None:
    """Return a limit as it is stored, or None if it is damaged."""
    return None if _LIMIT.problem(limit) else limit


def set_max_deliveries(executor: Executor, queue_id: int, limit: int | None) -> None:
    """Limit the deliveries of each value of the queue, in the open transaction. Values that are live stay live."""
    executor.execute(_SET, {"of_queue": queue_id, "limit": limit})
