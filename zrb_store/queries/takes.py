"""Take the values of queues.

A hint names the place where the live values of a queue begin: a backup or another old snapshot then does not slow each
pop down. As long as a snapshot may need them, PostgreSQL keeps the entries of taken values in the index of the live
ones; a search from the beginning of the queue reads them all. A search that starts at the hint makes sure, in the
same statement, that nothing can have come back before it. SQLite has no such entries, and no hints.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from zrb_store.db.core import bindparam, exists, literal, sa, statement, t
from zrb_store.db.dialect import now, schema_is_unchanged, short_text, tick
from zrb_store.db.engine import Database
from zrb_store.db.transaction import Executor, Transaction, first_column
from zrb_store.queries import chunks
from zrb_store.queries.attempts import attempt_may_write
from zrb_store.queries.chunks import LONGEST
from zrb_store.queries.clock import draw, now_given
from zrb_store.queries.pushers import Alive, PusherInDoubtError, pusher_is_alive
from zrb_store.queries.values import by_seq, from_live, from_queue, of_seqs, oldest

_SLOW = 0.001  # seconds: a search that takes longer may be slow because of such entries
_DUE = -1.0  # instead of the time until when a hint is used: look before the next search
_LASTS = 10.0  # seconds for which a hint is used, in case that somebody has changed rows in another way than we do


class Front(NamedTuple):
    """Where the live values of a queue begin."""

    first: int  # no value with a lower seq is live
    low: int  # the queue has no value with a lower seq, as long as this holds
    returns: int  # the last number that was given to a return, in any queue, as long as this holds


class _Hint(NamedTuple):
    """A front, until when it is used, and the number of the connection: another server may lack some takes."""

    front: Front | None
    until: float
    connection: int


_hints: WeakKeyDictionary[Database, dict[int, _Hint]] = WeakKeyDictionary()


def _returns() -> sa.ColumnElement[int]:
    # Whatever makes a value live again records a return, while it has the queue locked. A sequence tells its last
    # number at once, before the commit.
    return sa.literal_column("coalesce(pg_catalog.pg_sequence_last_value('zrb_return_id_seq'::regclass), 0)")


def not_before_front() -> sa.ColumnElement[bool]:
    """Return the condition that a value does not lie before the front, if the front still holds.

    A change that makes it invalid, and that the statement sees, is committed; so its number is seen too.
    """
    other, delayed = t.value.alias("other"), t.value.alias("delayed")
    is_valid = sa.and_(
        # A value that was delayed may become due before it. They have an index of their own.
        ~exists(
            delayed.c.queue_id == bindparam("queue_id"), delayed.c.due_at.is_not(None), delayed.c.ended_at.is_(None)
        ),
        bindparam("returns", type_=sa.BigInteger) == _returns(),
        # Not EXISTS: without the order, PostgreSQL might read the table, hoping to find a row at once.
        sa.select(other.c.seq)
        .where(other.c.queue_id == bindparam("queue_id"), other.c.seq < bindparam("low", type_=sa.BigInteger))
        .order_by(other.c.seq.desc())
        .limit(literal(1))
        .scalar_subquery()
        .is_(None),
    )
    return (
        t.value.c.seq
        >= sa.select(
            sa.case((is_valid, bindparam("first", type_=sa.BigInteger)), else_=literal(-9223372036854775807))
        ).scalar_subquery()
    )


@statement
def _lock() -> sa.Select[int, int, bool]:
    may_know: sa.ColumnClause[bool] = sa.literal_column("has_sequence_privilege('zrb_return_id_seq', 'USAGE')")
    return (
        sa.select(t.queue.c.low, t.queue.c.high, may_know)
        .where(t.queue.c.id == bindparam("queue_id"))
        .with_for_update(key_share=True)
    )


@statement
def _state() -> sa.Select[int, int | None]:
    first = from_queue(sa.select(t.value.c.seq)).order_by(t.value.c.seq).limit(literal(1))
    return sa.select(_returns(), first.scalar_subquery())


def known_front(database: Database, queue_id: int) -> Front | None:
    """Return where the live values of a queue begin, if this process knows it; look, if the last search was slow."""
    hint = _hints.get(database, {}).get(queue_id)
    if hint is not None and hint.until == _DUE:
        hint = look(database, queue_id)
    is_usable = hint is not None and hint.connection == database.connections and time.monotonic() < hint.until
    return hint.front if hint is not None and is_usable else None


def note_search(database: Database, queue_id: int, front: Front | None, seconds: float, taken: int | None) -> None:
    """Note how a search for the first live value of a queue went. `taken` is the seq that was taken and committed."""
    if database.dialect_name == "sqlite":
        return
    hints = _hints.setdefault(database, {})
    hint = hints.get(queue_id)
    if front is not None:
        if hint is not None and hint.front == front and taken is not None and taken >= front.first:
            hints[queue_id] = hint._replace(front=front._replace(first=taken + 1))
    elif seconds >= _SLOW and (hint is None or time.monotonic() >= hint.until):
        # Not now: what was taken must reach its taker, whatever becomes of the look.
        hints[queue_id] = _Hint(None, _DUE, database.connections)


def look(database: Database, queue_id: int) -> _Hint:
    """Find out where the live values of a queue begin, and remember it.

    The lock waits for changes that make values live again. Those that come later record returns with higher numbers.
    """

    def work(transaction: Transaction) -> Front | None:
        locked = transaction.execute(_lock(), {"queue_id": queue_id})
        if not locked or not locked[0][2]:
            return None
        low, high, _ = locked[0]
        # Read after the lock, since a statement that has to wait for a lock may have read it before.
        returns, first = transaction.execute(_state(), {"queue_id": queue_id})[0]
        return Front(first=high + 1 if first is None else first, low=low, returns=returns)

    front = database.transact(work)
    hint = _Hint(front, time.monotonic() + _LASTS, database.connections)
    _hints.setdefault(database, {})[queue_id] = hint
    return hint


def parameters(front: Front | None) -> dict[str, int]:
    """Return the parameters of `not_before_front`; none for a statement without it."""
    return {} if front is None else front._asdict()


def take_first(
    database: Database, queue_id: int, take: Callable[[Front | None], tuple[int, str] | None]
) -> tuple[int, str] | None:
    """Take the first live value of a queue in a transaction of its own, by a function that searches from a front on."""
    front = known_front(database, queue_id)
    began = time.perf_counter()
    found = take(front)
    note_search(database, queue_id, front, time.perf_counter() - began, found[0] if found else None)
    return found


@statement
def _has_live(from_front: bool) -> sa.Select[int]:
    found = from_live(sa.select(literal(1))).limit(literal(1))
    return found.where(not_before_front()) if from_front else found


def has_live(database: Database, queue_id: int) -> bool:
    """Whether a queue has a live value. Only an index is read."""
    front = known_front(database, queue_id)
    return bool(database.execute(_has_live(front is not None), {"queue_id": queue_id, **parameters(front)}))


def _fits_chunk() -> sa.ColumnElement[bool]:
    return t.value.c.size <= literal(LONGEST)


@statement
def _take(
    dialect_name: str, owned: bool, right: bool, from_front: bool, at_once: bool
) -> sa.sql.dml.ReturningUpdate[int, str]:
    live = from_live(sa.select(t.value.c.seq)).where(*([not_before_front()] if from_front else []))
    place = live.order_by(by_seq(right)).limit(literal(1)).with_for_update().scalar_subquery()
    return (
        sa.update(t.value)
        .where(t.value.c.queue_id == bindparam("queue_id"), t.value.c.seq == place)
        .where(*([_fits_chunk(), pusher_is_alive(dialect_name)] if at_once else []))
        .where(schema_is_unchanged(), *([attempt_may_write()] if owned else []))
        .values(
            state=literal("taken"),
            ended_at=now(),
            ended_tick=tick(),
            taken_by=bindparam("attempt_id", type_=t.value.c.taken_by.type),
        )
        .returning(t.value.c.seq, short_text())
    )


def take(
    executor: Executor,
    queue_id: int,
    attempt_id: int | None,
    alive: Alive,
    *,
    right: bool = False,
    front: Front | None = None,
) -> tuple[int, str] | None:
    """Take the oldest live value of a queue, or with `right` the newest, if one statement can.

    It cannot if the value is larger than one chunk, or if its pusher may have died.
    """
    statement = _take(executor.dialect_name, attempt_id is not None, right, front is not None, True)
    params = {"queue_id": queue_id, "attempt_id": attempt_id, **alive, **parameters(front)}
    return chunks.first_whole(executor, queue_id, executor.execute(statement, params))


def take_whole(
    transaction: Transaction, queue_id: int, attempt_id: int | None, *, right: bool = False
) -> tuple[int, str] | None:
    """Take the oldest live value of a queue, or with `right` the newest, however long it is and whoever pushed it.

    A value that is larger than one chunk is read in the transaction in which it is taken, so that it cannot get lost.
    """
    statement = _take(transaction.dialect_name, attempt_id is not None, right, False, False)
    rows = transaction.execute(statement, {"queue_id": queue_id, "attempt_id": attempt_id})
    return chunks.first_whole(transaction, queue_id, rows)


def taken_at_once() -> dict[str, sa.ColumnElement[Any]]:
    """Return what changes in values that are taken together, at one moment."""
    taken_by = bindparam("attempt_id", type_=t.value.c.taken_by.type)
    return {"state": literal("taken"), **now_given("ended"), "taken_by": taken_by}


@statement
def _take_these(dialect_name: str) -> sa.Update:
    return sa.update(t.value).where(*of_seqs(dialect_name)).values(taken_at_once())


def take_these(transaction: Transaction, queue_id: int, seqs: Sequence[int], attempt_id: int | None) -> None:
    """Take values of a queue at one moment. The caller has locked them."""
    params = {"of_queue": queue_id, "seqs": json.dumps(seqs), "attempt_id": attempt_id, **draw(transaction).params}
    transaction.execute(_take_these(transaction.dialect_name), params)


def take_many(
    transaction: Transaction, queue_id: int, attempt_id: int | None, count: int, alive: Alive
) -> list[tuple[int, str]]:
    """Take the oldest live values of a queue, at most `count`; none if a pusher may have died.

    The caller has called `open_change`.
    """
    try:
        rows = oldest(transaction, queue_id, count, alive, lock=True)
    except PusherInDoubtError:
        return []
    if rows:
        take_these(transaction, queue_id, list(map(first_column, rows)), attempt_id)
    return list(chunks.whole_rows(transaction, queue_id, rows))
