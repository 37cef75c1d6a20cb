"""What a process that waits for a value asks again and again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from zrb_store.db.core import attempt, bindparam, literal_column, queue, sa, session, value
from zrb_store.db.engine import Database
from zrb_store.db.transaction import Transaction

_ONE: sa.ColumnClause[Any] = literal_column("1")
_queue_id = (
    sa.select(queue.c.id)
    .select_from(queue.join(session, session.c.id == queue.c.session_id))
    .where(session.c.name == bindparam("session"), queue.c.name == bindparam("queue"))
    .scalar_subquery()
)
_live_value = (
    sa.select(_ONE)
    .where(value.c.queue_id == _queue_id, value.c.ended_at.is_(None))
    .with_hint(value, "INDEXED BY ix_zrb_value_live", "sqlite")
)
_held_value = (
    sa.select(_ONE)
    .select_from(attempt.join(value, value.c.taken_by == attempt.c.id))
    .where(attempt.c.status == literal_column("'running'"), value.c.queue_id == _queue_id)
    .with_hint(attempt, "INDEXED BY ix_zrb_attempt_running", "sqlite")
)
_HAS_VALUE = _live_value.limit(_ONE)
_MAY_GET_VALUE = sa.select(_ONE).where(sa.or_(sa.exists(_live_value), sa.exists(_held_value)))

Question = Callable[[], bool]
"""Asks the database. It locks nothing, and costs little when it is asked again and again."""


def has_value(database: Database, session_name: str, queue_name: str) -> Question:
    """Return the question whether there is such a queue and it has a live value."""
    return _question(database, _HAS_VALUE, session_name, queue_name)


def may_get_value(database: Database, session_name: str, queue_name: str) -> Question:
    """Return the question whether the queue has a live value, or one that comes back if its holder has died."""
    return _question(database, _MAY_GET_VALUE, session_name, queue_name)


def _question(database: Database, statement: sa.Select[Any], session_name: str, queue_name: str) -> Question:
    params = {"session": session_name, "queue": queue_name}
    # Who waits does not mind that a lost connection is noticed a moment later, but looking first costs time every time.
    return lambda: bool(database.operate(Transaction.execute, statement, params, may_be_ended=True))
