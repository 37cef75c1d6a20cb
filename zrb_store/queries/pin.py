"""What `pin` and `unpin` write."""

from __future__ import annotations

from zrb_store.db.core import bindparam, sa, session
from zrb_store.db.transaction import Executor

_PIN = (
    sa.update(session)
    .where(session.c.id == bindparam("of_session"))
    .values(pinned=bindparam("is_pinned", type_=sa.Boolean))
)


def pin(executor: Executor, session_id: int, pinned: bool) -> None:
    """Pin or unpin a session."""
    executor.execute(_PIN, {"of_session": session_id, "is_pinned": pinned})
