"""What a process that waits for a value asks again and again."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy import bindparam, literal_column

from zrb_store.db.engine import Database
from zrb_store.db.tables import queue, session, value

_ONE: sa.ColumnClause[Any] = literal_column("1")
_queue_id = (
    sa.select(queue.c.id)
    .select_from(queue.join(session, session.c.id == queue.c.session_id))
    .where(session.c.name == bindparam("session"), queue.c.name == bindparam("queue"))
    .scalar_subquery()
)
_HAS_VALUE = (
    sa.select(_ONE)
    .where(value.c.queue_id == _queue_id, value.c.ended_at.is_(None))
    .with_hint(value, "INDEXED BY ix_zrb_value_live", "sqlite")
    .limit(_ONE)
)


def has_value(database: Database, session_name: str, queue_name: str) -> bool:
    """Whether there is such a queue and it has a live value. This locks nothing."""
    params = {"session": session_name, "queue": queue_name}
    return database.operate(database.dialect.has_row, _HAS_VALUE, params)
