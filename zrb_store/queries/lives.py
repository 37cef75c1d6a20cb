"""The life of each value of a queue, from its rows, as a stream: who pushed it, who took it, each give-back."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy import bindparam, literal_column

from zrb_store.columns import ATTEMPT, RETURN, VALUE, readable
from zrb_store.db.tables import attempt, queue, returned, session, value
from zrb_store.db.transaction import Row, Transaction
from zrb_store.queries.values import was_live
from zrb_store.records import ReturnRecord, ValueRecord


class Owner(NamedTuple):
    """An attempt that pushed or took a value."""

    session: str
    task: str
    number: int
    given_back_at: int | None


class Return(NamedTuple):
    """One give-back, with the attempt that had the value."""

    record: ReturnRecord
    taker: Owner | None


class Life(NamedTuple):
    """A value with all that happened to it.

    Attributes:
        value: Its row as it is today.
        is_live: Whether it is (or was, at the moment asked about) in its queue.
        pusher: The attempt that pushed it, if that is still there.
        taker: The attempt that holds it today, if that is still there.
        returns: Its give-backs, the oldest first.
    """

    value: ValueRecord
    is_live: bool
    pusher: Owner | None
    taker: Owner | None
    returns: list[Return]


_pusher, _taker = attempt.alias("pusher"), attempt.alias("taker")
_home_of_pusher, _home_of_taker = session.alias("home_of_pusher"), session.alias("home_of_taker")
_PUSHER = (_home_of_pusher.c.name, _pusher.c.task, _pusher.c.number, _pusher.c.given_back_at)
_TAKER = (_home_of_taker.c.name, _taker.c.task, _taker.c.number, _taker.c.given_back_at)


def _within(table: sa.Table, scope: str) -> sa.ColumnElement[bool]:
    """Whether a row is of the one value, of the one queue, or of the session's queues (or that of one name)."""
    if scope in ("value", "queue"):
        of_queue = table.c.queue_id == bindparam("queue_id")
        return of_queue if scope == "queue" else sa.and_(of_queue, table.c.seq == bindparam("seq", type_=sa.BigInteger))
    ids = sa.select(queue.c.id).where(queue.c.session_id == bindparam("session_id"))
    return table.c.queue_id.in_(ids.where(queue.c.name == bindparam("queue")) if scope == "named" else ids)


@functools.cache
def _values(scope: str, live: bool, then: bool) -> Any:
    is_live = was_live if then else value.c.ended_at.is_(None)
    statement: Any = (
        sa.select(*value.c, is_live, *_PUSHER, *_TAKER)
        .select_from(
            value.outerjoin(_pusher, _pusher.c.id == value.c.pushed_by)
            .outerjoin(_home_of_pusher, _home_of_pusher.c.id == _pusher.c.session_id)
            .outerjoin(_taker, _taker.c.id == value.c.taken_by)
            .outerjoin(_home_of_taker, _home_of_taker.c.id == _taker.c.session_id)
        )
        .where(_within(value, scope))
        .order_by(value.c.queue_id, value.c.seq)
    )
    if not live:
        return statement
    statement = statement.where(is_live)
    return statement if then else statement.with_hint(value, "INDEXED BY ix_zrb_value_live", "sqlite")


@functools.cache
def _returns(scope: str) -> Any:
    return (
        sa.select(*returned.c, *_TAKER)
        .select_from(
            returned.outerjoin(_taker, _taker.c.id == returned.c.taken_by).outerjoin(
                _home_of_taker, _home_of_taker.c.id == _taker.c.session_id
            )
        )
        .where(_within(returned, scope))
        .order_by(returned.c.queue_id, returned.c.seq, returned.c.id)
    )


def of_session(
    transaction: Transaction,
    session_id: int,
    queue_name: str | None = None,
    *,
    live: bool = False,
    at: int | None = None,
) -> Iterator[Life]:
    """The lives of the values of a session's queues (or of one of them), queue by queue.

    Args:
        transaction: A snapshot.
        session_id: Id of the session.
        queue_name: Only this queue.
        live: Only live values.
        at: At this moment (microseconds) instead of now: what was live then.
    """
    scope = "session" if queue_name is None else "named"
    return _lives(transaction, scope, {"session_id": session_id, "queue": queue_name}, live, at)


def of_queue(transaction: Transaction, queue_id: int, *, live: bool = False, at: int | None = None) -> Iterator[Life]:
    """As `of_session`, of one queue, by an index on either database however many values there are."""
    return _lives(transaction, "queue", {"queue_id": queue_id}, live, at)


def of_value(transaction: Transaction, queue_id: int, seq: int) -> Life | None:
    """The life of one value, or None if there is no such value."""
    return next(_lives(transaction, "value", {"queue_id": queue_id, "seq": seq}, False, None), None)


def _lives(transaction: Transaction, scope: str, params: dict[str, Any], live: bool, at: int | None) -> Iterator[Life]:
    params = {**params, "moment": at}
    backs = map(_return, transaction.stream(_returns(scope), params))
    back = next(backs, None)
    for row in transaction.stream(_values(scope, live, at is not None), params):
        record = value_record(row[:_VALUE_WIDTH])
        own: list[Return] = []
        # Both streams are in the order of queue and seq.
        while back is not None and (back.record.queue_id, back.record.seq) <= (record.queue_id, record.seq):
            if (back.record.queue_id, back.record.seq) == (record.queue_id, record.seq):
                own.append(back)
            back = next(backs, None)
        is_live, *owners = row[_VALUE_WIDTH:]
        yield Life(record, bool(is_live), _owner(owners[:4]), _owner(owners[4:]), own)


_VALUE_WIDTH = len(VALUE)
_GIVEN_BACK_AT = ATTEMPT["given_back_at"]


def value_record(row: Row) -> ValueRecord:
    """A row of the value table as a record."""
    named, damage = readable(VALUE, row)
    return ValueRecord(**named, damage=damage)


def _return(row: Row) -> Return:
    named, damage = readable(RETURN, row[: len(RETURN)])
    del named["id"]
    return Return(ReturnRecord(**named, damage=damage), _owner(row[len(RETURN) :]))


def _owner(row: Row | list[Any]) -> Owner | None:
    if row[0] is None:
        return None
    session_name, task, number, given_back_at = row
    if _GIVEN_BACK_AT.problem(given_back_at):
        given_back_at = _GIVEN_BACK_AT.readable(given_back_at)
    return Owner(session_name, task, number, given_back_at)


_MOVED_TO = (
    sa.select(value.c.seq)
    .where(value.c.queue_id == bindparam("queue_id"), value.c.moved_from == bindparam("seq", type_=sa.BigInteger))
    .order_by(value.c.pushed_at, value.c.seq)
)


def moved_to(transaction: Transaction, queue_id: int, seq: int) -> list[int]:
    """The seqs of the values of its queue that a value went on as."""
    return [row[0] for row in transaction.execute(_MOVED_TO, {"queue_id": queue_id, "seq": seq})]


_of_queue = value.c.queue_id == bindparam("queue_id")
_in_order = sa.select(value.c.data).where(_of_queue).order_by(value.c.seq)
_LIVE = _in_order.where(value.c.ended_at.is_(None)).with_hint(value, "INDEXED BY ix_zrb_value_live", "sqlite")
_LIVE_THEN = _in_order.where(was_live)


def live_data(transaction: Transaction, queue_id: int, at: int | None = None) -> Iterator[str]:
    """The encoded values of a queue that are live, or were at a moment, in its order."""
    statement = _LIVE if at is None else _LIVE_THEN
    return (row[0] for row in transaction.stream(statement, {"queue_id": queue_id, "moment": at}))


_stands = value.c.state.in_([literal_column("'live'"), literal_column("'taken'")])
_STANDING = _in_order.where(_stands)
_COUNT_STANDING = sa.select(sa.func.count()).where(_of_queue, _stands)


def standing_data(transaction: Transaction, queue_id: int) -> Iterator[str]:
    """The encoded values of a queue that are live or taken, in its order."""
    return (row[0] for row in transaction.stream(_STANDING, {"queue_id": queue_id}))


def count_standing(transaction: Transaction, queue_id: int) -> int:
    """How many values `standing_data` gives."""
    number: int = transaction.execute(_COUNT_STANDING, {"queue_id": queue_id})[0][0]
    return number
