"""Invariants of the rows of a store (guarantees.md), and the rows that violate them.

`doctor` reports violations, `export` and `copy` leave out sessions that have one, and `import` refuses a document that
has one. `db/columns.py` states the limits of single columns.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING, Literal

from zrb_store.db import columns
from zrb_store.db.core import exists, is_one_of, literal, made_once, sa, statement, t
from zrb_store.db.dialect import among, byte_length, now, whole_text
from zrb_store.db.transaction import Executor, Row, Transaction
from zrb_store.queries.attempts import attempt_as, is_of_no_task, is_step
from zrb_store.queries.damage import RESTORE, SHOWN, Invariant, invariant, label, row_rules, rows_of, say
from zrb_store.queries.values import is_same_value
from zrb_store.records import UNFINISHED

if TYPE_CHECKING:
    from zrb_store.queries.damage import Condition

_RERUN = "start or resume the session, which gives them back"
_RESTORE_VALUE = "restore a backup; `zrb-store get SESSION QUEUE --seq N` shows what is left"
_pusher, _taker = functools.partial(attempt_as, "pusher"), functools.partial(attempt_as, "taker")

# -- values


def _is_held() -> Condition:
    return is_one_of(t.value.c.state, "taken", "removed")


def _last_replaced(rows: sa.Table, *conditions: Condition) -> sa.ScalarSelect[int]:
    of_value = (is_same_value(t.replaced, rows), *conditions)
    return sa.select(sa.func.max(t.replaced.c.replaced_tick)).where(*of_value).scalar_subquery()


def _last_count() -> sa.ScalarSelect[int]:
    since_replaced = t.returned.c.returned_tick >= sa.func.coalesce(_last_replaced(t.returned), literal(0))
    # A dropped value keeps the count that it died with.
    is_drop = sa.and_(
        is_one_of(t.value.c.state, "removed"),
        t.returned.c.failed_deliveries == literal(0),
        t.returned.c.returned_tick == t.value.c.ended_tick,
    )
    return (
        sa.select(t.returned.c.failed_deliveries)
        .where(
            is_same_value(t.returned, t.value),
            t.returned.c.failed_deliveries.is_not(None),
            since_replaced,
            sa.not_(is_drop),
        )
        .order_by(t.returned.c.id.desc())
        .limit(literal(1))
        .scalar_subquery()
    )


def _overlapping() -> sa.Join:
    later = t.returned.alias("later")
    is_later = sa.and_(is_same_value(later, t.returned), later.c.id > t.returned.c.id)
    return t.returned.join(later, sa.and_(is_later, later.c.taken_tick < t.returned.c.returned_tick))


def _has_chunk(number: sa.ColumnElement[int]) -> sa.Exists:
    previous = t.chunk.alias("previous")
    return exists(is_same_value(previous, t.value), previous.c.number == number)


_value = functools.partial(invariant, "zrb_value")
_OF_VALUES = [
    _value(
        "value-state",
        "have an unknown state, or a state and an end time that contradict each other",
        lambda: sa.or_(
            ~is_one_of(t.value.c.state, *columns.VALUE["state"].words),
            is_one_of(t.value.c.state, "live") != t.value.c.ended_at.is_(None),
        ),
    ),
    _value(
        "value-taker",
        "are live, retracted or dead, but have a taker",
        lambda: sa.and_(t.value.c.taken_by.is_not(None), ~_is_held()),
    ),
    _value(
        "value-orphaned",
        "are marked orphaned, but were not taken, or their pusher was not given back",
        lambda: sa.and_(
            t.value.c.orphaned,
            # A readiness check has only one row, which is reopened after a give-back.
            sa.or_(
                ~_is_held(),
                sa.and_(
                    ~is_one_of(_pusher().c.kind, "check"),
                    _pusher().c.given_back_at.is_(None),
                    # What it pushed to other sessions was undone when it ended.
                    sa.or_(
                        _pusher().c.session_id == t.queue.c.session_id,
                        ~is_one_of(_pusher().c.status, *UNFINISHED),
                    ),
                ),
            ),
        ),
    ),
    _value(
        "pusher-given-back",
        "are live or dead, or held and not marked orphaned, although the attempt that pushed them was given back",
        lambda: sa.and_(
            _pusher().c.given_back_at.is_not(None),
            sa.or_(is_one_of(t.value.c.state, "live", "dead"), sa.and_(_is_held(), sa.not_(t.value.c.orphaned))),
        ),
    ),
    _value("taker-given-back", "are held by a given-back attempt", lambda: _taker().c.given_back_at.is_not(None)),
    _value(
        "step-rests",
        "are held by a step although the attempt around it, which pushed them, was given back",
        lambda: sa.and_(_taker().c.parent_id == _pusher().c.id, _pusher().c.given_back_at.is_not(None)),
    ),
    _value(
        "value-deliveries",
        "have another count of deliveries than their returns, or are dead without any",
        lambda: sa.or_(
            t.value.c.failed_deliveries
            != sa.func.coalesce(_last_count(), _last_replaced(t.value) * literal(0), t.value.c.failed_deliveries),
            sa.and_(is_one_of(t.value.c.state, "dead"), t.value.c.failed_deliveries == literal(0)),
        ),
    ),
    _value(
        "value-size",
        "are not as long as their stored size: the data is damaged",
        lambda: sa.or_(
            t.value.c.size != byte_length(whole_text()),
            _last_replaced(t.value, t.replaced.c.size != byte_length(t.replaced.c.data)).is_not(None),
        ),
        remedy=_RESTORE_VALUE,
    ),
    _value(
        "value-times",
        "ended before they were pushed, or were taken while another attempt held them",
        lambda: sa.or_(
            t.value.c.ended_tick < t.value.c.pushed_tick,
            exists(
                is_same_value(t.returned, t.value),
                sa.or_(
                    t.returned.c.returned_tick < t.returned.c.taken_tick,
                    t.returned.c.taken_tick < t.value.c.pushed_tick,
                    t.returned.c.returned_tick > t.value.c.ended_tick,
                ),
            ),
            exists(is_same_value(t.returned, t.value), rows=_overlapping()),
        ),
    ),
    _value(
        "value-text",
        "have no text, or two",
        lambda: (t.value.c.data == literal("")) != _has_chunk(literal(0)),
        remedy=_RESTORE_VALUE,
    ),
    row_rules("zrb_value", "value-rules"),
    invariant(
        "zrb_chunk",
        "value-chunks",
        "have a text with a missing chunk",
        lambda: sa.and_(t.chunk.c.number > literal(0), ~_has_chunk(t.chunk.c.number - literal(1))),
        remedy=_RESTORE_VALUE,
    ),
]

# -- attempts


@made_once
def _before() -> sa.FromClause:
    return t.output.alias("before")


def _last_piece_before() -> sa.ScalarSelect[int]:
    earlier = t.output.alias("earlier")
    of_attempt = earlier.c.attempt_id == t.output.c.attempt_id
    return (
        sa.select(sa.func.max(earlier.c.piece)).where(of_attempt, earlier.c.piece < t.output.c.piece).scalar_subquery()
    )


def _has_open_run() -> sa.Exists:
    open_run = t.run.alias("open_run")
    return exists(open_run.c.session_id == t.attempt.c.session_id, open_run.c.ended_at.is_(None), rows=open_run)


def _newest_real_run() -> sa.ScalarSelect[int]:
    # A run that only reclaims leaves what was done to queues of its own session to the next run, and so does one that
    # died while it ended commands: it has begun nothing.
    later_run, begun = t.run.alias("later_run"), t.attempt.alias("begun")
    return (
        sa.select(sa.func.max(later_run.c.number))
        .where(
            later_run.c.session_id == t.attempt.c.session_id,
            ~is_one_of(later_run.c.origin, "reclaim"),
            exists(begun.c.run_id == later_run.c.id, rows=begun),
        )
        .scalar_subquery()
    )


def _has_result() -> sa.Exists:
    result = t.value.alias("result")
    place = (result.c.queue_id == t.attempt.c.result_queue_id, result.c.seq == t.attempt.c.result_seq)
    return exists(*place, result.c.pushed_by == t.attempt.c.id)


def _has_twin_after() -> sa.Exists:
    twin = t.attempt.alias("twin")
    is_twin = (twin.c.session_id == t.attempt.c.session_id, twin.c.task == t.attempt.c.task)
    # A task may have a step's id, and a consumer several deliveries at once.
    return exists(
        *is_twin,
        twin.c.number > t.attempt.c.number,
        is_step(twin) == is_step(),
        ~is_one_of(t.attempt.c.kind, "delivery"),
    )


def _parent_is(*conditions: Condition) -> sa.Exists:
    """Return the condition that there is the attempt around a step, and that it meets these conditions."""
    return exists(attempt_as("parent").c.id == t.attempt.c.parent_id, *conditions)


def _is_parent_of_step() -> sa.Exists:
    parent = attempt_as("parent")
    same = (parent.c.session_id == t.attempt.c.session_id, parent.c.task == t.attempt.c.step_of)
    return _parent_is(parent.c.id < t.attempt.c.id, *same, ~is_of_no_task(parent))


def _first_of_several(shared: Collection[str], others: Collection[str]) -> Condition:
    """Return the condition that a step is the first of those that share some columns, but not all share the others."""
    twin = t.attempt.alias("twin")
    return t.attempt.c.id.in_(
        sa.select(sa.func.min(twin.c.id))
        .where(twin.c.step_of.is_not(None))
        .group_by(twin.c.session_id, twin.c.step_of, *(twin.c[name] for name in shared))
        .having(sa.or_(*(sa.func.min(twin.c[name]) != sa.func.max(twin.c[name]) for name in others)))
    )


_OF_TASKS = ("task", "check", "server", "fallback", "manual", "delivery")  # the kinds of attempts that are no steps
_attempt = functools.partial(invariant, "zrb_attempt")
_OF_ATTEMPTS = [
    _attempt(
        "attempt-status",
        "have an unknown status, or a status and an end time that contradict each other",
        lambda: sa.or_(
            ~is_one_of(t.attempt.c.status, *columns.ATTEMPT["status"].words),
            is_one_of(t.attempt.c.status, "running") != t.attempt.c.ended_at.is_(None),
            sa.and_(t.attempt.c.given_back_at.is_not(None), t.attempt.c.ended_at.is_(None)),
        ),
    ),
    _attempt(
        "attempt-running",
        "run although no run of their session does",
        # While a new run ends the commands of the one before it, attempts of that one are not ended yet.
        lambda: sa.and_(is_one_of(t.attempt.c.status, "running"), sa.or_(t.run.c.id.is_(None), ~_has_open_run())),
        remedy=_RERUN,
    ),
    _attempt(
        "attempt-unfinished",
        "did not complete and were not given back when a newer run or attempt began",
        lambda: sa.and_(
            t.attempt.c.given_back_at.is_(None),
            ~is_one_of(t.attempt.c.status, "completed"),
            sa.or_(t.attempt.c.fence < _newest_real_run(), _has_twin_after()),
        ),
        remedy=_RERUN,
    ),
    _attempt(
        "attempt-run",
        "have a fence that is not the number of their run, or a run of another session",
        lambda: sa.or_(
            t.run.c.session_id != t.attempt.c.session_id,
            t.run.c.number != t.attempt.c.fence,
            t.attempt.c.fence > t.session.c.fence,
        ),
    ),
    _attempt(
        "attempt-result",
        "completed with a missing result, or with another attempt's result",
        lambda: sa.and_(
            is_one_of(t.attempt.c.status, "completed"),
            sa.or_(
                t.attempt.c.result_queue_id.is_(None) != t.attempt.c.result_seq.is_(None),
                sa.and_(t.attempt.c.result_queue_id.is_not(None), ~_has_result()),
            ),
        ),
        remedy=RESTORE,
    ),
    _attempt(
        "attempt-times",
        "ended before they started",
        lambda: t.attempt.c.ended_tick < t.attempt.c.started_tick,
    ),
    _attempt(
        "step-id",
        "have fields or a kind of steps without being steps, or are steps without a task, a kind, a name or a number, "
        "or not named after these",
        lambda: sa.case(
            (
                is_step(),
                # If one of them is NULL, the id is too.
                sa.or_(
                    t.attempt.c.step.is_(None),
                    is_one_of(t.attempt.c.kind, *_OF_TASKS),
                    t.attempt.c.task
                    != sa.func.coalesce(
                        t.attempt.c.step_of + literal("/") + sa.cast(t.attempt.c.step_number, sa.Text), literal("")
                    ),
                    t.attempt.c.result_queue_id.is_not(None),
                ),
            ),
            else_=sa.or_(
                ~is_one_of(t.attempt.c.kind, *_OF_TASKS),
                t.attempt.c.step.is_not(None),
                t.attempt.c.step_number.is_not(None),
                sa.and_(is_one_of(t.attempt.c.status, "completed"), t.attempt.c.result.is_not(None)),
                t.attempt.c.once,
                t.attempt.c.parent_id.is_not(None),
            ),
        ),
    ),
    _attempt(
        "step-number",
        "are steps with two numbers, or with the number of another step",
        lambda: sa.or_(
            _first_of_several(("kind", "step"), ("step_number",)), _first_of_several(("step_number",), ("kind", "step"))
        ),
    ),
    _attempt(
        "step-parent",
        "are steps of a missing attempt, or of an attempt of another task",
        # A fork does not copy attempts that had not completed, and a person who marks a step is no attempt.
        lambda: sa.and_(is_step(), t.attempt.c.parent_id.is_not(None), ~_is_parent_of_step()),
    ),
    _attempt(
        "step-running",
        "are steps that run although the attempt around them does not",
        lambda: sa.and_(
            is_step(),
            is_one_of(t.attempt.c.status, "running"),
            ~_parent_is(is_one_of(attempt_as("parent").c.status, "running")),
        ),
        remedy=_RERUN,
    ),
    _attempt(
        "step-unfinished",
        "are steps that failed and were not given back, or have a result without having completed",
        lambda: sa.and_(
            is_step(),
            sa.or_(
                sa.and_(
                    is_one_of(t.attempt.c.status, "failed", "interrupted"),
                    t.attempt.c.given_back_at.is_(None),
                    t.attempt.c.run_id.is_not(None),
                ),
                sa.and_(~is_one_of(t.attempt.c.status, "completed"), t.attempt.c.result.is_not(None)),
            ),
        ),
    ),
    row_rules("zrb_attempt", "attempt-rules"),
    _attempt(
        "output-pieces",
        "have output with a missing piece",
        lambda: sa.and_(
            _before().c.piece == _last_piece_before(),
            sa.or_(
                t.output.c.piece != _before().c.piece + literal(1),
                t.output.c.start != _before().c.start + _before().c.size,
            ),
        ),
        rows=lambda: rows_of("zrb_output").join(_before(), _before().c.attempt_id == t.output.c.attempt_id),
    ),
]

# -- sessions


def _of_runs(what: sa.ColumnElement[int], *conditions: Condition) -> sa.ScalarSelect[int]:
    of_session = t.run.c.session_id == t.session.c.id
    return sa.select(what).select_from(t.run).where(of_session, *conditions).scalar_subquery()


def _has_run(condition: Condition) -> sa.Exists:
    return exists(t.run.c.session_id == t.session.c.id, condition)


_session = functools.partial(invariant, "zrb_session")
_OF_SESSIONS = [
    _session(
        "session-status",
        "have an unknown status, or a status and an end time that contradict each other",
        lambda: sa.or_(
            ~is_one_of(t.session.c.status, *columns.SESSION["status"].words),
            is_one_of(t.session.c.status, "open", "running") != t.session.c.ended_at.is_(None),
        ),
    ),
    _session(
        "session-fence",
        "have a fence that is not the number of their newest run",
        lambda: t.session.c.fence != _of_runs(sa.func.coalesce(sa.func.max(t.run.c.number), 0)),
    ),
    _session(
        "session-lease",
        "have more than one run that has not ended: two processes may run them",
        lambda: _of_runs(sa.func.count(), t.run.c.ended_at.is_(None)) > 1,
        remedy="end those processes and start the session again",
    ),
    _session(
        "session-run",
        "are running although no run is open, or not running although one is",
        lambda: is_one_of(t.session.c.status, "running") != _has_run(t.run.c.ended_at.is_(None)),
        remedy="start the session again",
    ),
    _session(
        "run-status",
        "have a run whose status and end time contradict each other",
        lambda: _has_run(t.run.c.ended_at.is_(None) != t.run.c.status.is_(None)),
    ),
    _session(
        "queue-numbers",
        "have a queue whose counters are behind its values: numbers would be used twice",
        lambda: exists(
            t.queue.c.session_id == t.session.c.id,
            sa.or_(t.value.c.seq > t.queue.c.high, t.value.c.seq < t.queue.c.low),
            rows=t.queue.join(t.value, t.value.c.queue_id == t.queue.c.id),
        ),
        dialect="postgresql",  # SQLite numbers new values by the rows as well
    ),
    row_rules("zrb_queue", "queue-rules"),
    invariant(
        "zrb_run",
        "lease-end",
        "have a lease that ends more than a day from now: no other process can run them",
        lambda: sa.and_(t.run.c.ended_at.is_(None), t.run.c.lease_expires_at > now() + literal(columns.LONGEST_LEASE)),
        remedy="end the process that runs them; if there is none, set lease_expires_at in zrb_run to 0 with SQL",
    ),
]

# -- waits


def _is_parked() -> Condition:
    return sa.and_(is_one_of(t.attempt.c.status, "waiting"), t.attempt.c.given_back_at.is_(None))


def _has_waiting_step() -> sa.Exists:
    step = t.attempt.alias("step")
    of_task = (step.c.session_id == t.attempt.c.session_id, step.c.step_of == t.attempt.c.task)
    return exists(*of_task, step.c.parent_id == t.attempt.c.id, is_one_of(step.c.status, "waiting"))


_OF_WAITS = [
    _attempt(
        "wait-parent",
        "are steps that wait in an attempt that does not",
        lambda: sa.and_(
            is_step(),
            _is_parked(),
            ~_parent_is(is_one_of(attempt_as("parent").c.status, "waiting")),
        ),
        remedy=_RERUN,
    ),
    _attempt(
        "wait-step",
        "wait although no step of them does",
        lambda: sa.and_(~is_step(), _is_parked(), ~_has_waiting_step()),
        remedy=_RERUN,
    ),
    _session(
        "session-waiting",
        "wait although their last run ended in another way",
        lambda: sa.and_(
            is_one_of(t.session.c.status, "waiting"),
            ~exists(
                t.run.c.session_id == t.session.c.id,
                t.run.c.number == t.session.c.fence,
                is_one_of(t.run.c.status, "waiting"),
            ),
        ),
        remedy=_RERUN,
    ),
]

INVARIANTS = [*_OF_VALUES, *_OF_ATTEMPTS, *_OF_WAITS, *_OF_SESSIONS]

if TYPE_CHECKING:
    Name = str
else:
    Name = Literal[tuple(each.name for each in INVARIANTS)]  # so that the SQL of each one is stored
_BY_NAME = {each.name: each for each in INVARIANTS}


@statement
def _first(dialect_name: str, name: Name) -> sa.Select[*Row]:
    return _BY_NAME[name].violating(dialect_name).limit(SHOWN)


def violations(executor: Executor, invariants: Sequence[Invariant]) -> Iterator[tuple[Invariant, str]]:
    """Yield each of the invariants that rows violate, with the message about them."""
    name = executor.dialect_name
    for each in invariants:
        count = len(rows := executor.execute(_first(name, each.name)))
        if count == SHOWN:
            every = sa.select(sa.func.count()).select_from(each.violating(name).subquery())
            count = executor.execute(every)[0][0]
        if count:
            yield each, say(each.noun, each.wrong, count, [label(row) for row in rows])


def of_database(dialect_name: str) -> list[Invariant]:
    """Return the invariants that apply to this kind of database."""
    return [each for each in INVARIANTS if each.dialect in (None, dialect_name)]


@statement
def _damaged(dialect_name: str, name: Name, chosen: bool) -> sa.Select[*Row]:
    violating = _BY_NAME[name].violating(dialect_name)
    session_name = violating.selected_columns[0]
    found = violating.with_only_columns(session_name).distinct()
    return found.where(among(dialect_name, session_name, "names")) if chosen else found


def damaged_sessions(transaction: Transaction, names: Sequence[str] | None = None) -> dict[str, str]:
    """Return the sessions, of these or of all, that violate an invariant, each with what is wrong with it."""
    damaged: dict[str, str] = {}
    for each in of_database(transaction.dialect_name):
        found = _damaged(transaction.dialect_name, each.name, names is not None)
        for (name,) in transaction.execute(found, {"names": json.dumps(list(names or ()))}):
            damaged.setdefault(name, f"{each.noun}s that {each.wrong}")
    return damaged
