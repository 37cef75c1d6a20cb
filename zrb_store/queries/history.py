"""What happened to values and to steps: the history of values, the last ones of a queue, and the steps of a session."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from typing import Any, Literal, NamedTuple, TypeVar, TypeVarTuple

from zrb_store.db.columns import ATTEMPT, REPLACED, RETURN, VALUE, ColumnRule, readable
from zrb_store.db.core import bindparam, is_one_of, literal, made_once, sa, statement, t
from zrb_store.db.dialect import among, short_text, whole_text
from zrb_store.db.transaction import Executor, Row, Transaction
from zrb_store.queries import attempts, chunks
from zrb_store.queries.by_hand import Change
from zrb_store.queries.clock import Moment, by_then, later
from zrb_store.queries.show import attempts_without
from zrb_store.queries.steps import is_answer
from zrb_store.queries.values import from_live, is_dead, is_delayed, is_due, is_held, is_same_value, was_live
from zrb_store.records import UNFINISHED, UNSUCCESSFUL, AttemptRecord, ReplacedRecord, ReturnRecord, ValueRecord

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

    def join(self, rows: sa.FromClause, link: sa.Column[Any]) -> sa.FromClause:
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
    """An attempt that pushed or took a value. Of a step, `task` is its id, and `step` its name."""

    session: str
    task: str
    number: int
    step: str | None = None
    given_back: Moment | None = None
    failed: Moment | None = None

    def undone(self, session: str) -> Moment | None:
        """Return when its changes to queues of a session were undone, or None. Relatives of its own count as others."""
        return self.given_back if session == self.session or self.failed is None else self.failed


class Return(NamedTuple):
    """The return of a value to its queue."""

    record: ReturnRecord  # its row
    taker: AttemptName | None  # the attempt that held the value before, if it still exists
    # Type and message of the error with which that attempt ended; the message may be cut.
    error: tuple[str | None, str | None]


class Replacement(NamedTuple):
    """A replacement of a value's content by hand."""

    record: ReplacedRecord  # what the value was before
    by: Change | None = None  # who did it, if that is recorded and was looked for (`inspect/value.py`)

    @property
    def when(self) -> Moment:
        """When it happened."""
        return Moment(self.record.replaced_at, self.record.replaced_tick)


class ValueHistory(NamedTuple):
    """A value with everything that happened to it."""

    value: ValueRecord  # its present row; as of a moment, with the content of then
    is_live: bool  # whether it is in its queue, or was at the given moment
    pusher: AttemptName | None  # the attempt that pushed it, if there was one and it still exists
    taker: AttemptName | None  # the attempt that holds it now, if there is one and it still exists
    returns: list[Return]  # its returns to the queue, the oldest first
    replaced: list[Replacement]  # what it was before, the oldest first
    # Who pushed it from a shell outside any attempt, if that was looked for (`inspect/value.py`).
    pushed_from: Change | None = None
    taken_from: Change | None = None  # who took or dropped it so


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


def of_value(transaction: Transaction, queue_id: int, seq: int) -> ValueHistory | None:
    """Return the history of one value, or None if there is no such value."""
    return next(histories(transaction, "value", queue_id, seq=seq), None)


def histories(
    transaction: Transaction,
    scope: Scope,
    of: int,
    *,
    seq: int | None = None,
    only: Only | None = None,
    at: Moment | None = None,
    whole_errors: bool = False,
) -> Iterator[ValueHistory]:
    """Yield the histories of the values of a session or a queue.

    With `at`, those live at that moment are live, and have the content of then. The errors of deliveries are cut after
    `MESSAGE_LENGTH` characters, unless `whole_errors` are asked for.
    """
    scope = "end" if scope == "queue" and seq is not None else scope
    params = {"of": of, "seq": seq, **(at.bounds if at else {})}
    returns_of = _by_value(map(_return, transaction.stream(_returns(scope, whole_errors), params)))
    replaced_of = _by_value(map(_replacement, transaction.stream(_replacements(scope), params)))
    for row in transaction.stream(_values(scope, only, at is not None), params):
        history = _history(transaction, row)
        place = (history.value.queue_id, history.value.seq)
        history.returns.extend(returns_of(place))
        history.replaced.extend(replaced_of(place))
        later_one = at and next((each.record for each in history.replaced if not at.includes(*each.when)), None)
        if later_one:
            then = {name: getattr(later_one, name) for name in ("type", "size", "data")}
            history = history._replace(value=replace(history.value, **then))
        yield history


Event = TypeVar("Event", Return, Replacement)


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


_TIME, _TICK, _STEP, _ERROR_TYPE, _MESSAGE = (
    ATTEMPT[name] for name in ("given_back_at", "given_back_tick", "step", "error_type", "error_message")
)


def value_record(columns: Row) -> ValueRecord:
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
    record = value_record(tuple(columns))
    if record.state == "live" and not is_live:
        record = replace(record, state="delayed")
    return ValueHistory(record, bool(is_live), _attempt_name(*pusher), _attempt_name(*taker), [], [])


def _return(row: Row) -> Return:
    *columns, session_name, task, number, step, error_type, message = row
    named, damage = readable(RETURN, columns)
    del named["id"]
    error = (_text(_ERROR_TYPE, error_type), _text(_MESSAGE, message))
    return Return(ReturnRecord(**named, damage=damage), _attempt_name(session_name, task, number, step), error)


def _replacement(row: Row) -> Replacement:
    named, damage = readable(REPLACED, row)
    del named["id"]
    return Replacement(ReplacedRecord(**named, damage=damage))


def _text(rule: ColumnRule, text: str | None) -> str | None:
    return None if rule.problem(text) else text


def _attempt_name(session_name: str | None, task: str, number: int, step: Any, *undone: Any) -> AttemptName | None:
    if session_name is None:
        return None
    moments = (_moment(*undone[place : place + 2]) for place in range(0, len(undone), 2))
    return AttemptName(session_name, task, number, _text(_STEP, step), *moments)


def _moment(at: int | None, tick: int | None) -> Moment | None:
    if at is None or tick is None or _TIME.problem(at) or _TICK.problem(tick):
        return None
    return Moment(at, tick)


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
    return (row[0] for row in transaction.stream(_live(at is not None), params))


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
    return next((row[0] for row in executor.execute(_first_of_last(only, at is not None), params)), None)


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


class StepCounts(NamedTuple):
    """How many steps a task has, and how many attempts these have had."""

    task: str
    steps: int  # how many steps it has
    standing: int  # how many of them have completed and were not given back
    running: int  # how many attempts of steps are running
    failed: int  # how many attempts of steps failed
    interrupted: int  # how many were interrupted
    lost: int  # how many were lost
    of_agent: int  # how many attempts of steps named `model` there are: the first answer of an agent has this name


@statement
def _counts(dialect_name: str, then: bool) -> sa.Select[*Row]:
    status: sa.ColumnElement[str] = t.attempt.c.status
    given_back: sa.ColumnElement[bool] = t.attempt.c.given_back_at.is_not(None)
    if then:
        status = sa.case((by_then(t.attempt, "ended"), status), else_=literal("running"))
        given_back = sa.and_(given_back, by_then(t.attempt, "given_back"))
    is_dead = sa.and_(status == literal("running"), among(dialect_name, t.attempt.c.run_id, "dead_runs"))
    status = sa.case((is_dead, literal("lost")), else_=status)
    stands = sa.and_(status == literal("completed"), ~given_back)
    counted = (stands, *(status == literal(word) for word in ("running", *UNSUCCESSFUL)))
    return (
        sa.select(
            t.attempt.c.step_of,
            sa.func.count(t.attempt.c.step_number.distinct()),
            *(sa.func.count(sa.case((condition, literal(1)))) for condition in counted),
            sa.func.count(sa.case((is_answer(), literal(1)))),
        )
        .where(
            t.attempt.c.session_id == bindparam("session_id"),
            t.attempt.c.step_of.is_not(None),
            *[by_then(t.attempt, "started")] * then,
        )
        .group_by(t.attempt.c.step_of)
        .order_by(sa.func.min(t.attempt.c.id))
    )


def counts(
    executor: Executor, session_id: int, moment: Moment | None = None, *, dead_runs: Collection[int] = ()
) -> list[StepCounts]:
    """Count the steps of a session's tasks, in the order of their first steps. In dead runs, running ones are lost."""
    params = {"session_id": session_id, "dead_runs": json.dumps(list(dead_runs)), **(moment.bounds if moment else {})}
    found = executor.execute(_counts(executor.dialect_name, moment is not None), params)
    return [StepCounts(*row) for row in found]


@statement
def _with_results(then: bool) -> sa.Select[*Row]:
    found = (
        attempts_without("error_traceback")
        .add_columns(t.attempt.c.result)
        .where(t.attempt.c.step_of == bindparam("task"))
        .order_by(t.attempt.c.step_number, t.attempt.c.number)
    )
    return found.where(by_then(t.attempt, "started")) if then else found


_RESULT = {"result": ATTEMPT["result"]}


def of_task(
    transaction: Transaction, session_id: int, task: str, moment: Moment | None = None
) -> Iterator[tuple[AttemptRecord, str | None]]:
    """Yield the attempts of a task's steps, step by step, each with its encoded result."""
    params = {"session_id": session_id, "task": task, **(moment.bounds if moment else {})}
    for *columns, result in transaction.stream(_with_results(moment is not None), params):
        record = attempts.record(tuple(columns))
        named, damage = readable(_RESULT, (result,))
        yield replace(record, damage=record.damage + damage) if damage else record, named["result"]


@statement
def _running() -> sa.Select[*Row]:
    return attempts_without("arguments", "error_traceback").where(
        t.attempt.c.step_of.is_not(None), t.attempt.c.status == literal("running")
    )


def running(executor: Executor, session_id: int) -> list[AttemptRecord]:
    """Return the attempts of steps of a session that run, or ran when their process died."""
    return [attempts.record(row) for row in executor.execute(_running(), {"session_id": session_id})]


@statement
def _of_step() -> sa.Select[*Row]:
    return (
        attempts_without("error_traceback")
        .where(t.attempt.c.step_of.is_not(None), t.attempt.c.task == bindparam("step_id"))
        .order_by(t.attempt.c.number.desc())
        .limit(literal(1))
    )


def newest(executor: Executor, session_id: int, step_id: str) -> AttemptRecord | None:
    """Return the newest attempt of the step with the id `TASK/NUMBER`, or None if the session has no such step."""
    rows = executor.execute(_of_step(), {"session_id": session_id, "step_id": step_id})
    return attempts.record(rows[0]) if rows else None


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
    return [row[0] for row in transaction.execute(_continued_as(), {"queue_id": queue_id, "seq": seq})]
