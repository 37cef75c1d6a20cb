"""The history of values: who pushed each of them, who took it, and its returns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal, NamedTuple

from zrb_store.db.columns import ATTEMPT, RETURN, VALUE, ColumnRule, readable
from zrb_store.db.core import Params, bindparam, sa, statement, t
from zrb_store.db.dialect import short_text, whole_text
from zrb_store.db.transaction import Row, Transaction
from zrb_store.queries import chunks
from zrb_store.queries.changes import Change
from zrb_store.queries.clock import Moment
from zrb_store.queries.joined_attempts import pusher, taker
from zrb_store.queries.requeue import is_dead
from zrb_store.queries.values import was_live
from zrb_store.records import ReturnRecord, ValueRecord


class AttemptName(NamedTuple):
    """An attempt that pushed or took a value. Of a step, `task` is its id, and `step` its name."""

    session: str
    task: str
    number: int
    step: str | None = None
    given_back: Moment | None = None
    failed: Moment | None = None

    def undone(self, session: str) -> Moment | None:
        """Return when its changes to queues of a session were undone, or None (docs/promises.md, promises 1 and 10).

        A parent or child session counts as any other, although it is treated like the attempt's own.
        """
        return self.given_back if session == self.session or self.failed is None else self.failed


class Return(NamedTuple):
    """The return of a value to its queue.

    Attributes:
        record: Its row.
        taker: The attempt that held the value before, if it still exists.
        error: Type and message of the error with which that attempt ended; the message may be cut.
    """

    record: ReturnRecord
    taker: AttemptName | None
    error: tuple[str | None, str | None]


class ValueHistory(NamedTuple):
    """A value with everything that happened to it.

    Attributes:
        value: Its present row.
        is_live: Whether it is in its queue, or was at the given moment.
        pusher: The attempt that pushed it, if there was one and it still exists.
        taker: The attempt that holds it now, if there is one and it still exists.
        returns: Its returns to the queue, the oldest first.
        pushed_from: Who pushed it from a shell outside any attempt, if that was looked for (`inspect/value.py`).
        popper: Who took it so.
    """

    value: ValueRecord
    is_live: bool
    pusher: AttemptName | None
    taker: AttemptName | None
    returns: list[Return]
    pushed_from: Change | None = None
    popper: Change | None = None


Only = Literal["live", "dead"]
"""The values that are asked for, if not all."""

Scope = Literal["value", "queue", "session", "named"]
"""Whose values are asked for: `value`, `queue`, `session` (all its queues) or `named` (one queue by name)."""


def _within(table: sa.Table, scope: Scope) -> sa.ColumnElement[bool]:
    """Return the condition for a scope."""
    if scope in ("value", "queue"):
        of_queue = table.c.queue_id == bindparam("queue_id")
        return of_queue if scope == "queue" else sa.and_(of_queue, table.c.seq == bindparam("seq", type_=sa.BigInteger))
    ids = sa.select(t.queue.c.id).where(t.queue.c.session_id == bindparam("session_id"))
    return table.c.queue_id.in_(ids.where(t.queue.c.name == bindparam("queue")) if scope == "named" else ids)


@statement
def _values(scope: Scope, only: Only | None, then: bool, from_seq: bool) -> sa.Select[*Row]:
    is_live = was_live() if then else t.value.c.ended_at.is_(None)
    statement = (
        sa.select(
            *(short_text() if name == "data" else t.value.c[name] for name in VALUE),
            is_live,
            *pusher().name,
            pusher().step,
            *pusher().given_back,
            *pusher().failed,
            *taker().name,
            taker().step,
        )
        .select_from(taker().join(pusher().join(t.value, t.value.c.pushed_by), t.value.c.taken_by))
        .where(_within(t.value, scope))
        .order_by(t.value.c.queue_id, t.value.c.seq)
    )
    if from_seq:
        statement = statement.where(t.value.c.seq >= bindparam("from_seq", type_=sa.BigInteger))
    if only is None:
        return statement
    if only == "dead":
        return statement.where(is_dead()).with_hint(t.value, "INDEXED BY ix_zrb_value_dead", "sqlite")
    statement = statement.where(is_live)
    return statement if then else statement.with_hint(t.value, "INDEXED BY ix_zrb_value_live", "sqlite")


@statement
def _returns(scope: Scope, from_seq: bool) -> sa.Select[*Row]:
    statement = (
        sa.select(*(t.returned.c[name] for name in RETURN), *taker().name, taker().step, *taker().error)
        .select_from(taker().join(t.returned, t.returned.c.taken_by))
        .where(_within(t.returned, scope))
        .order_by(t.returned.c.queue_id, t.returned.c.seq, t.returned.c.id)
    )
    return statement.where(t.returned.c.seq >= bindparam("from_seq", type_=sa.BigInteger)) if from_seq else statement


def of_session(
    transaction: Transaction,
    session_id: int,
    queue_name: str | None = None,
    *,
    only: Only | None = None,
    at: Moment | None = None,
) -> Iterator[ValueHistory]:
    """Yield the histories of the values of a session, queue by queue.

    Args:
        transaction: A snapshot.
        session_id: The session.
        queue_name: Only values of this queue.
        only: Only live values, or only those that are dead now.
        at: A moment: the values that were live then count as live.
    """
    scope: Scope = "session" if queue_name is None else "named"
    return _histories(transaction, scope, {"session_id": session_id, "queue": queue_name}, only, at)


def of_queue(
    transaction: Transaction,
    queue_id: int,
    *,
    only: Only | None = None,
    at: Moment | None = None,
    from_seq: int | None = None,
) -> Iterator[ValueHistory]:
    """Yield the histories of the values of one queue as `of_session` does, but by an index on both databases.

    With `from_seq` they begin with the value of that number.
    """
    return _histories(transaction, "queue", {"queue_id": queue_id}, only, at, from_seq)


def of_value(transaction: Transaction, queue_id: int, seq: int) -> ValueHistory | None:
    """Return the history of one value, or None if there is no such value."""
    return next(_histories(transaction, "value", {"queue_id": queue_id, "seq": seq}, None, None), None)


def _histories(
    transaction: Transaction,
    scope: Scope,
    params: Params,
    only: Only | None,
    at: Moment | None,
    from_seq: int | None = None,
) -> Iterator[ValueHistory]:
    params = {**params, **(at.bounds if at else {}), "from_seq": from_seq}
    all_returns = map(_return, transaction.stream(_returns(scope, from_seq is not None), params))
    upcoming = next(all_returns, None)
    for row in transaction.stream(_values(scope, only, at is not None, from_seq is not None), params):
        history = _history(transaction, row)
        record = history.value
        # Both streams are in the order of queue and seq.
        while upcoming is not None and (upcoming.record.queue_id, upcoming.record.seq) <= (record.queue_id, record.seq):
            if (upcoming.record.queue_id, upcoming.record.seq) == (record.queue_id, record.seq):
                history.returns.append(upcoming)
            upcoming = next(all_returns, None)
        yield history


_TIME, _TICK, _STEP, _ERROR_TYPE, _MESSAGE = (
    ATTEMPT[name] for name in ("given_back_at", "given_back_tick", "step", "error_type", "error_message")
)


def value_record(columns: Sequence[Any]) -> ValueRecord:
    """Return the record of a value whose columns are in the order of `VALUE`."""
    named, damage = readable(VALUE, columns)
    return ValueRecord(**named, damage=damage)


_DATA = list(VALUE).index("data")


def _history(transaction: Transaction, row: Row) -> ValueHistory:
    """Return the history of a value, still without its returns."""
    place = len(VALUE)
    columns, is_live, attempts = list(row[:place]), row[place], row[place + 1 :]
    if not columns[_DATA]:
        columns[_DATA] = chunks.whole(transaction, columns[0], columns[1], "") or ""
    pusher, taker = attempts[:-4], attempts[-4:]  # the last four name the taker
    return ValueHistory(value_record(columns), bool(is_live), _attempt_name(*pusher), _attempt_name(*taker), [])


def _return(row: Row) -> Return:
    *columns, session_name, task, number, step, error_type, message = row
    named, damage = readable(RETURN, columns)
    del named["id"]
    error = (_text(_ERROR_TYPE, error_type), _text(_MESSAGE, message))
    return Return(ReturnRecord(**named, damage=damage), _attempt_name(session_name, task, number, step), error)


def _text(rule: ColumnRule, text: Any) -> str | None:
    return None if rule.problem(text) else text


def _attempt_name(session_name: str | None, task: str, number: int, step: Any, *undone: Any) -> AttemptName | None:
    if session_name is None:
        return None
    moments = (_moment(*undone[place : place + 2]) for place in range(0, len(undone), 2))
    return AttemptName(session_name, task, number, _text(_STEP, step), *moments)


def _moment(at: Any, tick: Any) -> Moment | None:
    is_damaged = at is None or tick is None or _TIME.problem(at) or _TICK.problem(tick)
    return None if is_damaged else Moment(at, tick)


@statement
def _live(then: bool) -> sa.Select[str]:
    values = sa.select(whole_text()).where(t.value.c.queue_id == bindparam("queue_id")).order_by(t.value.c.seq)
    if then:
        return values.where(was_live())
    return values.where(t.value.c.ended_at.is_(None)).with_hint(t.value, "INDEXED BY ix_zrb_value_live", "sqlite")


def live_data(transaction: Transaction, queue_id: int, at: Moment | None = None) -> Iterator[str]:
    """Yield the encoded values of a queue that are live, or were live at a moment, in the order of the queue."""
    params = {"queue_id": queue_id, **(at.bounds if at else {})}
    return (row[0] for row in transaction.stream(_live(at is not None), params))
