"""Take the values of queues."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from zrb_store.db.chunks import LONGEST
from zrb_store.db.core import bindparam, literal_column, sa, statement, t
from zrb_store.db.dialect import among, now, schema_is_unchanged, short_text, tick
from zrb_store.db.engine import Database
from zrb_store.db.transaction import Executor, Transaction
from zrb_store.queries import chunks
from zrb_store.queries.attempts import attempt_may_write
from zrb_store.queries.clock import draw, given_moment, given_tick
from zrb_store.queries.fronts import Front, not_before_front, parameters
from zrb_store.queries.values import by_seq, from_live

if TYPE_CHECKING:
    from sqlalchemy.sql.dml import ReturningUpdate


def _fits_chunk() -> sa.ColumnElement[bool]:
    return t.value.c.size <= literal_column(str(LONGEST))


@statement
def _take(owned: bool, right: bool, from_front: bool, only_if_it_fits: bool) -> ReturningUpdate[int, str]:
    live_value = from_live(sa.select(t.value.c.seq)).where(*([not_before_front()] if from_front else []))
    place = live_value.order_by(by_seq(right)).limit(literal_column("1")).with_for_update().scalar_subquery()
    condition = [t.value.c.queue_id == bindparam("queue_id"), t.value.c.seq == place]
    return (
        sa.update(t.value)
        .where(*condition, *([_fits_chunk()] if only_if_it_fits else []))
        .where(schema_is_unchanged(), *([attempt_may_write()] if owned else []))
        .values(
            state=literal_column("'taken'"),
            ended_at=now(),
            ended_tick=tick(),
            taken_by=bindparam("attempt_id", type_=t.value.c.taken_by.type),
        )
        .returning(t.value.c.seq, short_text())
    )


def take(
    executor: Executor, queue_id: int, attempt_id: int | None, *, right: bool = False, front: Front | None = None
) -> tuple[int, str] | None:
    """Take the oldest live value of a queue, or with `right` the newest, by one statement.

    Args:
        executor: The database, where the statement is a transaction of its own.
        queue_id: The queue.
        attempt_id: The attempt that takes it, or None.
        right: Take the newest.
        front: Where the live values begin, if that is known.

    Returns:
        Its seq and the encoded value; None if no value is live, the attempt may not write, or the value is so large
        that only `take_large` takes it.
    """
    statement = _take(attempt_id is not None, right, front is not None, True)
    params = {"queue_id": queue_id, "attempt_id": attempt_id, **parameters(front)}
    return chunks.first_whole(executor, queue_id, executor.execute(statement, params))


def take_whole(
    transaction: Transaction, queue_id: int, attempt_id: int | None, *, right: bool = False
) -> tuple[int, str] | None:
    """Take the oldest live value of a queue, or with `right` the newest, however long it is.

    Returns:
        Its seq and the encoded value; None if no value is live or the attempt may not write.
    """
    statement = _take(attempt_id is not None, right, False, False)
    rows = transaction.execute(statement, {"queue_id": queue_id, "attempt_id": attempt_id})
    return chunks.first_whole(transaction, queue_id, rows)


@statement
def _fits_next(right: bool) -> sa.Select[bool]:
    return from_live(sa.select(_fits_chunk())).order_by(by_seq(right)).limit(literal_column("1"))


def take_large(
    database: Database, queue_id: int, attempt_id: int | None, *, right: bool = False
) -> tuple[int, str] | None:
    """Take a value that is larger than one chunk, in the transaction in which it is read, so that it cannot get lost.

    Returns:
        Its seq and the encoded value; None if it is not so large, no value is live, or the attempt may not write.
    """
    if all(fits for (fits,) in database.execute(_fits_next(right), {"queue_id": queue_id})):
        return None
    return database.transact(lambda transaction: take_whole(transaction, queue_id, attempt_id, right=right))


def taken_at_once() -> dict[str, sa.ColumnElement[Any]]:
    """Return what changes in values that are taken together, at one moment."""
    return {
        "state": literal_column("'taken'"),
        "ended_at": given_moment(),
        "ended_tick": given_tick(),
        "taken_by": bindparam("attempt_id", type_=t.value.c.taken_by.type),
    }


@statement
def _oldest_locked() -> sa.Select[int, str]:
    return (
        from_live(sa.select(t.value.c.seq, short_text()))
        .order_by(t.value.c.seq)
        .limit(bindparam("count"))
        .with_for_update()
    )


@statement
def _take_these(dialect_name: str) -> sa.Update:
    return (
        sa.update(t.value)
        .where(t.value.c.queue_id == bindparam("of_queue"), among(dialect_name, t.value.c.seq, "seqs"))
        .values(taken_at_once())
    )


def take_many(transaction: Transaction, queue_id: int, attempt_id: int | None, count: int) -> list[tuple[int, str]]:
    """Take the oldest live values of a queue, at most `count`. The caller has called `open_change`.

    Returns:
        The seq and the encoded value of each, the oldest first.
    """
    rows = transaction.execute(_oldest_locked(), {"queue_id": queue_id, "count": count})
    if rows:
        seqs = json.dumps([row[0] for row in rows])
        params = {"of_queue": queue_id, "seqs": seqs, "attempt_id": attempt_id, **draw(transaction).params}
        transaction.execute(_take_these(transaction.dialect_name), params)
    return list(chunks.whole_rows(transaction, queue_id, rows))
