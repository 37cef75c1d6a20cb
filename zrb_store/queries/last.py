"""What `last` reads: the newest result of a task."""

from __future__ import annotations

from typing import Any

from zrb_store.db.core import attempt, bindparam, literal_column, sa, session
from zrb_store.db.transaction import Transaction
from zrb_store.project import Projects
from zrb_store.queries.programs import PROGRAM, is_named, is_of, program

_of_any_project = (
    sa.select(session.c.name, attempt.c.id)
    .select_from(attempt.join(session, session.c.id == attempt.c.session_id))
    .where(
        session.c.status == literal_column("'completed'"),
        attempt.c.task == bindparam("task"),
        attempt.c.status == literal_column("'completed'"),
        attempt.c.given_back_at.is_(None),
        attempt.c.result_seq.is_not(None),
    )
    .order_by(attempt.c.ended_tick.desc(), attempt.c.id.desc())
)
_ONE: sa.ColumnClause[Any] = literal_column("1")
_NEWEST = _of_any_project.limit(_ONE)
_NEWEST_IN_FOLDER = _NEWEST.where(sa.or_(session.c.project == bindparam("folder"), session.c.project.is_(None)))


def newest_result(
    transaction: Transaction, task: str, projects: Projects | None, of: str | None = None
) -> tuple[str, int] | None:
    """Find the newest attempt of a task that completed with a result and stands, among completed sessions.

    Args:
        transaction: A snapshot.
        task: Name of the task, which need not be the main task.
        projects: Search only sessions of these projects or of none; None for all sessions.
        of: Search only sessions of this main task, or else of this program: its path, or the last part of that.

    Returns:
        The session's name and the attempt's id, or None.
    """
    if of is None:
        rows = transaction.execute(*_newest(task, projects))
        return (rows[0][0], rows[0][1]) if rows else None
    statement = _of_any_project if projects is None else _of_any_project.where(_may_be_of(projects))
    statement = statement.where(sa.or_(session.c.task.is_(None), is_named(session.c.task, of)))
    found = transaction.stream(statement.add_columns(session.c.task, *PROGRAM), {"task": task})
    for name, attempt_id, main_task, *columns in found:
        if main_task is not None or _is_program(program(tuple(columns)), of):
            return name, attempt_id
    return None


def _newest(task: str, projects: Projects | None) -> tuple[Any, dict[str, str]]:
    if projects is None:
        return _NEWEST, {"task": task}
    if len(projects.folders) == 1:  # the SQL of this one is stored
        return _NEWEST_IN_FOLDER, {"task": task, "folder": projects.folders[0]}
    return _NEWEST.where(_may_be_of(projects)), {"task": task}


def _may_be_of(projects: Projects) -> sa.ColumnElement[bool]:
    return sa.or_(is_of(projects), session.c.project.is_(None))


def _is_program(path: str | None, name: str) -> bool:
    return path is not None and (path == name or path.endswith(f"/{name}"))
