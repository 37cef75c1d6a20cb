"""Sessions, their runs and the lease."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy import bindparam, literal_column

from zrb_store.db.dialect import insert_if_absent, now
from zrb_store.db.tables import attempt, change, run, session
from zrb_store.db.transaction import Executor, Row
from zrb_store.process import Identity
from zrb_store.records import RunRecord, SessionRecord

_SELECT = sa.select(*session.c)


def record(row: Row) -> SessionRecord:
    """A row of the session table as a record."""
    named = dict(zip(session.c.keys(), row, strict=True))
    named["path"] = json.loads(named["path"] or "[]")
    named["tasks"] = json.loads(named["tasks"] or "{}")
    named["pinned"] = bool(named["pinned"])
    return SessionRecord(**named)


_RUNS = sa.select(*run.c)


def run_record(row: Row) -> RunRecord:
    """A row of the run table as a record."""
    named = dict(zip(run.c.keys(), row, strict=True))
    named["command"] = json.loads(named["command"] or "[]")
    return RunRecord(**named)


_BY_NAME = _SELECT.where(session.c.name == bindparam("name"))
_BY_NAME_LOCKED = _BY_NAME.with_for_update()


def by_name(executor: Executor, name: str, *, lock: bool = False) -> SessionRecord | None:
    """The session of that name, or None; `lock` keeps other runs from it until the transaction ends."""
    rows = executor.execute(_BY_NAME_LOCKED if lock else _BY_NAME, {"name": name})
    return record(rows[0]) if rows else None


@functools.cache
def _create(dialect_name: str) -> Any:
    columns = ("name", "project", "parent", "forked_from", "task", "path", "inputs", "tasks")
    values = {"status": literal_column("'open'"), "created_at": now(), **{name: bindparam(name) for name in columns}}
    return insert_if_absent(dialect_name, session).values(values)


def create(executor: Executor, name: str, **columns: str | None) -> None:
    """Make an `open` session if there is none of that name."""
    empty = dict.fromkeys(("project", "parent", "forked_from", "task", "path", "inputs", "tasks"))
    executor.execute(_create(executor.dialect_name), {"name": name, **empty, **columns})


_RUNS_OF = _RUNS.where(run.c.session_id == bindparam("session_id")).order_by(run.c.number)
_LAST_RUN = (
    _RUNS.where(run.c.session_id == bindparam("session_id")).order_by(run.c.number.desc()).limit(literal_column("1"))
)


def runs(executor: Executor, session_id: int) -> list[RunRecord]:
    """Every run of the session, first to newest."""
    return [run_record(row) for row in executor.execute(_RUNS_OF, {"session_id": session_id})]


def last_run(executor: Executor, session_id: int) -> RunRecord | None:
    """The newest run of the session, or None."""
    rows = executor.execute(_LAST_RUN, {"session_id": session_id})
    return run_record(rows[0]) if rows else None


_AT = bindparam("at", type_=sa.BigInteger)
_LOSE_RUN = (
    sa.update(run)
    .where(run.c.session_id == bindparam("of"), run.c.ended_at.is_(None))
    .values(ended_at=_AT, outcome=literal_column("'lost'"))
)
_RUN_COLUMNS = [column.name for column in run.c if column.name not in ("id", "lease_expires_at", "ended_at", "outcome")]
_START_RUN = (
    sa.insert(run)
    .values({**{name: bindparam(name) for name in _RUN_COLUMNS}, "lease_expires_at": bindparam("until")})
    .returning(run.c.id)
)
_SESSION_STARTS = (
    sa.update(session)
    .where(session.c.id == bindparam("of"))
    .values(
        status=literal_column("'running'"),
        fence=bindparam("new_fence"),
        finished_at=None,
        project=bindparam("new_project"),
        task=bindparam("new_task"),
        path=bindparam("new_path"),
        inputs=bindparam("new_inputs"),
        parent=sa.func.coalesce(session.c.parent, bindparam("new_parent", type_=sa.Text)),
    )
)


def start_run(
    executor: Executor,
    of: SessionRecord,
    who: Identity,
    moment: int,
    lease: int,
    about: Mapping[str, Any],
    what: Mapping[str, str | None],
) -> tuple[int, int]:
    """Give the lease of a session to a new run; the caller has checked that it may have it.

    Args:
        executor: The open transaction, the session's row locked.
        of: The session.
        who: The process.
        moment: The transaction's time in microseconds.
        lease: How long the lease lasts, in microseconds.
        about: `origin`, `command`, `folder`, `python_version` and `zrb_version` of the run.
        what: `project`, `task`, `path`, `inputs` and `parent` of the session.

    Returns:
        The run's id and its number, which is its fence number too.
    """
    number = of.fence + 1
    executor.execute(_LOSE_RUN, {"of": of.id, "at": moment})
    rows = executor.execute(
        _START_RUN,
        {
            "session_id": of.id,
            "number": number,
            "host": who.host,
            "boot_id": who.boot_id,
            "pid_namespace": who.pid_namespace,
            "pid": who.pid,
            "process_started": who.process_started,
            "user": who.user,
            "started_at": moment,
            "until": moment + lease,
            **about,
        },
    )
    executor.execute(
        _SESSION_STARTS, {"of": of.id, "new_fence": number, **{f"new_{name}": text for name, text in what.items()}}
    )
    return rows[0][0], number


_holds_fence = sa.exists(
    sa.select(literal_column("1"))
    .where(session.c.id == run.c.session_id, session.c.fence == run.c.number)
    .with_for_update(read=True)
)
_RENEW = (
    sa.update(run)
    .where(run.c.id == bindparam("of"), run.c.ended_at.is_(None), _holds_fence)
    .values(lease_expires_at=now() + bindparam("lease", type_=sa.BigInteger))
    .returning(run.c.id)
)


def renew(executor: Executor, run_id: int, lease: int) -> bool:
    """Extend the lease of a run to `lease` microseconds from now. False: the run has lost it."""
    return bool(executor.execute(_RENEW, {"of": run_id, "lease": lease}))


_END_RUN = (
    sa.update(run)
    .where(run.c.id == bindparam("of"), run.c.ended_at.is_(None), _holds_fence)
    .values(ended_at=_AT, outcome=bindparam("outcome"))
    .returning(run.c.session_id)
)
_END_ATTEMPTS = (
    sa.update(attempt)
    .where(attempt.c.run_id == bindparam("of"), attempt.c.status == literal_column("'running'"))
    .values(status=literal_column("'interrupted'"), ended_at=_AT)
)
_SESSION_ENDS = (
    sa.update(session).where(session.c.id == bindparam("of")).values(status=bindparam("outcome"), finished_at=_AT)
)


def end_run(executor: Executor, run_id: int, outcome: str, moment: int) -> bool:
    """End a run and with it its lease; attempts that still run are interrupted. False: the run has lost its lease."""
    rows = executor.execute(_END_RUN, {"of": run_id, "outcome": outcome, "at": moment})
    if not rows:
        return False
    executor.execute(_END_ATTEMPTS, {"of": run_id, "at": moment})
    executor.execute(_SESSION_ENDS, {"of": rows[0][0], "outcome": outcome, "at": moment})
    return True


_NOTE_TASKS = (
    sa.update(session)
    .where(session.c.id == bindparam("of"), session.c.fence == bindparam("holding"))
    .values(tasks=bindparam("known"))
    .returning(session.c.id)
)


def note_tasks(executor: Executor, session_id: int, fence: int, tasks: Mapping[str, str]) -> bool:
    """Store the tasks known to the session: name -> `waiting` or `skipped`. False: the fence does not hold."""
    known = json.dumps(dict(tasks))
    return bool(executor.execute(_NOTE_TASKS, {"of": session_id, "holding": fence, "known": known}))


_CHANGE = sa.insert(change).values(
    {"at": now(), **{name: bindparam(name) for name in ("action", "session", "detail", "user", "host", "pid")}}
)


def note_change(executor: Executor, who: Identity, action: str, session_name: str | None, detail: str | None) -> None:
    """Record what a person did by hand, with user, host and pid."""
    named = {"action": action, "session": session_name, "detail": detail}
    executor.execute(_CHANGE, {**named, "user": who.user, "host": who.host, "pid": who.pid})


def select_sessions(
    executor: Executor,
    *,
    statuses: tuple[str, ...] = (),
    task: str | None = None,
    project: str | None = None,
    since: int | None = None,
    prefix: str | None = None,
    limit: int | None = None,
) -> list[SessionRecord]:
    """Sessions that fit every given condition, newest first.

    Args:
        executor: What to run on.
        statuses: Stored statuses; `stale` is not one (readers compute it from the run).
        task: Name of the main task.
        project: Folder of the project.
        since: Created at this moment (microseconds) or later.
        prefix: Beginning of the name.
        limit: How many at the most.
    """
    statement = _SELECT.order_by(session.c.created_at.desc(), session.c.id.desc())
    if statuses:
        statement = statement.where(session.c.status.in_(statuses))
    if task is not None:
        statement = statement.where(session.c.task == task)
    if project is not None:
        statement = statement.where(session.c.project == project)
    if since is not None:
        statement = statement.where(session.c.created_at >= since)
    if prefix is not None:
        statement = statement.where(session.c.name.startswith(prefix, autoescape=True))
    if limit is not None:
        statement = statement.limit(limit)
    return [record(row) for row in executor.execute(statement)]
