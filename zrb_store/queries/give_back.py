"""Giving attempts back: undoing what they did to queues."""

from __future__ import annotations

from collections.abc import Iterable

import sqlalchemy as sa
from sqlalchemy import bindparam, literal_column

from zrb_store.db.dialect import now
from zrb_store.db.tables import attempt, queue, returned, value
from zrb_store.db.transaction import Executor
from zrb_store.queries.attempts import unfinished

_MOMENT = bindparam("at", type_=sa.BigInteger)
_CLOSE = (
    sa.update(attempt)
    .where(attempt.c.id == bindparam("of"))
    .values(
        given_back_at=_MOMENT,
        ended_at=sa.func.coalesce(attempt.c.ended_at, _MOMENT),
        status=sa.case(
            (attempt.c.status == literal_column("'running'"), literal_column("'lost'")), else_=attempt.c.status
        ),
    )
)
_RECORD_RETURNS = sa.insert(returned).from_select(
    ["queue_id", "seq", "taken_by", "taken_at", "returned_at", "reason"],
    sa.select(
        value.c.queue_id,
        value.c.seq,
        value.c.taken_by,
        value.c.ended_at,
        _MOMENT,
        bindparam("reason", type_=sa.Text),
    ).where(value.c.taken_by == bindparam("of")),
)
# One statement for the live and the taken ones: PostgreSQL waits for whoever is taking or returning such a value right
# now, and then decides by what became of it.
_DISOWN = (
    sa.update(value)
    .where(value.c.pushed_by == bindparam("of"), value.c.state != literal_column("'retracted'"))
    .values(
        state=sa.case((value.c.ended_at.is_(None), literal_column("'retracted'")), else_=value.c.state),
        ended_at=sa.func.coalesce(value.c.ended_at, _MOMENT),
        orphaned=value.c.ended_at.is_not(None),
    )
)
_GIVE_BACK = (
    sa.update(value)
    .where(value.c.taken_by == bindparam("of"))
    .values(
        state=sa.case((value.c.orphaned, literal_column("'retracted'")), else_=literal_column("'live'")),
        ended_at=sa.case((value.c.orphaned, _MOMENT), else_=sa.null()),
        taken_by=None,
        orphaned=sa.false(),
    )
)


_QUEUES = sa.union(
    sa.select(value.c.queue_id).where(value.c.taken_by == bindparam("of")),
    sa.select(value.c.queue_id).where(value.c.pushed_by == bindparam("of")),
)
_LOCK_QUEUE = sa.select(queue.c.id).where(queue.c.id == bindparam("queue_id")).with_for_update(key_share=True)
_NOW = sa.select(now())


def lock_queue(executor: Executor, queue_id: int) -> bool:
    """Keep other changes of several statements off a queue until the transaction ends. False: it is gone.

    Whoever locks more locks in this order: sessions, attempts, queues by their ids, values.
    """
    return bool(executor.execute(_LOCK_QUEUE, {"queue_id": queue_id}))


def give_back(executor: Executor, chosen: Iterable[tuple[int, str]]) -> None:
    """Undo what attempts did to any queue of the store (design.md promise 1). Runs inside a transaction.

    What one pushed and nobody took is retracted; what another holds is marked orphaned. What it took is live again
    at its old place, or retracted if its own pusher has been given back. An attempt still `running` becomes `lost`.

    Args:
        executor: The open transaction.
        chosen: Ids of attempts that write no more, in the order in which to undo them, each with the reason that is
            kept with each value it returns.
    """
    chosen = list(chosen)
    if executor.dialect_name != "sqlite":  # which has one writer at a time
        touched = {row[0] for attempt_id, _ in chosen for row in executor.execute(_QUEUES, {"of": attempt_id})}
        for queue_id in sorted(touched):
            lock_queue(executor, queue_id)
    # Read only now, with all locks taken: no value ends before it was pushed, or was taken by another.
    moment: int = executor.execute(_NOW)[0][0] if chosen else 0
    for attempt_id, reason in chosen:
        of = {"of": attempt_id, "at": moment}
        executor.execute(_CLOSE, of)
        executor.execute(_RECORD_RETURNS, {**of, "reason": reason})
        executor.execute(_DISOWN, of)
        executor.execute(_GIVE_BACK, of)


def give_back_unfinished(executor: Executor, session_id: int, task: str | None = None) -> None:
    """Give back every attempt that did not complete, newest first. Runs inside a transaction."""
    # Their late writers are waited for, and then find the attempt closed.
    left = unfinished(executor, session_id, task, lock=True)
    give_back(executor, [(one.id, "lost" if one.status == "running" else one.status) for one in left])
