"""What a process that waits for a value asks again and again."""

from __future__ import annotations

import functools
from collections.abc import Callable
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


def probe(database: Database, session_name: str, queue_name: str) -> Callable[[], bool]:
    """Return what tells whether there is such a queue and it has a live value. It locks nothing, and is cheap."""
    params = {"session": session_name, "queue": queue_name}
    # Who waits does not mind that a lost connection is noticed a moment later, but looking first costs time every time.
    return functools.partial(database.operate, database.dialect.probe(_HAS_VALUE, params), may_be_ended=True)
