"""What `pin` and `unpin` write."""

from __future__ import annotations

from zrb_store.db.core import bindparam, sa, statement, t
from zrb_store.db.transaction import Executor


@statement
def _pin() -> sa.Update:
    return (
        sa.update(t.session)
        .where(t.session.c.id == bindparam("of_session"))
        .values(pinned=bindparam("is_pinned", type_=sa.Boolean))
    )


def pin(executor: Executor, session_id: int, pinned: bool) -> None:
    """Pin or unpin a session."""
    executor.execute(_pin(), {"of_session": session_id, "is_pinned": pinned})
