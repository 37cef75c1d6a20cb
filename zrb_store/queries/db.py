"""What `db` reads: how many rows a store has, and who runs its sessions."""

from __future__ import annotations

from typing import NamedTuple

from zrb_store.db.core import attempt, queue, run, sa, session, value
from zrb_store.db.dialect import now
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


class Holder(NamedTuple):
    """A run that holds the lease of its session, and its process."""

    session: str
    host: str
    boot_id: str | None
    pid_namespace: str | None
    pid: int
    process_started: str | None


# This reads an older store, so it may use only columns of the first revision.
_HOLDERS = (
    sa.select(session.c.name, *(run.c[name] for name in Holder._fields[1:]))
    .select_from(run.join(session, session.c.id == run.c.session_id))
    .where(run.c.ended_at.is_(None), run.c.lease_expires_at > now())
    .order_by(run.c.id)
)


def holders(executor: Executor) -> list[Holder]:
    """Return the runs whose lease has not expired, in a store of any revision."""
    return [Holder(*row) for row in executor.execute(_HOLDERS)]
