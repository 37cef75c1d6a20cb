"""What must hold of the rows (design.md section 3), each as a statement that finds where it does not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy import literal_column

from zrb_store.db.tables import attempt, queue, returned, run, session, value
from zrb_store.db.transaction import Executor

SHOWN = 3
"""How many offending rows are named."""

Level = Literal["error", "warning"]

_CLOCK = "the clock was set back; what is shown of those moments may be out of order"
_RERUN = "start or resume the session, which gives them back"
RESTORE = "restore a backup, or fork the session before that task"
_REPORT = "restore a backup, and report it as a bug of zrb-store"


@dataclass(frozen=True)
class Invariant:
    """One thing that must hold.

    Attributes:
        name: For programs.
        wrong: What is said of the rows that break it.
        remedy: What to do.
        statement: Selects them: session, and queue and seq of values, task and number of attempts.
        level: How bad it is.
        dialect: The only database where it must hold.
    """

    name: str
    wrong: str
    remedy: str
    statement: sa.Select[Any]
    level: Level = "error"
    dialect: str | None = None


def violations(executor: Executor, invariant: Invariant) -> tuple[int, list[tuple[Any, ...]]]:
    """How many rows break an invariant, and the first of them."""
    found = invariant.statement.limit(SHOWN)
    rows = executor.execute(found)
    if len(rows) < SHOWN:
        return len(rows), rows
    counted = sa.select(sa.func.count()).select_from(invariant.statement.subquery())
    return executor.execute(counted)[0][0], rows


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
_held = _one_of(value.c.state, "taken removed")
_of_value = sa.and_(returned.c.queue_id == value.c.queue_id, returned.c.seq == value.c.seq)
_later = returned.alias("later")
_overlap = sa.exists(
    sa.select(literal_column("1"))
    .select_from(
        returned.join(
            _later,
            sa.and_(
                _later.c.queue_id == returned.c.queue_id,
                _later.c.seq == returned.c.seq,
                _later.c.id > returned.c.id,
                _later.c.taken_at < returned.c.returned_at,
            ),
        )
    )
    .where(_of_value)
)

_VALUE_INVARIANTS = [
    Invariant(
        "value-state",
        "are in a state that there is not, or live and ended at once, or neither",
        _REPORT,
        VALUES.where(
            sa.or_(
                ~_one_of(value.c.state, "live taken removed retracted"),
                _is(value.c.state, "live") != value.c.ended_at.is_(None),
            )
        ),
    ),
    Invariant(
        "value-taker",
        "are live or retracted although an attempt holds them",
        _REPORT,
        VALUES.where(value.c.taken_by.is_not(None), ~_held),
    ),
    Invariant(
        "value-orphaned",
        "are marked orphaned, which only a held value of a pusher that was given back can be",
        _REPORT,
        VALUES.where(
            value.c.orphaned,
            # A readiness check has one row, which is opened again after it was given back.
            sa.or_(~_held, sa.and_(~_is(_pusher.c.role, "check"), _pusher.c.given_back_at.is_(None))),
        ),
    ),
    Invariant(
        "pusher-given-back",
        "are live, or held and not marked orphaned, although the attempt that pushed them was given back",
        _REPORT,
        VALUES.where(
            _pusher.c.given_back_at.is_not(None),
            sa.or_(_is(value.c.state, "live"), sa.and_(_held, sa.not_(value.c.orphaned))),
        ),
    ),
    Invariant(
        "taker-given-back",
        "are held by an attempt that was given back",
        _REPORT,
        VALUES.where(_taker.c.given_back_at.is_not(None)),
    ),
    Invariant(
        "value-size",
        "are not as long as their stored size: the data is damaged",
        "restore a backup; `zrb-store get SESSION QUEUE --seq N` shows what is left",
        VALUES.where(value.c.size != sa.func.length(value.c.data)),
    ),
    Invariant(
        "value-times",
        "ended before they were pushed, or were taken while another attempt held them",
        _CLOCK,
        VALUES.where(
            sa.or_(
                value.c.ended_at < value.c.pushed_at,
                sa.exists(
                    sa.select(literal_column("1")).where(
                        _of_value,
                        sa.or_(
                            returned.c.returned_at < returned.c.taken_at,
                            returned.c.taken_at < value.c.pushed_at,
                            returned.c.returned_at > value.c.ended_at,
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

_ATTEMPT_INVARIANTS = [
    Invariant(
        "attempt-status",
        "have a status that there is not, or run and have ended at once, or neither",
        _REPORT,
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
                attempt.c.fence < session.c.fence,
                sa.exists(
                    sa.select(literal_column("1")).where(
                        _twin.c.session_id == attempt.c.session_id,
                        _twin.c.task == attempt.c.task,
                        _twin.c.number > attempt.c.number,
                    )
                ),
            ),
        ),
    ),
    Invariant(
        "attempt-run",
        "are not of the run and session that their fence names",
        _REPORT,
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
        ATTEMPTS.where(attempt.c.ended_at < attempt.c.started_at),
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
        "have a status that there is not, or have finished and not finished at once",
        _REPORT,
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
        _REPORT,
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
        "are running without a run that has not ended, or have one and are not",
        "start the session again",
        SESSIONS.where(_is(session.c.status, "running") != sa.exists(_runs.where(_open_run))),
    ),
    Invariant(
        "run-outcome",
        "have a run that ended without an outcome, or has one and has not ended",
        _REPORT,
        SESSIONS.where(sa.exists(_runs.where(_open_run != run.c.outcome.is_(None)))),
    ),
    Invariant(
        "queue-numbers",
        "have a queue that would give numbers again",
        _REPORT,
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
        dialect="postgresql",  # SQLite asks the rows as well
    ),
]

INVARIANTS = {
    "value": _VALUE_INVARIANTS,
    "attempt": _ATTEMPT_INVARIANTS,
    "session": _SESSION_INVARIANTS,
}
"""How rows must fit together, by what they are about. What each column may hold is in `column_invariants`."""
