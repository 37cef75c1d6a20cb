"""The values of queues with everything that happened to them, and which of a queue come last."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple, TypeVar, TypeVarTuple

from zrb_store import codec
from zrb_store.db.columns import REPLACED, RETURN, VALUE
from zrb_store.db.core import bindparam, is_one_of, literal, made_once, sa, statement, t
from zrb_store.db.dialect import short_text, whole_text
from zrb_store.db.rows import fit, sound
from zrb_store.db.transaction import Executor, Row, Transaction, first_column
from zrb_store.names import full_name, name_within
from zrb_store.queries import attempts, chunks
from zrb_store.queries.by_hand import Change
from zrb_store.queries.clock import Moment, by_then, later
from zrb_store.queries.values import from_live, is_dead, is_delayed, is_due, is_held, is_same_value, was_live
from zrb_store.records import (
    UNFINISHED,
    ErrorRecord,
    JsonObject,
    JsonValue,
    ReplacedRecord,
    ReturnRecord,
    ValueRecord,
    iso,
    pick,
)

MESSAGE_LENGTH = 300
"""Characters of an error's message that are read with each return of a value: one error may be that of many."""


class JoinedAttempt:
    """The attempt to which a column of another table refers, and columns to select of it.

    `failed` is when it ended, if it did not complete; NULL if it did, and for deliveries and steps: these are given
    back whole.
    """

    def __init__(self, alias: str) -> None:
        self._attempt = t.attempt.alias(alias)
        self._session = t.session.alias(f"session_of_{alias}")
        self.name = (self._session.c.name, self._attempt.c.task, self._attempt.c.number)
        self.step = self._attempt.c.step
        self.given_back = (self._attempt.c.given_back_at, self._attempt.c.given_back_tick)
        failed = sa.and_(is_one_of(self._attempt.c.status, *UNFINISHED), ~attempts.is_of_no_task(self._attempt))
        self.failed = tuple(sa.case((failed, self._attempt.c[name])) for name in ("ended_at", "ended_tick"))
        beginning = (literal(1), literal(MESSAGE_LENGTH))
        self.whole_error = (self._attempt.c.error_type, self._attempt.c.error_message)
        self.error = (self._attempt.c.error_type, sa.func.substr(self._attempt.c.error_message, *beginning))

    def join(self, rows: sa.FromClause, link: sa.Column[int]) -> sa.FromClause:
        """Join the attempt, if there is one, to rows that have its id in the column `link`."""
        return rows.outerjoin(self._attempt, self._attempt.c.id == link).outerjoin(
            self._session, self._session.c.id == self._attempt.c.session_id
        )


@made_once
def pusher() -> JoinedAttempt:
    """Return the attempt that pushed a value."""
    return JoinedAttempt("pusher")


@made_once
def taker() -> JoinedAttempt:
    """Return the attempt that took a value."""
    return JoinedAttempt("taker")


class AttemptName(NamedTuple):
    """An attempt that pushed or took a value."""

    name: str  # `load#1` if it is of the value's own session, else `SESSION/load#1`
    step: str | None  # the name of the step, if it is an attempt of one
    given_back: Moment | None = None
    failed: Moment | None = None  # when it ended without completing, if it is of another session

    @property
    def undone(self) -> Moment | None:
        """When its changes to queues of the value's session were undone. Relatives of its own count as others."""
        return self.given_back if self.failed is None else self.failed


class Returned(NamedTuple):
    """The return of a value to its queue."""

    record: ReturnRecord
    taker: AttemptName | None  # the attempt that held the value before, if it still exists
    error: ErrorRecord | None  # with which that attempt ended; its message may be cut

    @property
    def taken_by(self) -> str | None:
        return self.taker and self.taker.name

    @property
    def ended_death(self) -> str | None:
        """How somebody ended the value's death: `requeued`, `replaced` or `dropped`, as the reason begins."""
        return self.record.reason.partition(" ")[0] if self.record.failed_deliveries == 0 else None

    def to_json(self) -> JsonObject:
        row = pick(self.record, "taken_at", "returned_at", "reason", "failed_deliveries", "due_at")
        return {"taken_by": self.taken_by, **row, **pick(self, "error")}


class Replaced(NamedTuple):
    """What a value was before somebody put another content in its place."""

    record: ReplacedRecord
    content: JsonValue
    by: Change | None = None  # who did it, if that is recorded and was looked for (`inspect/value.py`)

    @property
    def when(self) -> Moment:
        """When it happened."""
        return Moment(self.record.replaced_at, self.record.replaced_tick)

    def to_json(self) -> JsonObject:
        return {
            **pick(self.record, "type", "size"),
            "value": self.content,
            **pick(self.record, "failed_deliveries", "replaced_at"),
            "replaced_by": self.by and self.by.to_json(),
        }


@dataclass(frozen=True, slots=True)
class Value:
    """A value of a queue. What somebody did to it from a shell is known if it was looked for (`inspect/value.py`)."""

    id: str  # SESSION/QUEUE#SEQ
    record: ValueRecord  # its present row; as of a moment, with the content of then
    content: JsonValue
    is_live: bool  # whether it is in its queue, or was at the given moment
    pusher: AttemptName | None  # the attempt that pushed it, if there was one and it still exists
    taker: AttemptName | None  # the attempt that took it, if there was one and it still exists
    returns: list[Returned]  # the oldest first
    replaced: list[Replaced]  # what it was before, the oldest first
    pushed_from: Change | None = None  # who pushed it from a shell outside any attempt
    taken_from: Change | None = None  # who took it from a shell, or dropped it
    beginning: str | None = None  # in a report, of a long value, whose content is left out

    @property
    def pushed_by(self) -> str | None:
        return self.pusher and self.pusher.name

    @property
    def taken_by(self) -> str | None:
        return self.taker and self.taker.name

    @property
    def undone(self) -> Moment | None:
        """When what its pusher did was undone."""
        return self.pusher and self.pusher.undone

    @property
    def taken_at(self) -> int | None:
        """When it was taken or removed, if it is."""
        return self.record.ended_at if self.record.state in ("taken", "removed") else None

    @property
    def outcome(self) -> str:
        """What became of it: its state, or `dropped` if a person took it out."""
        return "dropped" if self.record.state == "removed" and self.taken_from is not None else self.record.state

    @property
    def past(self) -> list[Returned | Replaced]:
        """What happened to it since its push, in order, without the ends of deaths that a later event tells."""
        told: list[tuple[int, Returned | Replaced]] = [
            (each.record.returned_tick, each) for each in self.returns if each.ended_death in (None, "requeued")
        ]
        told += [(each.record.replaced_tick, each) for each in self.replaced]
        return [each for _, each in sorted(told, key=lambda pair: pair[0])]

    def to_json(self) -> JsonObject:
        shown: JsonObject = {
            "id": self.id,
            **pick(self.record, "seq", "state", "type", "size"),
            "value": self.content,
            "pushed_at": iso(self.record.pushed_at),
            **pick(self, "pushed_by", "pushed_from", "taken_at", "taken_by", "taken_from"),
            **pick(self.record, "moved_from", "orphaned", "failed_deliveries", "due_at"),
            "returns": [each.to_json() for each in self.returns],
            "replaced": [each.to_json() for each in self.replaced],
        }
        return shown if self.beginning is None else {**shown, "beginning": self.beginning}


Only = Literal["live", "dead", "delayed", "held", "next", "notable"]
"""The values that are asked for, if not all.

Held ones are taken by attempts that run, or ran when their process died. The next one is taken next. Notable ones are
these and the dead and delayed ones. Of an earlier moment only the live ones can be asked for.
"""

USUAL = ("live", "taken", "removed", "retracted")
"""The states of values that are notable only if they are held, or next."""

Scope = Literal["session", "queue", "end", "value"]
"""Whose values are asked for: of a session, of a queue, of a queue those from a seq on, or that one."""


def _within(table: sa.Table, scope: Scope) -> sa.ColumnElement[bool]:
    """Return the condition for a scope, by the id `:of` of the session or the queue, and `:seq`."""
    if scope == "session":
        return table.c.queue_id.in_(sa.select(t.queue.c.id).where(t.queue.c.session_id == bindparam("of")))
    of_queue = table.c.queue_id == bindparam("of")
    if scope == "queue":
        return of_queue
    seq = bindparam("seq", type_=sa.BigInteger)
    return sa.and_(of_queue, table.c.seq >= seq if scope == "end" else table.c.seq == seq)


def _next() -> sa.ColumnElement[bool]:
    live = t.value.alias("first_live")
    first = (
        sa.select(sa.func.min(live.c.seq))
        .where(live.c.queue_id == t.value.c.queue_id, live.c.ended_at.is_(None), is_due(live))
        .with_hint(live, "INDEXED BY ix_zrb_value_live", "sqlite")
    )
    return t.value.c.seq == first.scalar_subquery()


def _is_live(then: bool) -> sa.ColumnElement[bool]:
    return was_live() if then else sa.and_(t.value.c.ended_at.is_(None), is_due())


def _asked(only: Only | None, then: bool) -> Iterator[sa.ColumnElement[bool]]:
    """Yield the condition for the values that are asked for, unless these are all."""
    if only in ("live", "dead", "delayed"):
        yield {"live": _is_live(then), "dead": is_dead(), "delayed": is_delayed()}[only]
    elif only is not None:
        is_unusual = ~is_one_of(t.value.c.state, *USUAL)
        notable = sa.or_(is_held(), _next(), is_delayed(), is_unusual)
        yield {"held": is_held(), "next": _next(), "notable": notable}[only]


@statement
def _values(scope: Scope, only: Only | None, then: bool) -> sa.Select[*Row]:
    statement = (
        sa.select(
            *(short_text() if name == "data" else t.value.c[name] for name in VALUE),
            _is_live(then),
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
    statement = statement.where(*_asked(only, then))
    if only == "dead" or (only == "live" and not then):
        return statement.with_hint(t.value, f"INDEXED BY ix_zrb_value_{only}", "sqlite")
    return statement


@statement
def _returns(scope: Scope, whole: bool) -> sa.Select[*Row]:
    error = taker().whole_error if whole else taker().error
    return (
        sa.select(*(t.returned.c[name] for name in RETURN), *taker().name, taker().step, *error)
        .select_from(taker().join(t.returned, t.returned.c.taken_by))
        .where(_within(t.returned, scope))
        .order_by(t.returned.c.queue_id, t.returned.c.seq, t.returned.c.id)
    )


@statement
def _replacements(scope: Scope) -> sa.Select[*Row]:
    return (
        sa.select(*(t.replaced.c[name] for name in REPLACED))
        .where(_within(t.replaced, scope))
        .order_by(t.replaced.c.queue_id, t.replaced.c.seq, t.replaced.c.id)
    )


def of_value(transaction: Transaction, queue_id: int, seq: int, session: str, queue: str) -> Value | None:
    """Return one value of a session's queue, or None if there is no such value."""
    return next(values(transaction, session, {queue_id: queue}, "value", queue_id, seq=seq), None)


def values(
    transaction: Transaction,
    session: str,
    queues: Mapping[int, str],
    scope: Scope,
    of: int,
    *,
    seq: int | None = None,
    only: Only | None = None,
    at: Moment | None = None,
    whole_errors: bool = False,
) -> Iterator[Value]:
    """Yield the values of a session, given its name and those of its queues, or of one queue.

    With `at`, those live at that moment are live, and have the content of then. The errors of deliveries are cut after
    `MESSAGE_LENGTH` characters, unless `whole_errors` are asked for.
    """
    scope = "end" if scope == "queue" and seq is not None else scope
    params = {"of": of, "seq": seq, **(at.bounds if at else {})}
    name = functools.partial(_attempt_name, session)
    rows_of_returns = transaction.stream(_returns(scope, whole_errors), params)
    returns_of = _by_value(sound(functools.partial(_returned, name), rows_of_returns))
    replaced_of = _by_value(sound(_replaced, transaction.stream(_replacements(scope), params)))
    rows = transaction.stream(_values(scope, only, at is not None), params)
    read = functools.partial(_record, transaction)
    for record, is_live, names in map(read, rows) if scope == "value" else sound(read, rows):
        if record.queue_id not in queues:
            continue  # the queue's row was left out
        if record.state == "live" and not is_live:
            record = replace(record, state="delayed")
        place = (record.queue_id, record.seq)
        returns, replaced = returns_of(place), replaced_of(place)
        if later_one := at and next((each.record for each in replaced if not at.includes(*each.when)), None):
            then = {name: getattr(later_one, name) for name in ("type", "size", "data")}
            record = replace(record, **then)
        pusher, taker = name(*names[:-4]), name(*names[-4:])  # the last four name the taker
        its_name = full_name(session, queues[record.queue_id], record.seq)
        yield Value(its_name, record, codec.to_json(record.data), bool(is_live), pusher, taker, returns, replaced)


Event = TypeVar("Event", Returned, Replaced)


def _by_value(events: Iterator[Event]) -> Callable[[tuple[int, int]], list[Event]]:
    """Return a function that gets one value after the other by queue and seq, in which order the events are too."""
    upcoming = next(events, None)

    def of(place: tuple[int, int]) -> list[Event]:
        nonlocal upcoming
        found = []
        while upcoming is not None and (upcoming.record.queue_id, upcoming.record.seq) <= place:
            if (upcoming.record.queue_id, upcoming.record.seq) == place:
                found.append(upcoming)
            upcoming = next(events, None)
        return found

    return of


_DATA = list(VALUE).index("data")


def _record(transaction: Transaction, row: Row) -> tuple[ValueRecord, bool, Row]:
    """Return the record of a row of `_values`, whether it is live, and what names its pusher and its taker."""
    columns, is_live, attempts = row[: len(VALUE)], row[len(VALUE)], row[len(VALUE) + 1 :]
    if not columns[_DATA]:
        whole = chunks.whole(transaction, columns[0], columns[1], "") or ""
        columns = (*columns[:_DATA], whole, *columns[_DATA + 1 :])
    return ValueRecord(**fit("zrb_value", VALUE, columns)), is_live, attempts


def _returned(name: Callable[..., AttemptName | None], row: Row) -> Returned:
    *columns, session_name, task, number, step, error_type, message = row
    named = fit("zrb_return", RETURN, columns)
    del named["id"]
    error = None if error_type is None and message is None else ErrorRecord(error_type, message)
    return Returned(ReturnRecord(**named), name(session_name, task, number, step), error)


def _replaced(row: Row) -> Replaced:
    named = fit("zrb_replaced", REPLACED, row)
    del named["id"]
    record = ReplacedRecord(**named)
    return Replaced(record, codec.to_json(record.data))


def _attempt_name(
    home: str, session: str | None, task: str, number: int, step: str | None, *undone: int | None
) -> AttemptName | None:
    if session is None:
        return None
    given_back, failed = (_moment(*undone[place : place + 2]) for place in (0, 2)) if undone else (None, None)
    name = name_within(home, session, task, number)
    return AttemptName(name, step, given_back, None if session == home else failed)


def _moment(at: int | None, tick: int | None) -> Moment | None:
    return None if at is None or tick is None else Moment(at, tick)


@statement
def _live(then: bool) -> sa.Select[str]:
    if not then:
        return from_live(sa.select(whole_text()).order_by(t.value.c.seq))
    replaced = (is_same_value(t.replaced, t.value), later(t.replaced, "replaced"))
    earlier = sa.select(t.replaced.c.data).where(*replaced).order_by(t.replaced.c.id)
    text = sa.func.coalesce(earlier.limit(literal(1)).scalar_subquery(), whole_text())
    return sa.select(text).where(t.value.c.queue_id == bindparam("queue_id"), was_live()).order_by(t.value.c.seq)


def live_data(transaction: Transaction, queue_id: int, at: Moment | None = None) -> Iterator[str]:
    """Yield the encoded values of a queue that are live, or were live at a moment, in the order of the queue."""
    params = {"queue_id": queue_id, **(at.bounds if at else {})}
    return map(first_column, transaction.stream(_live(at is not None), params))


Ts = TypeVarTuple("Ts")


def _restricted(statement: sa.Select[*Ts], only: Only | None, then: bool) -> sa.Select[*Ts]:
    pushed = (by_then(t.value, "pushed"),) if then and only is None else ()
    return statement.where(t.value.c.queue_id == bindparam("queue_id"), *_asked(only, then), *pushed)


@statement
def _first_of_last(only: Only | None, then: bool) -> sa.Select[int]:
    before = bindparam("before", type_=sa.Integer)
    ordered = sa.select(t.value.c.seq).order_by(t.value.c.seq.desc()).limit(literal(1)).offset(before)
    return _restricted(ordered, only, then)


def first_of_last(
    executor: Executor, queue_id: int, count: int, *, only: Only | None = None, at: Moment | None = None
) -> int | None:
    """Return the number of the first one of a queue's last values; None if the queue has fewer."""
    params = {"queue_id": queue_id, "before": count - 1, **(at.bounds if at else {})}
    return next(map(first_column, executor.execute(_first_of_last(only, at is not None), params)), None)


@statement
def _earlier(only: Only | None, then: bool) -> sa.Select[str, int]:
    state: sa.ColumnElement[str] = sa.case((is_delayed(), literal("delayed")), else_=t.value.c.state)
    if then:  # what had become of the others by then, only their whole history tells
        state = sa.case((was_live(), literal("live")), else_=literal("no longer live"))
    counted = sa.select(state.label("state"), sa.func.count()).where(
        t.value.c.seq < bindparam("seq", type_=sa.BigInteger)
    )
    return _restricted(counted, only, then).group_by(literal(1))


def earlier(
    executor: Executor, queue_id: int, seq: int = 2**62, *, only: Only | None = None, at: Moment | None = None
) -> dict[str, int]:
    """Count the values before one of a queue, or all, by their state; at a moment, by whether they were live."""
    params = {"queue_id": queue_id, "seq": seq, **(at.bounds if at else {})}
    return {row[0]: row[1] for row in executor.execute(_earlier(only, at is not None), params)}


@statement
def _continued_as() -> sa.Select[int]:
    return (
        sa.select(t.value.c.seq)
        .where(
            t.value.c.queue_id == bindparam("queue_id"), t.value.c.moved_from == bindparam("seq", type_=sa.BigInteger)
        )
        .order_by(t.value.c.pushed_tick, t.value.c.seq)
    )


def continued_as(transaction: Transaction, queue_id: int, seq: int) -> list[int]:
    """Return the seqs of the values in the same queue that continue a value."""
    return list(map(first_column, transaction.execute(_continued_as(), {"queue_id": queue_id, "seq": seq})))
