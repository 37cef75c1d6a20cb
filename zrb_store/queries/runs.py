"""Start, end and read the runs of a session."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from zrb_store.db.columns import RUN, readable
from zrb_store.db.core import attempt, bindparam, literal_column, run, sa, session
from zrb_store.db.dialect import new_id
from zrb_store.db.transaction import Executor, Row, Transaction
from zrb_store.queries.clock import MOMENT, TICK, draw
from zrb_store.queries.give_back import undo_ended
from zrb_store.records import RunRecord, SessionRecord
from zrb_store.safe_text import ErrorText

ALL = sa.select(*(sa.null() if name == "error_traceback" else run.c[name] for name in RUN))
"""Selects all runs, without tracebacks, which are long; `record` converts a row."""


def record(row: Row) -> RunRecord:
    """Return the record of a row of `ALL`."""
    named, damage = readable(RUN, row)
    named["command"] = json.loads(named["command"] or "[]")
    return RunRecord(**named, damage=damage)


_OF_SESSION = ALL.where(run.c.session_id == bindparam("session_id"))
_IN_ORDER = _OF_SESSION.order_by(run.c.number)
_LAST = _OF_SESSION.order_by(run.c.number.desc()).limit(literal_column("1"))


def of_session(executor: Executor, session_id: int) -> list[RunRecord]:
    """Return all runs of the session, the oldest first."""
    return [record(row) for row in executor.execute(_IN_ORDER, {"session_id": session_id})]


def last(executor: Executor, session_id: int) -> RunRecord | None:
    """Return the newest run of the session, or None."""
    rows = executor.execute(_LAST, {"session_id": session_id})
    return record(rows[0]) if rows else None


_TRACEBACK = sa.select(run.c.error_traceback).where(run.c.id == bindparam("of_run"))


def traceback_of(executor: Executor, run_id: int) -> str | None:
    """Return the traceback of the error that ended a run outside of its attempts, or None."""
    rows = executor.execute(_TRACEBACK, {"of_run": run_id})
    return rows[0][0] if rows else None


_OUTCOME = sa.select(run.c.outcome).where(run.c.id == bindparam("of_run"))


def outcome_of(executor: Executor, run_id: int) -> tuple[str | None] | None:
    """Return the outcome of a run, in a tuple; None if the run is not there."""
    rows = executor.execute(_OUTCOME, {"of_run": run_id})
    return (rows[0][0],) if rows else None


is_newest = sa.exists(
    sa.select(literal_column("1"))
    .where(session.c.id == run.c.session_id, session.c.fence == run.c.number)
    .with_for_update(read=True)
)
"""A condition for each write of a run: no newer run has taken over its session."""

_LOSE = (
    sa.update(run)
    .where(run.c.session_id == bindparam("of_session"), run.c.ended_at.is_(None))
    .values(ended_at=MOMENT, ended_tick=TICK, outcome=literal_column("'lost'"))
)
_ERROR = ("error_type", "error_message", "error_traceback")
_LATER = ("id", "suspected_at", "ended_at", "ended_tick", "outcome", "told_at", *_ERROR)
_STARTED = [name for name in RUN if name not in _LATER]
_NEW = {"id": new_id(literal_column("zrb_run")), **{name: bindparam(name) for name in _STARTED}}
_INSERT = sa.insert(run).values(_NEW).returning(run.c.id)
_SESSION_COLUMNS = ("project", "task", "path", "inputs")
_START_SESSION = (
    sa.update(session)
    .where(session.c.id == bindparam("of_session"))
    .values(
        {name: bindparam(f"new_{name}") for name in _SESSION_COLUMNS},
    )
    .values(
        status=literal_column("'running'"),
        fence=bindparam("new_fence"),
        finished_at=None,
        finished_tick=None,
        parent=sa.func.coalesce(session.c.parent, bindparam("new_parent", type_=sa.Text)),
    )
)


class StartedRun(NamedTuple):
    """The id of a run that was started, and its number, which is also its fence number."""

    id: int
    number: int


def start(
    transaction: Transaction,
    session_record: SessionRecord,
    lease: int,
    run_columns: Mapping[str, Any],
    session_columns: Mapping[str, str | None],
) -> StartedRun:
    """Start a run, which gets the lease of the session. The caller has checked that no other run is live.

    Args:
        transaction: The open transaction, in which the session's row is locked.
        session_record: The session.
        lease: How long the lease lasts, in microseconds.
        run_columns: The columns of the run, except its number and its times.
        session_columns: `project`, `task`, `path`, `inputs` and `parent` of the session.
    """
    number = session_record.fence + 1
    moment = draw(transaction)
    transaction.execute(_LOSE, {"of_session": session_record.id, **moment.params})
    row = {
        **run_columns,
        "session_id": session_record.id,
        "number": number,
        "started_at": moment.at,
        "started_tick": moment.tick,
        "lease_expires_at": moment.at + lease,
    }
    [[run_id]] = transaction.execute(_INSERT, row)
    renamed = {f"new_{name}": text for name, text in session_columns.items()}
    transaction.execute(_START_SESSION, {"of_session": session_record.id, "new_fence": number, **renamed})
    return StartedRun(run_id, number)


_LOCK_SESSION: sa.Select[Any] = (
    sa.select(literal_column("1")).where(session.c.id == bindparam("of_session")).with_for_update(key_share=True)
)
_END = (
    sa.update(run)
    .where(run.c.id == bindparam("of_run"), run.c.ended_at.is_(None), is_newest)
    .values(
        ended_at=MOMENT,
        ended_tick=TICK,
        outcome=bindparam("new_outcome"),
        told_at=sa.func.coalesce(bindparam("told", type_=sa.BigInteger), run.c.told_at),
    )
    .returning(run.c.id)
)
_KEEP_ERROR = (
    sa.update(run)
    .where(
        run.c.id == bindparam("of_run"),
        ~sa.exists(
            sa.select(literal_column("1")).where(
                attempt.c.run_id == bindparam("of_run"),
                attempt.c.error_type.is_not(None),
                sa.or_(
                    bindparam("says_little", type_=sa.Boolean),
                    sa.and_(
                        attempt.c.error_type == bindparam("error_type"),
                        attempt.c.error_message == bindparam("error_message"),
                    ),
                ),
            )
        ),
    )
    .values({name: bindparam(name) for name in _ERROR})
)
_INTERRUPT_ATTEMPTS = (
    sa.update(attempt)
    .where(attempt.c.run_id == bindparam("of_run"), attempt.c.status == literal_column("'running'"))
    .values(status=literal_column("'interrupted'"), ended_at=MOMENT, ended_tick=TICK)
    .returning(attempt.c.id)
)
_END_SESSION = (
    sa.update(session)
    .where(session.c.id == bindparam("of_session"))
    .values(status=bindparam("new_outcome"), finished_at=MOMENT, finished_tick=TICK)
)


def end(
    transaction: Transaction,
    session_id: int,
    run_id: int,
    outcome: str,
    error: ErrorText | None = None,
    *,
    says_little: bool = False,
    told: bool = False,
) -> bool:
    """End a run and its lease. Attempts that are still running become interrupted.

    Args:
        transaction: The open transaction.
        session_id: The session of the run.
        run_id: The run.
        outcome: `completed`, `failed` or `interrupted`; it becomes the session's status.
        error: What ended it. It is stored unless an attempt of the run ended by it.
        says_little: Whether the error says less than that of any attempt.
        told: Whether the command of `ZRB_STORE_ON_FAILURE` is started for this end.

    Returns:
        False if the run has lost its lease.
    """
    if transaction.dialect_name != "sqlite":  # SQLite has one writer at a time
        transaction.execute(_LOCK_SESSION, {"of_session": session_id})
    moment = draw(transaction)
    params = {"of_session": session_id, "of_run": run_id, "new_outcome": outcome, **moment.params}
    if not transaction.execute(_END, {**params, "told": moment.at if told else None}):
        return False
    if error is not None:
        kept = dict(zip(_ERROR, error, strict=True))
        transaction.execute(_KEEP_ERROR, {"of_run": run_id, "says_little": says_little, **kept})
    interrupted = transaction.execute(_INTERRUPT_ATTEMPTS, params)
    undo_ended(transaction, [row[0] for row in interrupted], "interrupted")
    transaction.execute(_END_SESSION, params)
    return True
