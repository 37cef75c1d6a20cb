"""The invariants between rows and columns, as statements that find the rows that violate them (docs/promises.md)."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy import literal_column

from zrb_store.db.dialect import byte_length, whole_text
from zrb_store.db.tables import attempt, queue, returned, run, session, value
from zrb_store.db.transaction import Executor

SHOWN = 3
"""How many of the rows that violate an invariant are named."""

Level = Literal["error", "warning"]

_CLOCK = "the clock was set back before `db upgrade` brought ticks; what is shown of those moments may be out of order"
_RERUN = "start or resume the session, which gives them back"
RESTORE = "restore a backup, or fork the session before that task"
RESTORE_VALUE = "restore a backup; `zrb-store get SESSION QUEUE --seq N` shows what is left"
REPORT = "restore a backup, and report it as a bug of zrb-store"


@dataclass(frozen=True)
class Invariant:
    """A condition that must hold for all rows.

    Attributes:
        name: The name, for programs.
        wrong: What the message says about the rows that violate it.
        remedy: What the user can do.
        statement: Selects these rows: the session, with queue and seq of a value, or task and number of an attempt.
        level: How serious a violation is.
        dialect: The database to which it applies, if it is only one.
    """

    name: str
    wrong: str
    remedy: str
    statement: sa.Select[Any]
    level: Level = "error"
    dialect: str | None = None


def violations(executor: Executor, invariant: Invariant) -> tuple[int, list[tuple[Any, ...]]]:
    """Return how many rows violate an invariant, and the first of them."""
    rows = executor.execute(_first(invariant))
    if len(rows) < SHOWN:
        return len(rows), rows
    counted = sa.select(sa.func.count()).select_from(invariant.statement.subquery())
    return executor.execute(counted)[0][0], rows


@functools.cache  # of the same object, compiled once, although the tests check the rows a thousand times in a process
def _first(invariant: Invariant) -> sa.Select[Any]:
    return invariant.statement.limit(SHOWN)


def _one_of(column: Any, words: str) -> Any:
    return column.in_([literal_column(f"'{word}'") for word in words.split()])


def _is(column: Any, word: str) -> Any:
    return column == literal_column(f"'{word}'")


_pusher, _taker = attempt.alias("pusher"), attempt.alias("taker")
VALUES = sa.select(session.c.name, queue.c.name.label("queue"), value.c.seq).select_from(
    value.join(queue, queue.c.id == value.c.queue_id)
    .join(session, session.c.id == queue.c.session_id)
    .outerjoin(_pusher, _pusher.c.id == value.c.pushed_by)
    .outerjoin(_taker, _taker.c.id == value.c.taken_by)
)
_left_queue = _one_of(value.c.state, "taken removed")
_of_value = sa.and_(returned.c.queue_id == value.c.queue_id, returned.c.seq == value.c.seq)
_last_count = (
    sa.select(returned.c.deliveries)
    .where(_of_value, returned.c.deliveries.is_not(None))
    .order_by(returned.c.id.desc())
    .limit(literal_column("1"))
    .scalar_subquery()
)
_later = returned.alias("later")
_and_later = sa.and_(
    _later.c.queue_id == returned.c.queue_id,
    _later.c.seq == returned.c.seq,
    _later.c.id > returned.c.id,
    _later.c.taken_tick < returned.c.returned_tick,
)
_overlap = sa.exists(sa.select(literal_column("1")).select_from(returned.join(_later, _and_later)).where(_of_value))

_VALUE_INVARIANTS = [
    Invariant(
        "value-state",
        "have an unknown state, or a state and an end time that contradict each other",
        REPORT,
        VALUES.where(
            sa.or_(
                ~_one_of(value.c.state, "live taken removed retracted dead"),
                _is(value.c.state, "live") != value.c.ended_at.is_(None),
            )
        ),
    ),
    Invariant(
        "value-taker",
        "are live, retracted or dead, but have a taker",
        REPORT,
        VALUES.where(value.c.taken_by.is_not(None), ~_left_queue),
    ),
    Invariant(
        "value-orphaned",
        "are marked orphaned, but were not taken, or their pusher was not given back",
        REPORT,
        VALUES.where(
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
                        ~_one_of(_pusher.c.status, "failed interrupted lost"),
                    ),
                ),
            ),
        ),
    ),
    Invariant(
        "pusher-given-back",
        "are live or dead, or held and not marked orphaned, although the attempt that pushed them was given back",
        REPORT,
        VALUES.where(
            _pusher.c.given_back_at.is_not(None),
            sa.or_(_one_of(value.c.state, "live dead"), sa.and_(_left_queue, sa.not_(value.c.orphaned))),
        ),
    ),
    Invariant(
        "taker-given-back",
        "are held by an attempt that was given back",
        REPORT,
        VALUES.where(_taker.c.given_back_at.is_not(None)),
    ),
    Invariant(
        "value-deliveries",
        "have another count of deliveries than their returns, or are dead without any",
        REPORT,
        VALUES.where(
            sa.or_(
                value.c.deliveries != sa.func.coalesce(_last_count, value.c.deliveries),
                sa.and_(_is(value.c.state, "dead"), value.c.deliveries == literal_column("0")),
            )
        ),
    ),
    Invariant(
        "value-size",
        "are not as long as their stored size: the data is damaged",
        RESTORE_VALUE,
        VALUES.where(value.c.size != byte_length(whole_text())),
    ),
    Invariant(
        "value-times",
        "ended before they were pushed, or were taken while another attempt held them",
        _CLOCK,
        VALUES.where(
            sa.or_(
                value.c.ended_tick < value.c.pushed_tick,
                sa.exists(
                    sa.select(literal_column("1")).where(
                        _of_value,
                        sa.or_(
                            returned.c.returned_tick < returned.c.taken_tick,
                            returned.c.taken_tick < value.c.pushed_tick,
                            returned.c.returned_tick > value.c.ended_tick,
                        ),
                    )
                ),
                _overlap,
            )
        ),
        "warning",
    ),
]

ATTEMPTS = sa.select(session.c.name, attempt.c.task, attempt.c.number).select_from(
    attempt.join(session, session.c.id == attempt.c.session_id).outerjoin(run, run.c.id == attempt.c.run_id)
)
_result = value.alias("result")
_unfinished = sa.and_(attempt.c.given_back_at.is_(None), ~_is(attempt.c.status, "completed"))
_twin = attempt.alias("twin")
_later_run = run.alias("later_run")
# A run that only reclaims leaves what was done to queues of its own session to the next run.
_newest_real_run = sa.select(sa.func.max(_later_run.c.number)).where(
    _later_run.c.session_id == attempt.c.session_id, ~_is(_later_run.c.origin, "reclaim")
)

_ATTEMPT_INVARIANTS = [
    Invariant(
        "attempt-status",
        "have an unknown status, or a status and an end time that contradict each other",
        REPORT,
        ATTEMPTS.where(
            sa.or_(
                ~_one_of(attempt.c.status, "running completed failed interrupted lost"),
                _is(attempt.c.status, "running") != attempt.c.ended_at.is_(None),
                sa.and_(attempt.c.given_back_at.is_not(None), attempt.c.ended_at.is_(None)),
            )
        ),
    ),
    Invariant(
        "attempt-running",
        "run although their run has ended",
        _RERUN,
        ATTEMPTS.where(_is(attempt.c.status, "running"), sa.or_(run.c.id.is_(None), run.c.ended_at.is_not(None))),
    ),
    Invariant(
        "attempt-unfinished",
        "did not complete and were not given back when a newer run or attempt began",
        _RERUN,
        ATTEMPTS.where(
            _unfinished,
            sa.or_(
                attempt.c.fence < _newest_real_run.scalar_subquery(),
                sa.exists(
                    sa.select(literal_column("1")).where(
                        _twin.c.session_id == attempt.c.session_id,
                        _twin.c.task == attempt.c.task,
                        _twin.c.number > attempt.c.number,
                        _is(_twin.c.role, "step") == _is(attempt.c.role, "step"),  # a task may have a step's id
                        ~_is(attempt.c.role, "delivery"),  # a consumer may have several at once
                    )
                ),
            ),
        ),
    ),
    Invariant(
        "attempt-run",
        "have a fence that is not the number of their run, or a run of another session",
        REPORT,
        ATTEMPTS.where(
            sa.or_(
                run.c.session_id != attempt.c.session_id,
                run.c.number != attempt.c.fence,
                attempt.c.fence > session.c.fence,
            )
        ),
    ),
    Invariant(
        "attempt-result",
        "completed with a result that is not there, or is not theirs",
        RESTORE,
        ATTEMPTS.where(
            _is(attempt.c.status, "completed"),
            sa.or_(
                attempt.c.result_queue_id.is_(None) != attempt.c.result_seq.is_(None),
                sa.and_(
                    attempt.c.result_queue_id.is_not(None),
                    ~sa.exists(
                        sa.select(literal_column("1")).where(
                            _result.c.queue_id == attempt.c.result_queue_id,
                            _result.c.seq == attempt.c.result_seq,
                            _result.c.pushed_by == attempt.c.id,
                        )
                    ),
                ),
            ),
        ),
    ),
    Invariant(
        "attempt-times",
        "ended before they started",
        _CLOCK,
        ATTEMPTS.where(attempt.c.ended_tick < attempt.c.started_tick),
        "warning",
    ),
]

SESSIONS = sa.select(session.c.name)
_runs: sa.Select[Any] = sa.select(literal_column("1")).where(run.c.session_id == session.c.id)
_open_run = run.c.ended_at.is_(None)
_highest = sa.select(sa.func.coalesce(sa.func.max(run.c.number), 0)).where(run.c.session_id == session.c.id)
_open_runs = sa.select(sa.func.count()).where(run.c.session_id == session.c.id, _open_run)

_SESSION_INVARIANTS = [
    Invariant(
        "session-status",
        "have an unknown status, or a status and an end time that contradict each other",
        REPORT,
        SESSIONS.where(
            sa.or_(
                ~_one_of(session.c.status, "open running completed failed interrupted"),
                _one_of(session.c.status, "open running") != session.c.finished_at.is_(None),
            )
        ),
    ),
    Invariant(
        "session-fence",
        "have a fence that is not the number of their newest run",
        REPORT,
        SESSIONS.where(session.c.fence != _highest.scalar_subquery()),
    ),
    Invariant(
        "session-lease",
        "have more than one run that has not ended: two processes may run them",
        "end those processes and start the session again",
        SESSIONS.where(_open_runs.scalar_subquery() > 1),
    ),
    Invariant(
        "session-run",
        "are running although no run is open, or not running although one is",
        "start the session again",
        SESSIONS.where(_is(session.c.status, "running") != sa.exists(_runs.where(_open_run))),
    ),
    Invariant(
        "run-outcome",
        "have a run whose outcome and end time contradict each other",
        REPORT,
        SESSIONS.where(sa.exists(_runs.where(_open_run != run.c.outcome.is_(None)))),
    ),
    Invariant(
        "queue-numbers",
        "have a queue whose counters are behind its values, so that numbers would be used twice",
        REPORT,
        SESSIONS.where(
            sa.exists(
                sa.select(literal_column("1"))
                .select_from(queue.join(value, value.c.queue_id == queue.c.id))
                .where(
                    queue.c.session_id == session.c.id,
                    sa.or_(value.c.seq > queue.c.high, value.c.seq < queue.c.low),
                )
            )
        ),
        dialect="postgresql",  # SQLite numbers new values by the rows as well
    ),
]

INVARIANTS = {
    "value": _VALUE_INVARIANTS,
    "attempt": _ATTEMPT_INVARIANTS,
    "session": _SESSION_INVARIANTS,
}
"""The invariants by the kind of row that they are about. Those of single columns are in `column_invariants`."""
