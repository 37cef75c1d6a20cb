"""What must hold of the rows of a store (docs/promises.md), each as a statement that finds the rows that violate it.

`doctor` reports violations, `export` and `copy` leave out sessions that have one, and `import` refuses a document that
has one. What single columns may contain is stated in `db/columns.py`.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any, Literal

import sqlalchemy as sa

from zrb_store.db import columns
from zrb_store.db.columns import Columns
from zrb_store.db.dialect import byte_length, now, whole_text
from zrb_store.db.tables import attempt, change, chunk, output, queue, returned, run, session, value

Level = Literal["error", "warning"]
Condition = sa.ColumnElement[bool]

_CLOCK = "the clock was set back before `db upgrade` brought ticks; what is shown of those moments may be out of order"
_RERUN = "start or resume the session, which gives them back"
_RESTORE = "restore a backup, or fork the session before that task"
_RESTORE_VALUE = "restore a backup; `zrb-store get SESSION QUEUE --seq N` shows what is left"
_REPORT = "restore a backup, and report it as a bug of zrb-store"
_IMPOSSIBLE = "have a column with an invalid number, time or word"


@dataclass(frozen=True)
class Invariant:
    """A condition that must hold for all rows.

    Attributes:
        name: The name, for programs.
        wrong: What the message says about the rows that violate it.
        violation: The condition that a row violates it.
        rows: Selects the rows that it is about: the session's name, with queue and seq of a value, or task and number
            of an attempt.
        remedy: What the user can do.
        level: How serious a violation is.
        dialect: The database to which it applies, if it is only one.
    """

    name: str
    wrong: str
    violation: Condition
    rows: sa.Select[Any]
    remedy: str = _REPORT
    level: Level = "error"
    dialect: str | None = None

    @property
    def noun(self) -> str:
        """What the rows are called."""
        labels = self.rows.selected_columns
        return "session" if len(labels) == 1 else "attempt" if "task" in labels else "value"

    @property
    def statement(self) -> sa.Select[Any]:
        """Selects the rows that violate it."""
        return self.rows.where(self.violation)


# -- parts of conditions


def _literal(item: int | str) -> sa.ColumnElement[Any]:
    return sa.literal_column(f"'{item}'" if isinstance(item, str) else str(item))


def _is(column: sa.ColumnElement[Any], *words: str) -> Condition:
    return column.in_([_literal(word) for word in words])


def _any(source: Any, *conditions: Any) -> sa.Exists:
    return sa.exists(sa.select(_literal(1)).select_from(source).where(*conditions))


def _broken(table: sa.FromClause, rules: Columns, dialect: str) -> Condition:
    """Return the condition that a row has an invalid number, time or word; on SQLite also a value of another type."""
    conditions: list[Condition] = []
    for name, rule in rules.items():
        column = table.c[name]
        if rule.kind is int:
            conditions += [column < _literal(rule.least), column > _literal(rule.most)]
        if rule.words and name not in ("state", "status"):  # these have invariants of their own
            conditions.append(~_is(column, *rule.words))
        if dialect == "sqlite":
            conditions.append(~_is(sa.func.typeof(column), "text" if rule.kind is str else "integer", "null"))
            if rule.kind is bool:
                conditions.append(sa.cast(column, sa.Integer).not_in([_literal(0), _literal(1)]))
            if not rule.nullable:
                conditions.append(column.is_(None))
    return sa.or_(*conditions)


def _columns(name: str, wrong: str, rows: sa.Select[Any], table: sa.FromClause, rules: Columns) -> list[Invariant]:
    return [
        Invariant(name, wrong, _broken(table, rules, dialect), rows, _RESTORE, dialect=dialect)
        for dialect in ("sqlite", "postgresql")
    ]


# -- values

_pusher, _taker, _result = attempt.alias("pusher"), attempt.alias("taker"), value.alias("result")
_VALUES = sa.select(session.c.name, queue.c.name.label("queue"), value.c.seq).select_from(
    value.join(queue, queue.c.id == value.c.queue_id)
    .join(session, session.c.id == queue.c.session_id)
    .outerjoin(_pusher, _pusher.c.id == value.c.pushed_by)
    .outerjoin(_taker, _taker.c.id == value.c.taken_by)
)
_RETURNS = sa.select(session.c.name, queue.c.name.label("queue"), returned.c.seq).select_from(
    returned.join(queue, queue.c.id == returned.c.queue_id).join(session, session.c.id == queue.c.session_id)
)
_CHUNKS = _VALUES.join(chunk, sa.and_(chunk.c.queue_id == value.c.queue_id, chunk.c.seq == value.c.seq))
_previous, _later = chunk.alias("previous"), returned.alias("later")
_left_queue = _is(value.c.state, "taken", "removed")
_of_value = sa.and_(returned.c.queue_id == value.c.queue_id, returned.c.seq == value.c.seq)
_last_count = (
    sa.select(returned.c.deliveries)
    .where(_of_value, returned.c.deliveries.is_not(None))
    .order_by(returned.c.id.desc())
    .limit(_literal(1))
    .scalar_subquery()
)
_overlapping = returned.join(
    _later,
    sa.and_(
        _later.c.queue_id == returned.c.queue_id,
        _later.c.seq == returned.c.seq,
        _later.c.id > returned.c.id,
        _later.c.taken_tick < returned.c.returned_tick,
    ),
)


def _has_chunk(number: sa.ColumnElement[int]) -> sa.Exists:
    of_value = sa.and_(_previous.c.queue_id == value.c.queue_id, _previous.c.seq == value.c.seq)
    return _any(_previous, of_value, _previous.c.number == number)


_value = functools.partial(Invariant, rows=_VALUES)
_OF_VALUES = [
    _value(
        "value-state",
        "have an unknown state, or a state and an end time that contradict each other",
        sa.or_(
            ~_is(value.c.state, *columns.VALUE["state"].words), _is(value.c.state, "live") != value.c.ended_at.is_(None)
        ),
    ),
    _value(
        "value-taker",
        "are live, retracted or dead, but have a taker",
        sa.and_(value.c.taken_by.is_not(None), ~_left_queue),
    ),
    _value(
        "value-orphaned",
        "are marked orphaned, but were not taken, or their pusher was not given back",
        sa.and_(
            value.c.orphaned,
            # A readiness check has only one row, which is reopened after a give-back.
            sa.or_(
                ~_left_queue,
                sa.and_(
                    ~_is(_pusher.c.role, "check"),
                    _pusher.c.given_back_at.is_(None),
                    # What it pushed to other sessions was undone when it ended.
                    sa.or_(
                        _pusher.c.session_id == queue.c.session_id,
                        ~_is(_pusher.c.status, "failed", "interrupted", "lost"),
                    ),
                ),
            ),
        ),
    ),
    _value(
        "pusher-given-back",
        "are live or dead, or held and not marked orphaned, although the attempt that pushed them was given back",
        sa.and_(
            _pusher.c.given_back_at.is_not(None),
            sa.or_(_is(value.c.state, "live", "dead"), sa.and_(_left_queue, sa.not_(value.c.orphaned))),
        ),
    ),
    _value("taker-given-back", "are held by an attempt that was given back", _taker.c.given_back_at.is_not(None)),
    _value(
        "step-rests",
        "are held by a step although the attempt around it, which pushed them, was given back",
        sa.and_(_taker.c.parent_id == _pusher.c.id, _pusher.c.given_back_at.is_not(None)),
    ),
    _value(
        "value-deliveries",
        "have another count of deliveries than their returns, or are dead without any",
        sa.or_(
            value.c.deliveries != sa.func.coalesce(_last_count, value.c.deliveries),
            sa.and_(_is(value.c.state, "dead"), value.c.deliveries == _literal(0)),
        ),
    ),
    _value(
        "value-size",
        "are not as long as their stored size: the data is damaged",
        value.c.size != byte_length(whole_text()),
        remedy=_RESTORE_VALUE,
    ),
    _value(
        "value-times",
        "ended before they were pushed, or were taken while another attempt held them",
        sa.or_(
            value.c.ended_tick < value.c.pushed_tick,
            _any(
                returned,
                _of_value,
                sa.or_(
                    returned.c.returned_tick < returned.c.taken_tick,
                    returned.c.taken_tick < value.c.pushed_tick,
                    returned.c.returned_tick > value.c.ended_tick,
                ),
            ),
            _any(_overlapping, _of_value),
        ),
        level="warning",
        remedy=_CLOCK,
    ),
    *_columns("value-columns", _IMPOSSIBLE, _VALUES, value, columns.VALUE),
    *_columns("chunk-columns", "have a chunk with an invalid number, or without text", _CHUNKS, chunk, columns.CHUNK),
    _value(
        "value-text",
        "have no text, or two",
        (value.c.data == _literal("")) != _has_chunk(_literal(0)),
        remedy=_RESTORE_VALUE,
    ),
    _value(
        "value-chunks",
        "have a text of which a chunk is missing",
        sa.and_(chunk.c.number > _literal(0), ~_has_chunk(chunk.c.number - _literal(1))),
        remedy=_RESTORE_VALUE,
        rows=_CHUNKS,
    ),
    *_columns("return-columns", "have a return with an invalid number or time", _RETURNS, returned, columns.RETURN),
]

# -- attempts

_ATTEMPTS = sa.select(session.c.name, attempt.c.task, attempt.c.number).select_from(
    attempt.join(session, session.c.id == attempt.c.session_id).outerjoin(run, run.c.id == attempt.c.run_id)
)
_OUTPUT = _ATTEMPTS.join(output, output.c.attempt_id == attempt.c.id)
_before, _earlier = output.alias("before"), output.alias("earlier")
_parent, _twin, _later_run = attempt.alias("parent"), attempt.alias("twin"), run.alias("later_run")
# A run that only reclaims leaves what was done to queues of its own session to the next run.
_newest_real_run = (
    sa.select(sa.func.max(_later_run.c.number))
    .where(_later_run.c.session_id == attempt.c.session_id, ~_is(_later_run.c.origin, "reclaim"))
    .scalar_subquery()
)
_is_step = _is(attempt.c.role, "step")
_running = _is(attempt.c.status, "running")
_has_parent = attempt.c.parent_id.is_not(None)
_step_id = attempt.c.step_of + _literal("/") + sa.cast(attempt.c.step_number, sa.Text)


def _first_of_several(name: str, other: str) -> Condition:
    """Return the condition that a step is the first of those that share `name`, but not all of these share `other`."""
    twin = attempt.alias("twin")
    return attempt.c.id.in_(
        sa.select(sa.func.min(twin.c.id))
        .where(twin.c.step_of.is_not(None))
        .group_by(twin.c.session_id, twin.c.step_of, twin.c[name])
        .having(sa.func.min(twin.c[other]) != sa.func.max(twin.c[other]))
    )


_attempt = functools.partial(Invariant, rows=_ATTEMPTS)
_OF_ATTEMPTS = [
    _attempt(
        "attempt-status",
        "have an unknown status, or a status and an end time that contradict each other",
        sa.or_(
            ~_is(attempt.c.status, *columns.ATTEMPT["status"].words),
            _running != attempt.c.ended_at.is_(None),
            sa.and_(attempt.c.given_back_at.is_not(None), attempt.c.ended_at.is_(None)),
        ),
    ),
    _attempt(
        "attempt-running",
        "run although their run has ended",
        sa.and_(_running, sa.or_(run.c.id.is_(None), run.c.ended_at.is_not(None))),
        remedy=_RERUN,
    ),
    _attempt(
        "attempt-unfinished",
        "did not complete and were not given back when a newer run or attempt began",
        sa.and_(
            attempt.c.given_back_at.is_(None),
            ~_is(attempt.c.status, "completed"),
            sa.or_(
                attempt.c.fence < _newest_real_run,
                _any(
                    _twin,
                    _twin.c.session_id == attempt.c.session_id,
                    _twin.c.task == attempt.c.task,
                    _twin.c.number > attempt.c.number,
                    _is(_twin.c.role, "step") == _is_step,  # a task may have a step's id
                    ~_is(attempt.c.role, "delivery"),  # a consumer may have several at once
                ),
            ),
        ),
        remedy=_RERUN,
    ),
    _attempt(
        "attempt-run",
        "have a fence that is not the number of their run, or a run of another session",
        sa.or_(
            run.c.session_id != attempt.c.session_id, run.c.number != attempt.c.fence, attempt.c.fence > session.c.fence
        ),
    ),
    _attempt(
        "attempt-result",
        "completed with a result that is not there, or is not theirs",
        sa.and_(
            _is(attempt.c.status, "completed"),
            sa.or_(
                attempt.c.result_queue_id.is_(None) != attempt.c.result_seq.is_(None),
                sa.and_(
                    attempt.c.result_queue_id.is_not(None),
                    ~_any(
                        _result,
                        _result.c.queue_id == attempt.c.result_queue_id,
                        _result.c.seq == attempt.c.result_seq,
                        _result.c.pushed_by == attempt.c.id,
                    ),
                ),
            ),
        ),
        remedy=_RESTORE,
    ),
    _attempt(
        "attempt-times",
        "ended before they started",
        attempt.c.ended_tick < attempt.c.started_tick,
        level="warning",
        remedy=_CLOCK,
    ),
    _attempt(
        "step-id",
        "are no steps but have what only steps have, or are steps without a task, a name or a number, or not named "
        "after these",
        sa.case(
            (
                _is_step,
                # If one of them is NULL, the id is too.
                sa.or_(
                    attempt.c.step.is_(None),
                    attempt.c.task != sa.func.coalesce(_step_id, _literal("")),
                    attempt.c.result_queue_id.is_not(None),
                ),
            ),
            else_=sa.or_(
                attempt.c.step_of.is_not(None),
                attempt.c.step.is_not(None),
                attempt.c.step_number.is_not(None),
                attempt.c.result.is_not(None),
                attempt.c.once,
                _has_parent,
            ),
        ),
    ),
    _attempt(
        "step-number",
        "are steps that have two numbers, or a number that two steps have",
        sa.or_(_first_of_several("step", "step_number"), _first_of_several("step_number", "step")),
    ),
    _attempt(
        "step-parent",
        "are steps of an attempt that is not there, or is of another task",
        # A fork does not copy attempts that had not completed, and a person who marks a step is no attempt.
        sa.and_(
            _is_step,
            _has_parent,
            ~_any(
                _parent,
                _parent.c.id == attempt.c.parent_id,
                _parent.c.id < attempt.c.id,
                _parent.c.session_id == attempt.c.session_id,
                _parent.c.task == attempt.c.step_of,
                ~_is(_parent.c.role, "step", "delivery"),
            ),
        ),
    ),
    _attempt(
        "step-running",
        "are steps that run although the attempt around them does not",
        sa.and_(
            _is_step, _running, ~_any(_parent, _parent.c.id == attempt.c.parent_id, _is(_parent.c.status, "running"))
        ),
        remedy=_RERUN,
    ),
    _attempt(
        "step-unfinished",
        "are steps that failed and were not given back, or have a result without having completed",
        sa.and_(
            _is_step,
            sa.or_(
                sa.and_(
                    _is(attempt.c.status, "failed", "interrupted"),
                    attempt.c.given_back_at.is_(None),
                    attempt.c.run_id.is_not(None),
                ),
                sa.and_(~_is(attempt.c.status, "completed"), attempt.c.result.is_not(None)),
            ),
        ),
    ),
    *_columns("attempt-columns", _IMPOSSIBLE, _ATTEMPTS, attempt, columns.ATTEMPT),
    *_columns("output-columns", "have a piece of output with an invalid number", _OUTPUT, output, columns.OUTPUT),
    _attempt(
        "output-pieces",
        "have output in which a piece is missing",
        sa.and_(
            # Of the pieces before it, the last one.
            _before.c.piece
            == sa.select(sa.func.max(_earlier.c.piece))
            .where(_earlier.c.attempt_id == output.c.attempt_id, _earlier.c.piece < output.c.piece)
            .scalar_subquery(),
            sa.or_(output.c.piece != _before.c.piece + _literal(1), output.c.start != _before.c.start + _before.c.size),
        ),
        rows=_OUTPUT.join(_before, _before.c.attempt_id == output.c.attempt_id),
    ),
]

# -- sessions

_SESSIONS = sa.select(session.c.name)
_RUNS = _SESSIONS.join(run, run.c.session_id == session.c.id)
_QUEUES = _SESSIONS.join(queue, queue.c.session_id == session.c.id)
_of_session = run.c.session_id == session.c.id
_open_run = run.c.ended_at.is_(None)
_highest = sa.select(sa.func.coalesce(sa.func.max(run.c.number), 0)).where(_of_session).scalar_subquery()
_open_runs = sa.select(sa.func.count()).select_from(run).where(_of_session, _open_run).scalar_subquery()

_session = functools.partial(Invariant, rows=_SESSIONS)
_OF_SESSIONS = [
    _session(
        "session-status",
        "have an unknown status, or a status and an end time that contradict each other",
        sa.or_(
            ~_is(session.c.status, *columns.SESSION["status"].words),
            _is(session.c.status, "open", "running") != session.c.finished_at.is_(None),
        ),
    ),
    _session("session-fence", "have a fence that is not the number of their newest run", session.c.fence != _highest),
    _session(
        "session-lease",
        "have more than one run that has not ended: two processes may run them",
        _open_runs > 1,
        remedy="end those processes and start the session again",
    ),
    _session(
        "session-run",
        "are running although no run is open, or not running although one is",
        _is(session.c.status, "running") != _any(run, _of_session, _open_run),
        remedy="start the session again",
    ),
    _session(
        "run-outcome",
        "have a run whose outcome and end time contradict each other",
        _any(run, _of_session, _open_run != run.c.outcome.is_(None)),
    ),
    _session(
        "queue-numbers",
        "have a queue whose counters are behind its values, so that numbers would be used twice",
        _any(
            queue.join(value, value.c.queue_id == queue.c.id),
            queue.c.session_id == session.c.id,
            sa.or_(value.c.seq > queue.c.high, value.c.seq < queue.c.low),
        ),
        dialect="postgresql",  # SQLite numbers new values by the rows as well
    ),
    *_columns("session-columns", _IMPOSSIBLE, _SESSIONS, session, columns.SESSION),
    *_columns("run-columns", "have a run with an invalid number, time or word", _RUNS, run, columns.RUN),
    *_columns("queue-columns", "have a queue whose counters are out of range", _QUEUES, queue, columns.QUEUE),
    *_columns(
        "change-columns",
        "have an unreadable record of a change by hand",
        sa.select(change.c.session),
        change,
        columns.CHANGE,
    ),
    _session(
        "lease-end",
        "have a lease that ends more than a day from now, so that nobody else can run them",
        sa.and_(_open_run, run.c.lease_expires_at > now() + _literal(columns.LONGEST_LEASE)),
        remedy="end the process that runs them; if there is none, set lease_expires_at in zrb_run to 0 with SQL",
        rows=_RUNS,
    ),
]

INVARIANTS = [*_OF_VALUES, *_OF_ATTEMPTS, *_OF_SESSIONS]
