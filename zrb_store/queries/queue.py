"""What a queue allows."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import bindparam

from zrb_store.db.tables import queue
from zrb_store.db.transaction import Executor

_QUEUE_ID = bindparam("of_queue", type_=queue.c.id.type)
_READ = sa.select(queue.c.max_deliveries).where(queue.c.id == _QUEUE_ID)
_SET = sa.update(queue).where(queue.c.id == _QUEUE_ID).values(max_deliveries=bindparam("limit", type_=sa.Integer))


def max_deliveries(executor: Executor, queue_id: int) -> int | None:
    """Return how often a value of the queue is delivered at most; None if that is not limited."""
    rows = executor.execute(_READ, {"of_queue": queue_id})
    return rows[0][0] if rows else None


def set_max_deliveries(executor: Executor, queue_id: int, limit: int | None) -> None:
    """Limit the deliveries of each value of the queue, in the open transaction. Values that are live stay live."""
    executor.execute(_SET, {"of_queue": queue_id, "limit": limit})
