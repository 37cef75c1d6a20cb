"""Push and read the values of queues."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple, TypeVarTuple

from zrb_store.codec import Encoded
from zrb_store.db.core import Params, bindparam, exists, literal, sa, statement, t
from zrb_store.db.dialect import among, now, numbered_insert, reserve, schema_is_unchanged, short_text, tick
from zrb_store.db.transaction import Executor, Transaction, first_column
from zrb_store.queries import chunks
from zrb_store.queries.attempts import attempt_may_write, may_write
from zrb_store.queries.clock import Moment, by_then, later, now_given
from zrb_store.queries.pushers import (
    Alive,
    PusherInDoubtError,
    all_pushers_are_alive,
    pusher_is_alive,
)

if TYPE_CHECKING:
    from zrb_store.db.core import Runnable

Ts = TypeVarTuple("Ts")


def by_seq(right: bool) -> sa.ColumnElement[int]:
    """Return the order of values in which the oldest comes first, or with `right` the newest."""
    return t.value.c.seq.desc() if right else t.value.c.seq.asc()


def is_same_value(one: sa.FromClause, other: sa.FromClause) -> sa.ColumnElement[bool]:
    """Return the condition that a row is of the same value as that of another table."""
    return sa.and_(one.c.queue_id == other.c.queue_id, one.c.seq == other.c.seq)


def of_seqs(dialect_name: str) -> tuple[sa.ColumnElement[bool], ...]:
    """Return the condition that a value is one of the `:seqs` in the queue `:of_queue`."""
    return t.value.c.queue_id == bindparam("of_queue"), among(dialect_name, t.value.c.seq, "seqs")


def from_queue(statement: sa.Select[*Ts]) -> sa.Select[*Ts]:
    """Restrict a statement to live and delayed values, by their own index: the primary key leads through all taken."""
    found = statement.where(t.value.c.queue_id == bindparam("queue_id"), t.value.c.ended_at.is_(None))
    return found.with_hint(t.value, "INDEXED BY ix_zrb_value_live", "sqlite")


def from_live(statement: sa.Select[*Ts]) -> sa.Select[*Ts]:
    """Restrict a statement to live values: those that are in the queue and not delayed."""
    return from_queue(statement).where(is_due())


def is_due(of: sa.FromClause | None = None) -> sa.ColumnElement[bool]:
    """Return the condition that a value is not delayed now. Nobody has to do anything when it becomes due."""
    due_at = (t.value if of is None else of).c.due_at
    # A subquery, since SQLite would read the clock again for each delayed value.
    return sa.or_(due_at.is_(None), due_at <= sa.select(now()).scalar_subquery())


def is_dead() -> sa.ColumnElement[bool]:
    """Return the condition that a value is dead, in the form that lets SQLite use the index of dead values."""
    return t.value.c.state == literal("dead")


def is_delayed() -> sa.ColumnElement[bool]:
    """Return the condition that a value is delayed now, in the form that lets SQLite use the index of such values."""
    return sa.and_(
        t.value.c.ended_at.is_(None),
        t.value.c.due_at.is_not(None),
        t.value.c.due_at > sa.select(now()).scalar_subquery(),
    )


def is_held() -> sa.ColumnElement[bool]:
    """Return the condition that a running attempt, or one whose process died, has taken a value."""
    holder = t.attempt.alias("holder")
    running = sa.select(holder.c.id).where(holder.c.status == literal("running"))
    running = running.with_hint(holder, "INDEXED BY ix_zrb_attempt_running", "sqlite")
    return sa.and_(t.value.c.state == literal("taken"), t.value.c.taken_by.in_(running))


@statement
def _push(
    dialect_name: str, owned: bool, left: bool, delayed: bool, traced: bool
) -> sa.sql.dml.ReturningInsert[int, int]:
    columns = {
        "type": bindparam("type", type_=sa.Text),
        "size": bindparam("size", type_=sa.Integer),
        "pushed_at": now(),
        "pushed_tick": tick(),
        "pushed_by": bindparam("attempt_id", type_=t.value.c.pushed_by.type),
        "data": bindparam("data", type_=sa.Text),
    }
    if traced:
        columns["traceparent"] = bindparam("traceparent", type_=sa.Text)
    if delayed:
        columns["due_at"] = now() + bindparam("delay", type_=sa.BigInteger)
    conditions = [schema_is_unchanged(), attempt_may_write()] if owned else [schema_is_unchanged()]
    return numbered_insert(dialect_name, columns, conditions, left=left)


class PushedValue(NamedTuple):
    """The seq of a value that was pushed, and the time of its push in microseconds."""

    seq: int
    at: int


def push(
    executor: Executor,
    queue_id: int,
    item: Encoded,
    attempt_id: int | None,
    *,
    left: bool = False,
    delay: int = 0,
    traceparent: str | None = None,
) -> PushedValue | None:
    """Add one value, delayed by microseconds, to a queue; None if that was deleted or the attempt may not write.

    `traceparent` names the span that it is pushed in, if there is one.
    """
    statement = _push(executor.dialect_name, attempt_id is not None, left, delay > 0, traceparent is not None)
    row = {"queue_id": queue_id, "type": item.type, "size": item.size, "data": item.data, "attempt_id": attempt_id}
    if delay:
        row["delay"] = delay
    if traceparent is not None:
        row["traceparent"] = traceparent
    if item.size < chunks.LONG_FROM[executor.dialect_name]:
        return next(map(PushedValue._make, executor.execute(statement, row)), None)

    def work(transaction: Transaction) -> PushedValue | None:
        rows = transaction.execute(statement, {**row, "data": ""})
        for seq, _ in rows:
            chunks.add(transaction, queue_id, seq, item.data)
        return PushedValue(*rows[0]) if rows else None

    return executor.transact(work)


_INSERTED = (
    *("queue_id", "seq", "type", "size", "data", "moved_from", "failed_deliveries", "plain"),
    *("traceparent", "pushed_by", "pushed_at", "pushed_tick"),
)


@statement
def _insert() -> sa.Insert:
    return sa.insert(t.value).values({name: bindparam(name) for name in _INSERTED})


class NewValue(NamedTuple):
    """A value that is pushed together with others."""

    item: Encoded  # the encoded value
    moved_from: int | None = None  # the seq of the value that it continues, or None
    failed_deliveries: int = 0  # those of the value that it continues
    plain: bool = False  # whether a program assigned it in place of the queue, as in `ctx.xcom["mode"] = "dry-run"`


def push_many(
    transaction: Transaction,
    queue_id: int,
    items: Sequence[NewValue],
    attempt_id: int | None,
    moment: Moment,
    *,
    left: bool = False,
    traceparent: str | None = None,
) -> int:
    """Add values in their order, and return the seq of the first. The caller has checked that the attempt may write."""
    statement = reserve(transaction.dialect_name, left=left)
    first: int = transaction.execute(statement, {"queue_id": queue_id, "count": len(items)})[0][0]
    least, by = chunks.LONG_FROM[transaction.dialect_name], (traceparent, attempt_id)
    rows = (
        (queue_id, seq, item.type, item.size, item.data if item.size < least else "", *rest, *by, *moment)
        for seq, (item, *rest) in enumerate(items, first)
    )
    transaction.execute_many(_insert(), _INSERTED, rows)
    for seq, (item, *_) in enumerate(items, first):
        if item.size >= least:
            chunks.add(transaction, queue_id, seq, item.data)
    return first


@statement
def _traceparents(dialect_name: str) -> sa.Select[str | None]:
    return sa.select(t.value.c.traceparent).where(*of_seqs(dialect_name)).distinct()


def traceparents(executor: Executor, queue_id: int, seqs: Sequence[int]) -> list[str | None]:
    """Return the spans that values were pushed in."""
    params = {"of_queue": queue_id, "seqs": json.dumps(list(seqs))}
    return list(map(first_column, executor.execute(_traceparents(executor.dialect_name), params)))


# What follows raises PusherInDoubtError if a pusher may have died. In the rows, the text is NULL then.


def _text_if(condition: sa.ColumnElement[bool]) -> sa.ColumnElement[str | None]:
    return sa.case((condition, short_text()))


def _sure(rows: Sequence[tuple[int, str]]) -> Sequence[tuple[int, str]]:
    if rows and rows[0][1] is None:
        raise PusherInDoubtError
    return rows


@statement
def _peek(dialect_name: str, right: bool) -> sa.Select[int, str]:
    found = sa.select(t.value.c.seq, _text_if(pusher_is_alive(dialect_name)))
    return from_live(found).order_by(by_seq(right)).limit(literal(1))


def peek(executor: Executor, queue_id: int, alive: Alive) -> tuple[int, str] | None:
    """Return the oldest live value as seq and text; None if no value is live."""
    return _first(executor, _peek(executor.dialect_name, False), {"queue_id": queue_id, **alive})


def peek_newest(executor: Executor, queue_id: int, alive: Alive) -> tuple[int, str] | None:
    """Return the newest live value as seq and text; None if no value is live."""
    return _first(executor, _peek(executor.dialect_name, True), {"queue_id": queue_id, **alive})


def _first(executor: Executor, statement: Runnable, params: Params) -> tuple[int, str] | None:
    while rows := _sure(executor.execute(statement, params)):
        if found := chunks.first_whole(executor, params["queue_id"], rows):
            return found
    return None


@statement
def _at(dialect_name: str, right: bool) -> sa.Select[int, str]:
    # The rows before it are skipped in the index alone. With their data, that takes five times as long.
    place = from_live(sa.select(t.value.c.seq)).order_by(by_seq(right)).limit(literal(1)).offset(bindparam("place"))
    return sa.select(t.value.c.seq, _text_if(all_pushers_are_alive(dialect_name))).where(
        t.value.c.queue_id == bindparam("queue_id"), t.value.c.seq == place.scalar_subquery()
    )


def at(index: int, executor: Executor, queue_id: int, alive: Alive) -> tuple[int, str] | None:
    """Return the live value at an index, as seq and text. As in a deque, negative indices count from the end."""
    right = index < 0
    params = {"queue_id": queue_id, "place": -index - 1 if right else index, **alive}
    return _first(executor, _at(executor.dialect_name, right), params)


@statement
def _plain() -> sa.Select[int, str, bool]:
    return (
        from_live(sa.select(t.value.c.seq, short_text(), t.value.c.plain))
        .order_by(t.value.c.seq.desc())
        .limit(literal(1))
    )


def plain(executor: Executor, queue_id: int) -> tuple[int, str] | None:
    """Return the plain value that was assigned in place of a queue, as seq and text; None if it is a queue."""
    while rows := executor.execute(_plain(), {"queue_id": queue_id}):
        if not rows[0][2]:
            return None
        if found := chunks.first_whole(executor, queue_id, [row[:2] for row in rows]):
            return found
    return None


@statement
def _plain_names() -> sa.Select[str]:
    newest = t.value.alias("newest")
    newest_seq = sa.select(sa.func.max(newest.c.seq)).where(newest.c.queue_id == t.queue.c.id)
    return (
        sa.select(t.queue.c.name)
        .select_from(t.queue.join(t.value, t.value.c.queue_id == t.queue.c.id))
        .where(
            t.queue.c.session_id == bindparam("session_id"),
            t.value.c.plain,
            sa.or_(
                t.value.c.seq == newest_seq.correlate(t.queue).scalar_subquery(),
                t.value.c.seq == newest_seq.where(newest.c.ended_at.is_(None)).correlate(t.queue).scalar_subquery(),
            ),
        )
    )


def plain_names(executor: Executor, session_id: int) -> set[str]:
    """Return the names of a session's queues that keep plain values, or that kept one last."""
    return set(map(first_column, executor.execute(_plain_names(), {"session_id": session_id})))


@statement
def _count(dialect_name: str) -> sa.Select[int | None]:
    # Both from indexes. A condition on each value would take half as long again.
    every = from_queue(sa.select(sa.func.count()).select_from(t.value))
    delayed = sa.select(sa.func.count()).where(t.value.c.queue_id == bindparam("queue_id"), is_delayed())
    delayed = delayed.with_hint(t.value, "INDEXED BY ix_zrb_value_delayed", "sqlite")
    live = every.scalar_subquery() - delayed.scalar_subquery()
    return sa.select(sa.case((all_pushers_are_alive(dialect_name), live)))


def count(executor: Executor, queue_id: int, alive: Alive) -> int | None:
    """Count the live values; None if there is none. Only their index is read."""
    ((found,),) = executor.execute(_count(executor.dialect_name), {"queue_id": queue_id, **alive})
    if found is None:
        raise PusherInDoubtError
    return int(found) or None


@statement
def _next_due() -> sa.Select[int | None]:
    found = sa.select(sa.func.min(t.value.c.due_at)).where(t.value.c.queue_id == bindparam("queue_id"), is_delayed())
    return found.with_hint(t.value, "INDEXED BY ix_zrb_value_delayed", "sqlite")


def next_due(executor: Executor, queue_id: int) -> int | None:
    """Return when the next delayed value of a queue is due; None if none is delayed."""
    due_at: int | None = executor.execute(_next_due(), {"queue_id": queue_id})[0][0]
    return due_at


@statement
def _in_queue() -> sa.Select[int]:
    return from_queue(sa.select(t.value.c.seq))


def seqs_in_queue(executor: Executor, queue_id: int) -> list[int]:
    """Return the seqs of the live and delayed values."""
    return list(map(first_column, executor.execute(_in_queue(), {"queue_id": queue_id})))


class LiveValue(NamedTuple):
    """A value that is in its queue."""

    seq: int
    item: Encoded
    failed_deliveries: int

    def moved(self) -> NewValue:
        """Return the value that continues this one at another place."""
        return NewValue(self.item, self.seq, self.failed_deliveries)


@statement
def _live() -> sa.Select[int, str, str, int, int]:
    columns = (t.value.c.seq, short_text(), t.value.c.type, t.value.c.size, t.value.c.failed_deliveries)
    return from_live(sa.select(*columns)).order_by(t.value.c.seq).with_for_update()


def lock_live(executor: Executor, queue_id: int) -> list[LiveValue]:
    """Lock all live values until the transaction ends, and return them, the oldest first."""
    return [
        LiveValue(seq, Encoded(chunks.whole(executor, queue_id, seq, text) or "", kind, size), failed_deliveries)
        for seq, text, kind, size, failed_deliveries in executor.execute(_live(), {"queue_id": queue_id})
    ]


def was_live() -> sa.ColumnElement[bool]:
    """Return the condition that a value was in its queue at a moment, which follows from its row and its returns."""
    return sa.and_(
        by_then(t.value, "pushed"),
        sa.or_(t.value.c.ended_at.is_(None), later(t.value, "ended")),
        ~exists(is_same_value(t.returned, t.value), by_then(t.returned, "taken"), later(t.returned, "returned")),
        sa.func.coalesce(due_then(), literal(0)) <= bindparam("time", type_=sa.BigInteger),
    )


def due_then() -> sa.ColumnElement[int | None]:
    """Return until when a value was delayed at a moment: its next take tells it, or its row if there was none."""
    take = t.returned.alias("next_take")
    is_of_value = (is_same_value(take, t.value), later(take, "taken"))
    due_at = sa.select(take.c.due_at).where(*is_of_value).order_by(take.c.id).limit(literal(1)).scalar_subquery()
    return sa.case((exists(*is_of_value), due_at), else_=t.value.c.due_at)


@statement
def _oldest(dialect_name: str, lock: bool) -> sa.Select[int, str]:
    found = from_live(sa.select(t.value.c.seq, _text_if(all_pushers_are_alive(dialect_name))))
    found = found.order_by(t.value.c.seq).limit(bindparam("count"))
    return found.with_for_update(of=t.value) if lock else found


def oldest(
    executor: Executor, queue_id: int, count: int, alive: Alive, *, lock: bool = False
) -> Sequence[tuple[int, str]]:
    """Return seq and text of the oldest live values of a queue, `count` at most."""
    params = {"queue_id": queue_id, "count": count, **alive}
    return _sure(executor.execute(_oldest(executor.dialect_name, lock), params))


@statement
def _stretches() -> sa.Select[int | None, int | None]:
    places = from_live(
        sa.select(t.value.c.seq, (t.value.c.seq - sa.func.row_number().over(order_by=t.value.c.seq)).label("distance"))
    ).subquery()
    return (
        sa.select(sa.func.min(places.c.seq), sa.func.max(places.c.seq))
        .group_by(places.c.distance)
        .order_by(sa.func.min(places.c.seq))
    )


@statement
def _page(dialect_name: str) -> sa.Select[int, str]:
    return (
        sa.select(t.value.c.seq, short_text())
        .where(t.value.c.queue_id == bindparam("queue_id"), among(dialect_name, t.value.c.seq, "seqs"))
        .order_by(t.value.c.seq)
    )


def iterate(executor: Executor, queue_id: int, alive: Alive, page: int = 1000) -> Iterator[tuple[int, str]] | None:
    """Return the values that are live now, the oldest first; None if there is none. They are read page by page."""
    rows = oldest(executor, queue_id, page + 1, alive)
    return _pages(executor, queue_id, rows, page) if rows else None


def _pages(executor: Executor, queue_id: int, rows: Sequence[tuple[int, str]], page: int) -> Iterator[tuple[int, str]]:
    if len(rows) <= page:
        yield from chunks.whole_rows(executor, queue_id, rows)
        return
    # All seqs are read by one statement, so that no value appears twice if it moves to the end meanwhile. The texts are
    # read later: one that somebody replaces meanwhile may be the new one.
    stretches = executor.execute(_stretches(), {"queue_id": queue_id})
    seqs = itertools.chain.from_iterable(range(first, last + 1) for first, last in stretches)
    while part := list(itertools.islice(seqs, page)):
        rows = executor.execute(_page(executor.dialect_name), {"queue_id": queue_id, "seqs": json.dumps(part)})
        yield from chunks.whole_rows(executor, queue_id, rows)


@statement
def _remove() -> sa.Update:
    return (
        sa.update(t.value)
        .where(
            t.value.c.queue_id == bindparam("of_queue"),
            t.value.c.seq == bindparam("of_seq"),
            t.value.c.ended_at.is_(None),
        )
        .values(state=literal("removed"), **now_given("ended"), taken_by=bindparam("attempt_id"))
    )


def remove(
    transaction: Transaction, queue_id: int, seqs: Sequence[int], attempt_id: int | None, moment: Moment
) -> None:
    """Remove values from a queue. The caller has locked them, and has checked that the attempt may write."""
    names = ("of_queue", "of_seq", "moment", "tick", "attempt_id")
    transaction.execute_many(_remove(), names, ((queue_id, seq, *moment, attempt_id) for seq in seqs))


@statement
def _lock_queue() -> sa.Select[int]:
    return sa.select(t.queue.c.id).where(t.queue.c.id == bindparam("queue_id")).with_for_update(key_share=True)


def lock_queue(executor: Executor, queue_id: int) -> bool:
    """Lock a queue until the transaction ends; return False if it is gone.

    A transaction that takes several locks takes them in this order: sessions, attempts, queues by id, values.
    """
    return bool(executor.execute(_lock_queue(), {"queue_id": queue_id}))


def open_change(transaction: Transaction, queue_id: int, attempt_id: int | None) -> bool:
    """Check the attempt and lock the queue; return False if it was deleted or the attempt may not write."""
    return (attempt_id is None or may_write(transaction, attempt_id)) and lock_queue(transaction, queue_id)
