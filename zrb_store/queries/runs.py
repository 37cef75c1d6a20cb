"""Start, end and read the runs of a session, and find the newest result of a task.

A session belongs to a project, and to its main task or otherwise to the program that last ran it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, TypeVar

from zrb_store.db.columns import ATTEMPT, RUN
from zrb_store.db.core import Params, bindparam, exists, is_one_of, literal, sa, statement, t
from zrb_store.db.dialect import among, new_id
from zrb_store.db.rows import fit, sound
from zrb_store.db.transaction import Executor, Row, Transaction, first_column
from zrb_store.masking import ErrorText
from zrb_store.process import Projects, program_of
from zrb_store.queries.attempts import ERROR, is_in_effect, lost_or_interrupted
from zrb_store.queries.clock import Moment, draw, now_given
from zrb_store.records import RunRecord, SessionRecord


def selection() -> sa.Select[*Row]:
    """Select all runs, without tracebacks, which are long; `record` converts a row."""
    return sa.select(*(sa.null() if name == "error_traceback" else t.run.c[name] for name in RUN))


def record(row: Row) -> RunRecord:
    """Return the record of a row of `selection`."""
    named = fit("zrb_run", RUN, row)
    named["command"] = json.loads(named["command"] or "[]")
    return RunRecord(**named)


@statement
def _of_session(last: bool) -> sa.Select[*Row]:
    found = selection().where(t.run.c.session_id == bindparam("session_id"))
    if last:
        return found.order_by(t.run.c.number.desc()).limit(literal(1))
    return found.order_by(t.run.c.number)


def of_session(executor: Executor, session_id: int) -> list[RunRecord]:
    """Return all runs of the session, the oldest first."""
    return list(sound(record, executor.execute(_of_session(False), {"session_id": session_id})))


def last(executor: Executor, session_id: int) -> RunRecord | None:
    """Return the newest run of the session, or None."""
    return next(map(record, executor.execute(_of_session(True), {"session_id": session_id})), None)


@statement
def _last_signs(dialect_name: str) -> sa.Select[int | None, int, int | None]:
    ended = sa.case((t.attempt.c.status != literal("lost"), t.attempt.c.ended_at))  # others end a lost one
    return (
        sa.select(t.attempt.c.run_id, sa.func.max(t.attempt.c.started_at), sa.func.max(ended))
        .where(among(dialect_name, t.attempt.c.run_id, "ids"))
        .group_by(t.attempt.c.run_id)
    )


def _last_sign(row: Row) -> tuple[int, int]:
    columns = {name: ATTEMPT[name] for name in ("run_id", "started_at", "ended_at")}
    named = fit("zrb_attempt", columns, row)
    return named["run_id"], max(named["started_at"], named["ended_at"] or 0)


def with_last_signs(executor: Executor, found: Sequence[RunRecord]) -> list[RunRecord]:
    """Return runs with the time when the attempts of each last began or ended by themselves."""
    if not found:
        return []
    rows = executor.execute(_last_signs(executor.dialect_name), {"ids": json.dumps([run.id for run in found])})
    signs = dict(sound(_last_sign, rows))
    return [replace(run, seen_at=signs.get(run.id, 0)) for run in found]


@statement
def _column(name: Literal["status", "error_traceback"]) -> sa.Select[str | None]:
    return sa.select(t.run.c[name]).where(t.run.c.id == bindparam("of_run"))


def traceback_of(executor: Executor, run_id: int) -> str | None:
    """Return the traceback of the error that ended a run outside of its attempts, or None."""
    return next(map(first_column, executor.execute(_column("error_traceback"), {"of_run": run_id})), None)


def status_of(executor: Executor, run_id: int) -> tuple[str | None] | None:
    """Return the status of a run, in a tuple; None if the run is not there."""
    return next(iter(executor.execute(_column("status"), {"of_run": run_id})), None)


def last_started(runs: Sequence[RunRecord]) -> RunRecord | None:
    """Return the newest run that is no reclaim, given all runs of a session."""
    return next((run for run in reversed(runs) if run.origin != "reclaim"), None)


def acknowledged_at(runs: Sequence[RunRecord]) -> int | None:
    """Return when `ack` acknowledged how a session ended, given all its runs; None if it did not."""
    last = last_started(runs)
    return None if last is None else last.acknowledged_at


def is_newest() -> sa.Exists:
    """Return a condition for each write of a run: no newer run has taken over its session."""
    return sa.exists(
        sa.select(literal(1))
        .where(t.session.c.id == t.run.c.session_id, t.session.c.fence == t.run.c.number)
        .with_for_update(read=True)
    )


@statement
def _lose() -> sa.Update:
    return (
        sa.update(t.run)
        .where(t.run.c.session_id == bindparam("of_session"), t.run.c.ended_at.is_(None))
        .values(
            **now_given("ended"),
            status=sa.case((t.run.c.stop_requested_at.is_not(None), literal("interrupted")), else_=literal("lost")),
        )
    )


_LATER = (
    *("id", "suspected_at", "ended_at", "ended_tick", "status", "notified_at", *ERROR),
    *("stop_requested_at", "acknowledged_at", "inputs"),
)
_STARTED = [name for name in RUN if name not in _LATER]


@statement
def _insert() -> sa.sql.dml.ReturningInsert[int]:
    new = {"id": new_id("zrb_run"), **{name: bindparam(name) for name in _STARTED}}
    return sa.insert(t.run).values(new).returning(t.run.c.id)


_SESSION_COLUMNS = ("project", "task", "path", "inputs", "traceparent")


@statement
def _start_session() -> sa.Update:
    return (
        sa.update(t.session)
        .where(t.session.c.id == bindparam("of_session"))
        .values({name: bindparam(f"new_{name}") for name in _SESSION_COLUMNS})
        .values(
            status=literal("running"),
            fence=bindparam("new_fence"),
            ended_at=None,
            ended_tick=None,
            parent=sa.func.coalesce(t.session.c.parent, bindparam("new_parent", type_=sa.Text)),
        )
    )


@statement
def _keep_inputs() -> sa.Update:
    earlier = sa.update(t.run).where(t.run.c.session_id == bindparam("of_session"), t.run.c.inputs.is_(None))
    return earlier.values(inputs=bindparam("kept_inputs"))


@statement
def _inputs_then() -> sa.Select[str | None]:
    by_then = t.run.c.started_tick <= bindparam("until_tick", type_=sa.BigInteger)
    found = sa.select(t.run.c.inputs).where(t.run.c.session_id == bindparam("session_id"), by_then)
    return found.order_by(t.run.c.number.desc()).limit(literal(1))


def inputs_then(executor: Executor, session: SessionRecord, tick: int) -> str | None:
    """Return the inputs that a session had at a moment, encoded: those of its last run by then."""
    rows = executor.execute(_inputs_then(), {"session_id": session.id, "until_tick": tick})
    return next((inputs for (inputs,) in rows if inputs is not None), session.inputs)


def start(
    transaction: Transaction, session: SessionRecord, lease: int, run_columns: Params, session_columns: Params
) -> tuple[int, int]:
    """Start a run with a lease of so many microseconds, and return its id and its number, which is its fence number.

    The caller has checked that no other run is live.
    """
    number = session.fence + 1
    moment = draw(transaction)
    transaction.execute(_lose(), {"of_session": session.id, **moment.params})
    if number > 1 and session.inputs != session_columns["inputs"]:
        transaction.execute(_keep_inputs(), {"of_session": session.id, "kept_inputs": session.inputs})
    row = {
        **run_columns,
        "session_id": session.id,
        "number": number,
        "started_at": moment.at,
        "started_tick": moment.tick,
        "lease_expires_at": moment.at + lease,
    }
    [[run_id]] = transaction.execute(_insert(), row)
    renamed = {f"new_{name}": text for name, text in session_columns.items()}
    transaction.execute(_start_session(), {"of_session": session.id, "new_fence": number, **renamed})
    return run_id, number


@statement
def _lock_session() -> sa.Select[int]:
    return sa.select(literal(1)).where(t.session.c.id == bindparam("of_session")).with_for_update(key_share=True)


@statement
def _end() -> sa.sql.dml.ReturningUpdate[str]:
    given = bindparam("new_status", type_=sa.Text)
    may_be_unfinished = sa.or_(is_one_of(given, "failed", "waiting"), bindparam("unless_stopped", type_=sa.Boolean))
    was_stopped = sa.and_(may_be_unfinished, t.run.c.stop_requested_at.is_not(None))
    return (
        sa.update(t.run)
        .where(t.run.c.id == bindparam("of_run"), t.run.c.ended_at.is_(None), is_newest())
        .values(
            **now_given("ended"),
            status=sa.case((was_stopped, literal("interrupted")), else_=given),
            notified_at=sa.func.coalesce(bindparam("told", type_=sa.BigInteger), t.run.c.notified_at),
            acknowledged_at=None,  # it seemed to have died
        )
        .returning(t.run.c.status)
    )


@statement
def _keep_error() -> sa.Update:
    return (
        sa.update(t.run)
        .where(
            t.run.c.id == bindparam("of_run"),
            ~exists(
                t.attempt.c.run_id == bindparam("of_run"),
                t.attempt.c.error_type.is_not(None),
                sa.or_(
                    bindparam("says_little", type_=sa.Boolean),
                    sa.and_(
                        t.attempt.c.error_type == bindparam("error_type"),
                        t.attempt.c.error_message == bindparam("error_message"),
                    ),
                ),
            ),
        )
        .values({name: bindparam(name) for name in ERROR})
    )


@statement
def _end_attempts(status: Literal["interrupted", "lost"]) -> sa.sql.dml.ReturningUpdate[int]:
    # Also those of an earlier run, if this one ends before it could give them back.
    of_session = sa.select(t.run.c.id).where(t.run.c.session_id == bindparam("of_session"))
    return (
        sa.update(t.attempt)
        .where(t.attempt.c.run_id.in_(of_session), t.attempt.c.status == literal("running"))
        .values(status=lost_or_interrupted() if status == "lost" else literal(status), **now_given("ended"))
        .returning(t.attempt.c.id)
    )


def end_attempts(
    transaction: Transaction, session_id: int, status: Literal["interrupted", "lost"], moment: Moment, reason: str
) -> None:
    """End the attempts of a session that are running, and undo what they must not leave behind."""
    from zrb_store.queries.give_back import undo_ended

    ended = transaction.execute(_end_attempts(status), {"of_session": session_id, **moment.params})
    undo_ended(transaction, list(map(first_column, ended)), reason)


@statement
def _end_session() -> sa.Update:
    return (
        sa.update(t.session)
        .where(t.session.c.id == bindparam("of_session"))
        .values(status=bindparam("new_status"), **now_given("ended"))
    )


def end_session(transaction: Transaction, session_id: int, status: str, moment: Moment) -> None:
    """Give a session that no process runs another status."""
    transaction.execute(_end_session(), {"of_session": session_id, "new_status": status, **moment.params})


def end(
    transaction: Transaction,
    session_id: int,
    run_id: int,
    status: str,
    error: ErrorText | None = None,
    *,
    says_little: bool = False,
    told: bool = False,
    unless_stopped: bool = False,
) -> bool:
    """End a run and its lease, and interrupt its running attempts; return False if it has lost its lease.

    A failed run that was asked to stop ends as `interrupted`; with `unless_stopped`, so does a completed one.
    Its `error` is stored unless an attempt ended by it, or `says_little` and an attempt has any. `told` says that the
    command of `ZRB_STORE_NOTIFY` is started for this end.
    """
    if transaction.dialect_name != "sqlite":  # SQLite has one writer at a time
        transaction.execute(_lock_session(), {"of_session": session_id})
    moment = draw(transaction)
    params = {"of_session": session_id, "of_run": run_id, "new_status": status, **moment.params}
    how = {"told": moment.at if told else None, "unless_stopped": unless_stopped}
    ended = transaction.execute(_end(), {**params, **how})
    if not ended:
        return False
    if error is not None:
        kept = dict(zip(ERROR, error, strict=True))
        transaction.execute(_keep_error(), {"of_run": run_id, "says_little": says_little, **kept})
    end_attempts(transaction, session_id, "interrupted", moment, "interrupted")
    transaction.execute(_end_session(), {**params, "new_status": ended[0][0]})
    return True


T = TypeVar("T")
_READ = {name: RUN[name] for name in ("command", "folder")}


def _of_last_run(column: sa.Column[T]) -> sa.Case[T]:
    """Select a column of a session's last run that was not only reclaiming, if the session has no task."""
    found = (
        sa.select(column)
        .where(t.run.c.session_id == t.session.c.id, t.run.c.origin != literal("reclaim"))
        .order_by(t.run.c.number.desc())
        .limit(literal(1))
    )
    return sa.case((t.session.c.task.is_(None), found.scalar_subquery()))


def program_columns() -> tuple[sa.ColumnElement[str], ...]:
    """Return the columns to select beside those of sessions: `program` converts them."""
    return tuple(_of_last_run(t.run.c[name]) for name in _READ)


def program(columns: Row) -> str | None:
    """Return the path of the program that last ran a session without a task; None if the code was in no file."""
    named = fit("zrb_run", _READ, columns)
    return program_of(json.loads(named["command"] or "[]"), named["folder"])


def is_named(column: sa.ColumnElement[str], name: str) -> sa.ColumnElement[bool]:
    """Return the condition that a path is a name, or ends with it. LIKE would not know case on SQLite."""
    end = f"/{name}"
    return sa.or_(column == name, sa.func.substr(column, sa.func.length(column) - (len(end) - 1)) == end)


def is_of(projects: Projects) -> sa.ColumnElement[bool]:
    """Return the condition that a session is of one of these projects."""
    if projects.name is not None:
        return is_named(t.session.c.project, projects.name)
    # Not IN, which SQLAlchemy cannot compile in advance beside a parameter without a value.
    return sa.or_(*(t.session.c.project == folder for folder in projects.folders))


def _of_any_project() -> sa.Select[str, int]:
    return (
        sa.select(t.session.c.name, t.attempt.c.id)
        .select_from(t.attempt.join(t.session))
        .where(
            t.session.c.status == literal("completed"),
            t.attempt.c.task == bindparam("task"),
            is_in_effect(),
            t.attempt.c.result_seq.is_not(None),
        )
        .order_by(t.attempt.c.ended_tick.desc(), t.attempt.c.id.desc())
    )


@statement
def _newest_result(in_folder: bool) -> sa.Select[str, int]:
    found = _of_any_project()
    if in_folder:
        found = found.where(sa.or_(t.session.c.project == bindparam("folder"), t.session.c.project.is_(None)))
    return found.limit(literal(1))


def newest_result(
    transaction: Transaction, task: str, projects: Projects | None, of: str | None = None
) -> tuple[str, int] | None:
    """Find the newest attempt of a task that completed with a result and is in effect, among completed sessions.

    `projects` are searched beside sessions of none. `of` is a main task, or else a program's path or the end of that.
    """
    if of is None and (projects is None or len(projects.folders) == 1):  # the SQL of these is stored
        folder = None if projects is None else projects.folders[0]
        found = transaction.execute(_newest_result(folder is not None), {"task": task, "folder": folder})
        return next(iter(found), None)
    statement = _of_any_project()
    if projects is not None:
        statement = statement.where(sa.or_(is_of(projects), t.session.c.project.is_(None)))
    if of is None:
        return next(iter(transaction.execute(statement.limit(literal(1)), {"task": task})), None)
    statement = statement.where(sa.or_(t.session.c.task.is_(None), is_named(t.session.c.task, of)))
    rows = transaction.stream(statement.add_columns(t.session.c.task, *program_columns()), {"task": task})
    for name, attempt_id, main_task, *columns in rows:
        path = program(tuple(columns))
        if main_task is not None or (path is not None and (path == of or path.endswith(f"/{of}"))):
            return name, attempt_id
    return None
