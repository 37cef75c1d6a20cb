"""Sessions, their runs and the lease."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy import bindparam, literal_column

from zrb_store.columns import RUN, SESSION, readable
from zrb_store.db.dialect import bytewise, insert_if_absent, now, schema_holds
from zrb_store.db.tables import attempt, change, run, session
from zrb_store.db.transaction import Executor, Row
from zrb_store.errors import SessionNotFound, ZrbStoreError
from zrb_store.process import Identity
from zrb_store.records import RunRecord, SessionRecord

_SELECT = sa.select(*session.c)


def record(row: Row) -> SessionRecord:
    """A row of the session table as a record."""
    named, damage = readable(SESSION, row)
    named["path"] = json.loads(named["path"] or "[]")
    named["tasks"] = json.loads(named["tasks"] or "{}")
    return SessionRecord(**named, damage=damage)


_RUNS = sa.select(*run.c)


def run_record(row: Row) -> RunRecord:
    """A row of the run table as a record."""
    named, damage = readable(RUN, row)
    named["command"] = json.loads(named["command"] or "[]")
    return RunRecord(**named, damage=damage)


_BY_NAME = _SELECT.where(session.c.name == bindparam("name"))
_BY_NAME_LOCKED = _BY_NAME.with_for_update()


def by_name(executor: Executor, name: str, *, lock: bool = False, even_damaged: bool = False) -> SessionRecord | None:
    """The session of that name, or None.

    Args:
        executor: What to run on.
        name: The session's full name.
        lock: Keep other runs from it until the transaction ends, to change it.
        even_damaged: Lock it although its row is damaged.

    Raises:
        ZrbStoreError: It is to be changed, and what it is cannot be read.
    """
    rows = executor.execute(_BY_NAME_LOCKED if lock else _BY_NAME, {"name": name})
    found = record(rows[0]) if rows else None
    if found and found.damage and lock and not even_damaged:
        raise ZrbStoreError(
            f"session {name} is damaged ({', '.join(found.damage)}): restore a backup, or delete it with "
            f"`zrb-store rm {name}`"
        )
    return found


def need(executor: Executor, name: str, *, lock: bool = False, even_damaged: bool = False) -> SessionRecord:
    """As `by_name`.

    Raises:
        SessionNotFound: There is no such session.
        ZrbStoreError: It is to be changed, and what it is cannot be read.
    """
    found = by_name(executor, name, lock=lock, even_damaged=even_damaged)
    if found is None:
        raise SessionNotFound(f"there is no session {name}; `zrb-store list` shows which there are")
    return found


@functools.cache
def _create(dialect_name: str) -> Any:
    values = {"name": bindparam("name"), "status": literal_column("'open'"), "created_at": now()}
    return insert_if_absent(dialect_name, session).values(values)


def create(executor: Executor, name: str) -> None:
    """Make an `open` session if there is none of that name."""
    executor.execute(_create(executor.dialect_name), {"name": name})


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
_NOW = sa.select(now())
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
    .where(run.c.id == bindparam("of"), run.c.ended_at.is_(None), _holds_fence, schema_holds)
    .values(lease_expires_at=now() + bindparam("lease", type_=sa.BigInteger))
    .returning(run.c.id)
)


def renew(executor: Executor, run_id: int, lease: int) -> bool:
    """Extend the lease of a run to `lease` microseconds from now. False: the run has lost it."""
    return bool(executor.execute(_RENEW, {"of": run_id, "lease": lease}))


_LOCK: sa.Select[Any] = (
    sa.select(literal_column("1")).where(session.c.id == bindparam("of")).with_for_update(key_share=True)
)
_END_RUN = (
    sa.update(run)
    .where(run.c.id == bindparam("of"), run.c.ended_at.is_(None), _holds_fence)
    .values(ended_at=_AT, outcome=bindparam("outcome"))
    .returning(run.c.id)
)
_END_ATTEMPTS = (
    sa.update(attempt)
    .where(attempt.c.run_id == bindparam("of"), attempt.c.status == literal_column("'running'"))
    .values(status=literal_column("'interrupted'"), ended_at=_AT)
)
_SESSION_ENDS = (
    sa.update(session).where(session.c.id == bindparam("of")).values(status=bindparam("outcome"), finished_at=_AT)
)


def end_run(executor: Executor, session_id: int, run_id: int, outcome: str) -> bool:
    """End a run and with it its lease; attempts that still run are interrupted. False: the run has lost its lease."""
    if executor.dialect_name != "sqlite":  # which has one writer at a time
        executor.execute(_LOCK, {"of": session_id})
    at: int = executor.execute(_NOW)[0][0]
    if not executor.execute(_END_RUN, {"of": run_id, "outcome": outcome, "at": at}):
        return False
    executor.execute(_END_ATTEMPTS, {"of": run_id, "at": at})
    executor.execute(_SESSION_ENDS, {"of": session_id, "outcome": outcome, "at": at})
    return True


_NOTE_TASKS = (
    sa.update(session)
    .where(session.c.id == bindparam("of"), session.c.fence == bindparam("holding"), schema_holds)
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


@functools.cache
def _children(dialect_name: str) -> Any:
    name = bytewise(dialect_name, session.c.name)
    return sa.select(session.c.name).where(name > bindparam("first"), name < bindparam("last"))


def last_child(executor: Executor, parent: str) -> int:
    """The largest N of a session called PARENT.N, 0 if there is none."""
    # The character after "." is "/".
    rows = executor.execute(_children(executor.dialect_name), {"first": f"{parent}.", "last": f"{parent}/"})
    numbers = (name[len(parent) + 1 :] for (name,) in rows)
    return max((int(number) for number in numbers if number.isdecimal()), default=0)
