"""Push, take and read the values of queues."""

from __future__ import annotations

import functools
import itertools
import json
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from zrb_store.codec import Encoded
from zrb_store.db.core import bindparam, literal_column, returned, sa, value
from zrb_store.db.dialect import among, now, numbered_insert, reserve, schema_is_unchanged
from zrb_store.db.fronts import Front
from zrb_store.db.transaction import Executor, Transaction
from zrb_store.queries.attempts import attempt_may_write
from zrb_store.queries.clock import now_micros
from zrb_store.queries.fronts import not_before_front, parameters
from zrb_store.queries.give_back import lock_queue

_ONE: sa.ColumnClause[Any] = literal_column("1")
_live = sa.and_(value.c.queue_id == bindparam("queue_id"), value.c.ended_at.is_(None))
_by_seq = (value.c.seq.asc(), value.c.seq.desc())


def _from_live(statement: Any) -> Any:
    """Restrict a statement to live values, by their own index: the primary key would lead through all taken values."""
    return statement.where(_live).with_hint(value, "INDEXED BY ix_zrb_value_live", "sqlite")


@functools.cache
def _push(dialect_name: str, owned: bool, left: bool) -> Any:
    columns = {
        "type": bindparam("type", type_=sa.Text),
        "size": bindparam("size", type_=sa.Integer),
        "pushed_at": now(),
        "pushed_by": bindparam("attempt_id", type_=value.c.pushed_by.type),
        "data": bindparam("data", type_=sa.Text),
    }
    conditions = [schema_is_unchanged, attempt_may_write] if owned else [schema_is_unchanged]
    return numbered_insert(dialect_name, columns, conditions, left=left)


def push(executor: Executor, queue_id: int, item: Encoded, attempt_id: int | None, *, left: bool = False) -> int | None:
    """Add one value at the end of a queue, or with `left` at its beginning.

    Returns:
        The value's seq; None if the queue was deleted or the attempt may not write.
    """
    statement = _push(executor.dialect_name, attempt_id is not None, left)
    rows = executor.execute(
        statement,
        {"queue_id": queue_id, "type": item.type, "size": item.size, "data": item.data, "attempt_id": attempt_id},
    )
    return rows[0][0] if rows else None


_INSERTED = ("queue_id", "seq", "type", "size", "pushed_at", "pushed_by", "moved_from", "deliveries", "data")
_INSERT = sa.insert(value).values({name: bindparam(name) for name in _INSERTED})


class NewValue(NamedTuple):
    """A value that is pushed together with others.

    Attributes:
        item: The encoded value.
        moved_from: The seq of the value that it continues, or None.
        deliveries: Those of the value that it continues.
    """

    item: Encoded
    moved_from: int | None = None
    deliveries: int = 0


def push_many(
    transaction: Transaction,
    queue_id: int,
    items: Sequence[NewValue],
    attempt_id: int | None,
    moment: int,
    *,
    left: bool = False,
) -> int:
    """Add values in their order at the end of a queue, or with `left` at its beginning.

    The caller has checked that the attempt may write.

    Args:
        transaction: The open transaction.
        queue_id: The queue.
        items: The values.
        attempt_id: The attempt that pushes them, or None.
        moment: The time of the push, in microseconds.
        left: Add them before all other values.

    Returns:
        The seq of the first value; the following ones have consecutive numbers.
    """
    statement = reserve(transaction.dialect_name, left=left)
    first: int = transaction.execute(statement, {"queue_id": queue_id, "count": len(items)})[0][0]
    transaction.execute_many(
        _INSERT,
        _INSERTED,
        (
            (queue_id, seq, item.type, item.size, moment, attempt_id, moved_from, deliveries, item.data)
            for seq, (item, moved_from, deliveries) in enumerate(items, first)
        ),
    )
    return first


@functools.cache
def _take(owned: bool, right: bool, from_front: bool) -> Any:
    live_value = _from_live(sa.select(value.c.seq)).where(*([not_before_front] if from_front else []))
    place = live_value.order_by(_by_seq[right]).limit(_ONE).with_for_update().scalar_subquery()
    condition = [value.c.queue_id == bindparam("queue_id"), value.c.seq == place]
    return (
        sa.update(value)
        .where(*condition, schema_is_unchanged, *([attempt_may_write] if owned else []))
        .values(
            state=literal_column("'taken'"),
            ended_at=now(),
            taken_by=bindparam("attempt_id", type_=value.c.taken_by.type),
        )
        .returning(value.c.seq, value.c.data)
    )


def take(
    executor: Executor, queue_id: int, attempt_id: int | None, *, right: bool = False, front: Front | None = None
) -> tuple[int, str] | None:
    """Take the oldest live value of a queue, or with `right` the newest.

    Args:
        executor: The database, or the open transaction.
        queue_id: The queue.
        attempt_id: The attempt that takes it, or None.
        right: Take the newest.
        front: Where the live values begin, if that is known.

    Returns:
        Its seq and the encoded value; None if no value is live or the attempt may not write.
    """
    statement = _take(attempt_id is not None, right, front is not None)
    rows = executor.execute(statement, {"queue_id": queue_id, "attempt_id": attempt_id, **parameters(front)})
    return (rows[0][0], rows[0][1]) if rows else None


_OLDEST_LOCKED = (
    _from_live(sa.select(value.c.seq, value.c.data)).order_by(value.c.seq).limit(bindparam("count")).with_for_update()
)


@functools.cache
def _take_these(dialect_name: str) -> Any:
    return (
        sa.update(value)
        .where(value.c.queue_id == bindparam("of_queue"), among(dialect_name, value.c.seq, "seqs"))
        .values(state=literal_column("'taken'"), ended_at=bindparam("moment"), taken_by=bindparam("attempt_id"))
    )


def take_many(transaction: Transaction, queue_id: int, attempt_id: int | None, count: int) -> list[tuple[int, str]]:
    """Take the oldest live values of a queue, at most `count`. The caller has called `open_change`.

    Returns:
        The seq and the encoded value of each, the oldest first.
    """
    rows = transaction.execute(_OLDEST_LOCKED, {"queue_id": queue_id, "count": count})
    if rows:
        moment, seqs = now_micros(transaction), json.dumps([row[0] for row in rows])
        params = {"of_queue": queue_id, "seqs": seqs, "moment": moment, "attempt_id": attempt_id}
        transaction.execute(_take_these(transaction.dialect_name), params)
    return [(row[0], row[1]) for row in rows]


@functools.cache
def _peek(right: bool) -> Any:
    return _from_live(sa.select(value.c.seq, value.c.data)).order_by(_by_seq[right]).limit(_ONE)


def peek(executor: Executor, queue_id: int, *, right: bool = False) -> tuple[int, str] | None:
    """Return the oldest live value, or with `right` the newest, as seq and text; None if no value is live."""
    rows = executor.execute(_peek(right), {"queue_id": queue_id})
    return (rows[0][0], rows[0][1]) if rows else None


@functools.cache
def _at(right: bool) -> Any:
    # The rows before it are skipped in the index alone. With their data, that takes five times as long.
    place = _from_live(sa.select(value.c.seq)).order_by(_by_seq[right]).limit(_ONE).offset(bindparam("place"))
    return sa.select(value.c.seq, value.c.data).where(
        value.c.queue_id == bindparam("queue_id"), value.c.seq == place.scalar_subquery()
    )


def at(executor: Executor, queue_id: int, index: int) -> tuple[int, str] | None:
    """Return the live value at an index, as seq and text. As in a deque, negative indices count from the end."""
    right = index < 0
    rows = executor.execute(_at(right), {"queue_id": queue_id, "place": -index - 1 if right else index})
    return (rows[0][0], rows[0][1]) if rows else None


_COUNT = _from_live(sa.select(sa.func.count()).select_from(value))


def count(executor: Executor, queue_id: int) -> int:
    """Count the live values. Only their index is read."""
    number: int = executor.execute(_COUNT, {"queue_id": queue_id})[0][0]
    return number


class LiveValue(NamedTuple):
    """A value that is in its queue."""

    seq: int
    item: Encoded
    deliveries: int

    def moved(self) -> NewValue:
        """Return the value that continues this one at another place."""
        return NewValue(self.item, self.seq, self.deliveries)


_LIVE = _from_live(sa.select(value.c.seq, value.c.data, value.c.type, value.c.size, value.c.deliveries)).order_by(
    value.c.seq
)
_LIVE_LOCKED = _LIVE.with_for_update()


def live(executor: Executor, queue_id: int, *, lock: bool = False) -> list[LiveValue]:
    """Return all live values, the oldest first. With `lock`, they are locked until the transaction ends."""
    rows = executor.execute(_LIVE_LOCKED if lock else _LIVE, {"queue_id": queue_id})
    return [LiveValue(seq, Encoded(data, kind, size), deliveries) for seq, data, kind, size, deliveries in rows]


_MOMENT = bindparam("moment", type_=sa.BigInteger)
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
"""The condition that a value was in its queue at `:moment`, which follows from its row and its returns."""

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


def iterate(executor: Executor, queue_id: int, page: int = 1000) -> Iterator[tuple[int, str]]:
    """Yield the values that are live when the iteration begins, the oldest first. They are read page by page.

    Yields:
        The seq and the text of each value.
    """
    rows = executor.execute(_FIRST_PAGE, {"queue_id": queue_id, "count": page + 1})
    if len(rows) <= page:
        yield from rows
        return
    # All seqs are read by one statement, so that no value appears twice if it moves to the end meanwhile. The texts can
    # be read later, since they never change.
    stretches = executor.execute(_STRETCHES, {"queue_id": queue_id})
    seqs = itertools.chain.from_iterable(range(first, last + 1) for first, last in stretches)
    while part := list(itertools.islice(seqs, page)):
        yield from executor.execute(_page(executor.dialect_name), {"queue_id": queue_id, "seqs": json.dumps(part)})


_REMOVE = (
    sa.update(value)
    .where(value.c.queue_id == bindparam("of_queue"), value.c.seq == bindparam("of_seq"), value.c.ended_at.is_(None))
    .values(state=literal_column("'removed'"), ended_at=bindparam("moment"), taken_by=bindparam("attempt_id"))
)


def remove(transaction: Transaction, queue_id: int, seqs: Sequence[int], attempt_id: int | None, moment: int) -> None:
    """Remove values from a queue. The caller has locked them, and has checked that the attempt may write."""
    names = ("of_queue", "of_seq", "moment", "attempt_id")
    transaction.execute_many(_REMOVE, names, ((queue_id, seq, moment, attempt_id) for seq in seqs))


_MAY_WRITE = sa.select(_ONE).where(attempt_may_write)


def may_write(transaction: Transaction, attempt_id: int) -> bool:
    """Whether the attempt may write. If it may, that holds until the transaction ends."""
    return bool(transaction.execute(_MAY_WRITE, {"attempt_id": attempt_id}))


def open_change(transaction: Transaction, queue_id: int, attempt_id: int | None) -> bool:
    """Begin a change of several statements on one queue: check the attempt, and lock the queue.

    Returns:
        False if the queue was deleted or the attempt may not write.
    """
    return (attempt_id is None or may_write(transaction, attempt_id)) and lock_queue(transaction, queue_id)
