"""Values of a queue: push, take, look, and the whole rows for history."""

from __future__ import annotations

import functools
import itertools
import json
from collections.abc import Iterator, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy import bindparam, literal_column

from zrb_store.codec import Encoded
from zrb_store.db.dialect import among, insert_if_absent, now, numbered_insert, reserve, schema_holds
from zrb_store.db.tables import queue, returned, session, value
from zrb_store.db.transaction import Executor, Transaction
from zrb_store.queries.attempts import holds
from zrb_store.queries.give_back import lock_queue

_ONE: sa.ColumnClause[Any] = literal_column("1")
_live = sa.and_(value.c.queue_id == bindparam("queue_id"), value.c.ended_at.is_(None))
_by_seq = (value.c.seq.asc(), value.c.seq.desc())


def _from_live(statement: Any) -> Any:
    """Find live values through their own index: the primary key would lead through all that was ever taken."""
    return statement.where(_live).with_hint(value, "INDEXED BY ix_zrb_value_live", "sqlite")


_QUEUE_ID = (
    sa.select(queue.c.id)
    .select_from(queue.join(session, session.c.id == queue.c.session_id))
    .where(session.c.name == bindparam("session"), queue.c.name == bindparam("queue"))
)


def queue_id(executor: Executor, session_name: str, queue_name: str) -> int | None:
    """The id of a queue, or None while nothing was ever pushed to it."""
    rows = executor.execute(_QUEUE_ID, {"session": session_name, "queue": queue_name})
    return rows[0][0] if rows else None


def make_queue(executor: Executor, session_name: str, queue_name: str) -> int | None:
    """The id of a queue, which is made if it is not there; None if the session is not there."""
    params = {"session": session_name, "queue": queue_name}
    rows = executor.execute(_make_queue(executor.dialect_name), params)
    return rows[0][0] if rows else queue_id(executor, session_name, queue_name)


@functools.cache
def _make_queue(dialect_name: str) -> Any:
    of_session = sa.select(session.c.id, bindparam("queue", type_=sa.Text)).where(
        session.c.name == bindparam("session")
    )
    insert = insert_if_absent(dialect_name, queue).from_select(["session_id", "name"], of_session)
    return insert.returning(queue.c.id)


_QUEUES = (
    sa.select(queue.c.name, queue.c.id)
    .select_from(queue.join(session, session.c.id == queue.c.session_id))
    .where(session.c.name == bindparam("session"))
    .order_by(queue.c.id)
)


def queues(executor: Executor, session_name: str) -> dict[str, int]:
    """Every queue of a session by name, in the order of their first push."""
    return {row[0]: row[1] for row in executor.execute(_QUEUES, {"session": session_name})}


@functools.cache
def _push(dialect_name: str, owned: bool, left: bool) -> Any:
    columns = {
        "type": bindparam("type", type_=sa.Text),
        "size": bindparam("size", type_=sa.Integer),
        "pushed_at": now(),
        "pushed_by": bindparam("attempt_id", type_=value.c.pushed_by.type),
        "data": bindparam("data", type_=sa.Text),
    }
    return numbered_insert(dialect_name, columns, [schema_holds, holds] if owned else [schema_holds], left=left)


def push(executor: Executor, of: int, item: Encoded, attempt_id: int | None, *, left: bool = False) -> int | None:
    """Add one value at the end (or the beginning) of queue `of`.

    Returns:
        Its seq; None if the queue is gone or the attempt may not write.
    """
    statement = _push(executor.dialect_name, attempt_id is not None, left)
    rows = executor.execute(
        statement,
        {"queue_id": of, "type": item.type, "size": len(item.data), "data": item.data, "attempt_id": attempt_id},
    )
    return rows[0][0] if rows else None


_INSERTED = ("queue_id", "seq", "type", "size", "pushed_at", "pushed_by", "moved_from", "data")
_INSERT = sa.insert(value).values({name: bindparam(name) for name in _INSERTED})


def push_many(
    transaction: Transaction,
    of: int,
    items: Sequence[tuple[Encoded, int | None]],
    attempt_id: int | None,
    moment: int,
    *,
    left: bool = False,
) -> int:
    """Add values in the order given, the first at the lowest seq, with the seq each was moved from or None.

    Returns:
        The first one's seq. The caller has checked that the attempt may write.
    """
    statement = reserve(transaction.dialect_name, left=left)
    first: int = transaction.execute(statement, {"queue_id": of, "count": len(items)})[0][0]
    transaction.execute_many(
        _INSERT,
        _INSERTED,
        (
            (of, seq, item.type, len(item.data), moment, attempt_id, moved_from, item.data)
            for seq, (item, moved_from) in enumerate(items, first)
        ),
    )
    return first


@functools.cache
def _take(owned: bool, right: bool) -> Any:
    place = _from_live(sa.select(value.c.seq)).order_by(_by_seq[right]).limit(_ONE).with_for_update().scalar_subquery()
    condition = [value.c.queue_id == bindparam("queue_id"), value.c.seq == place]
    return (
        sa.update(value)
        .where(*condition, schema_holds, *([holds] if owned else []))
        .values(
            state=literal_column("'taken'"),
            ended_at=now(),
            taken_by=bindparam("attempt_id", type_=value.c.taken_by.type),
        )
        .returning(value.c.seq, value.c.data)
    )


def take(executor: Executor, of: int, attempt_id: int | None, *, right: bool = False) -> tuple[int, str] | None:
    """Take the oldest (or the newest) live value: its seq and encoded value; None if there is none or it may not."""
    rows = executor.execute(_take(attempt_id is not None, right), {"queue_id": of, "attempt_id": attempt_id})
    return (rows[0][0], rows[0][1]) if rows else None


@functools.cache
def _peek(right: bool) -> Any:
    return _from_live(sa.select(value.c.seq, value.c.data)).order_by(_by_seq[right]).limit(_ONE)


def peek(executor: Executor, of: int, *, right: bool = False) -> tuple[int, str] | None:
    """Look at the oldest (or the newest) live value."""
    rows = executor.execute(_peek(right), {"queue_id": of})
    return (rows[0][0], rows[0][1]) if rows else None


@functools.cache
def _at(right: bool) -> Any:
    return (
        _from_live(sa.select(value.c.seq, value.c.data)).order_by(_by_seq[right]).limit(_ONE).offset(bindparam("place"))
    )


def at(executor: Executor, of: int, index: int) -> tuple[int, str] | None:
    """The live value at a deque index, negative ones from the end."""
    right = index < 0
    rows = executor.execute(_at(right), {"queue_id": of, "place": -index - 1 if right else index})
    return (rows[0][0], rows[0][1]) if rows else None


_COUNT = _from_live(sa.select(sa.func.count()).select_from(value))


def count(executor: Executor, of: int) -> int:
    """How many values are live; read from the index alone."""
    number: int = executor.execute(_COUNT, {"queue_id": of})[0][0]
    return number


_LIVE = _from_live(sa.select(value.c.seq, value.c.data, value.c.type)).order_by(value.c.seq)
_LIVE_LOCKED = _LIVE.with_for_update()


def live(executor: Executor, of: int, *, lock: bool = False) -> list[tuple[int, Encoded]]:
    """Every live value, oldest first; `lock` keeps them from other takers until the transaction ends."""
    rows = executor.execute(_LIVE_LOCKED if lock else _LIVE, {"queue_id": of})
    return [(row[0], Encoded(row[1], row[2])) for row in rows]


_MOMENT = bindparam("moment", type_=sa.BigInteger)
# Whether a value was in its queue at a moment, from its row and its returns alone.
was_live = sa.and_(
    value.c.pushed_at <= _MOMENT,
    sa.or_(value.c.ended_at.is_(None), value.c.ended_at > _MOMENT),
    ~sa.exists(
        sa.select(_ONE).where(
            returned.c.queue_id == value.c.queue_id,
            returned.c.seq == value.c.seq,
            returned.c.taken_at <= _MOMENT,
            returned.c.returned_at > _MOMENT,
        )
    ),
)
_FIRST_PAGE = _from_live(sa.select(value.c.seq, value.c.data)).order_by(value.c.seq).limit(bindparam("count"))
_PLACES = _from_live(
    sa.select(value.c.seq, (value.c.seq - sa.func.row_number().over(order_by=value.c.seq)).label("distance"))
).subquery()
_STRETCHES = (
    sa.select(sa.func.min(_PLACES.c.seq), sa.func.max(_PLACES.c.seq))
    .group_by(_PLACES.c.distance)
    .order_by(sa.func.min(_PLACES.c.seq))
)


@functools.cache
def _page(dialect_name: str) -> Any:
    return (
        sa.select(value.c.seq, value.c.data)
        .where(value.c.queue_id == bindparam("queue_id"), among(dialect_name, value.c.seq, "seqs"))
        .order_by(value.c.seq)
    )


def iterate(executor: Executor, of: int, page: int = 1000) -> Iterator[tuple[int, str]]:
    """The values that are live when the iteration begins, oldest first, page by page so that memory stays flat."""
    rows = executor.execute(_FIRST_PAGE, {"queue_id": of, "count": page + 1})
    if len(rows) <= page:
        yield from rows
        return
    # By one statement, so that what moves to the end meanwhile is not met twice. Values themselves never change.
    stretches = executor.execute(_STRETCHES, {"queue_id": of})
    seqs = itertools.chain.from_iterable(range(first, last + 1) for first, last in stretches)
    while part := list(itertools.islice(seqs, page)):
        yield from executor.execute(_page(executor.dialect_name), {"queue_id": of, "seqs": json.dumps(part)})


_REMOVE = (
    sa.update(value)
    .where(value.c.queue_id == bindparam("of"), value.c.seq == bindparam("at_seq"), value.c.ended_at.is_(None))
    .values(state=literal_column("'removed'"), ended_at=bindparam("at"), taken_by=bindparam("by"))
)


def remove(transaction: Transaction, of: int, seqs: Sequence[int], attempt_id: int | None, moment: int) -> None:
    """Take values out of the queue for good: cleared, dropped or replaced. The caller has locked and checked them."""
    transaction.execute_many(_REMOVE, ("of", "at_seq", "at", "by"), ((of, seq, moment, attempt_id) for seq in seqs))


_MAY_WRITE = sa.select(_ONE).where(holds)
_NOW = sa.select(now())


def may_write(transaction: Transaction, attempt_id: int) -> bool:
    """Whether the attempt may write, from now until the transaction ends."""
    return bool(transaction.execute(_MAY_WRITE, {"attempt_id": attempt_id}))


def open_change(transaction: Transaction, of: int, attempt_id: int | None) -> bool:
    """Begin a change of several statements on one queue: check the fence and lock it.

    Returns:
        False if the queue is gone or the attempt may not write.
    """
    return (attempt_id is None or may_write(transaction, attempt_id)) and lock_queue(transaction, of)


def moment(executor: Executor) -> int:
    """The database's clock in microseconds since 1970."""
    micros: int = executor.execute(_NOW)[0][0]
    return micros
