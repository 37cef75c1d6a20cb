"""What `last` reads: the newest result of a task."""

from __future__ import annotations

from typing import Any

from zrb_store.db.columns import ATTEMPT
from zrb_store.db.core import attempt, bindparam, literal_column, sa, session
from zrb_store.db.transaction import Transaction
from zrb_store.queries.programs import PROGRAM, is_named, program

_of_any_project = (
    sa.select(session.c.name, attempt.c.id)
    .select_from(attempt.join(session, session.c.id == attempt.c.session_id))
    .where(
        session.c.status == literal_column("'completed'"),
        attempt.c.task == bindparam("task"),
        attempt.c.status == literal_column("'completed'"),
        attempt.c.given_back_at.is_(None),
        attempt.c.result_seq.is_not(None),
        # An attempt with a damaged time must not be taken for the newest.
        attempt.c.ended_at <= literal_column(str(ATTEMPT["ended_at"].most)),
    )
    .order_by(attempt.c.ended_at.desc(), attempt.c.id.desc())
)
_in_project: Any = _of_any_project.where(sa.or_(session.c.project == bindparam("project"), session.c.project.is_(None)))
_ONE: sa.ColumnClause[Any] = literal_column("1")
_NEWEST, _NEWEST_IN_PROJECT = _of_any_project.limit(_ONE), _in_project.limit(_ONE)


def newest_result(
    transaction: Transaction, task: str, project: str | None, of: str | None = None
) -> tuple[str, int] | None:
    """Find the newest attempt of a task that completed with a result and stands, among completed sessions.

    Args:
        transaction: A snapshot.
        task: Name of the task, which need not be the main task.
        project: Search only sessions of this project or of none; None for all sessions.
        of: Search only sessions of this main task, or else of this program: its path, or the last part of that.

    Returns:
        The session's name and the attempt's id, or None.
    """
    params = {"task": task, "project": project}
    if of is None:
        rows = transaction.execute(_NEWEST if project is None else _NEWEST_IN_PROJECT, params)
        return (rows[0][0], rows[0][1]) if rows else None
    statement = (_of_any_project if project is None else _in_project).add_columns(session.c.task, *PROGRAM)
    perhaps = sa.or_(session.c.task.is_(None), is_named(session.c.task, of))
    for name, attempt_id, main_task, *columns in transaction.stream(statement.where(perhaps), params):
        if main_task is not None or _is_of(program(tuple(columns)), of):
            return name, attempt_id
    return None


def _is_of(path: str | None, name: str) -> bool:
    return path is not None and (path == name or path.endswith(f"/{name}"))
