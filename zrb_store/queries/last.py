"""What `last` reads: the newest result of a task."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zrb_store.db.core import bindparam, literal_column, sa, statement, t
from zrb_store.db.transaction import Transaction
from zrb_store.project import Projects
from zrb_store.queries.programs import is_named, is_of, program, program_columns

if TYPE_CHECKING:
    from zrb_store.db.core import Runnable


def _of_any_project() -> sa.Select[str, int]:
    return (
        sa.select(t.session.c.name, t.attempt.c.id)
        .select_from(t.attempt.join(t.session, t.session.c.id == t.attempt.c.session_id))
        .where(
            t.session.c.status == literal_column("'completed'"),
            t.attempt.c.task == bindparam("task"),
            t.attempt.c.status == literal_column("'completed'"),
            t.attempt.c.given_back_at.is_(None),
            t.attempt.c.result_seq.is_not(None),
        )
        .order_by(t.attempt.c.ended_tick.desc(), t.attempt.c.id.desc())
    )


@statement
def _newest_of_any_project() -> sa.Select[str, int]:
    return _of_any_project().limit(literal_column("1"))


@statement
def _newest_in_folder() -> sa.Select[str, int]:
    in_folder = sa.or_(t.session.c.project == bindparam("folder"), t.session.c.project.is_(None))
    return _newest_of_any_project().construct.where(in_folder)


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
    statement = _of_any_project() if projects is None else _of_any_project().where(_may_be_of(projects))
    statement = statement.where(sa.or_(t.session.c.task.is_(None), is_named(t.session.c.task, of)))
    found = transaction.stream(statement.add_columns(t.session.c.task, *program_columns()), {"task": task})
    for name, attempt_id, main_task, *columns in found:
        if main_task is not None or _is_program(program(tuple(columns)), of):
            return name, attempt_id
    return None


def _newest(task: str, projects: Projects | None) -> tuple[Runnable, dict[str, str]]:
    if projects is None:
        return _newest_of_any_project(), {"task": task}
    if len(projects.folders) == 1:  # the SQL of this one is stored
        return _newest_in_folder(), {"task": task, "folder": projects.folders[0]}
    return _newest_of_any_project().construct.where(_may_be_of(projects)), {"task": task}


def _may_be_of(projects: Projects) -> sa.ColumnElement[bool]:
    return sa.or_(is_of(projects), t.session.c.project.is_(None))


def _is_program(path: str | None, name: str) -> bool:
    return path is not None and (path == name or path.endswith(f"/{name}"))
