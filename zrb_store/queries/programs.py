"""What sessions are of: their project, their task, or else the program that ran them; and the names of paths."""

from __future__ import annotations

import json
from typing import Any

from zrb_store.db.columns import RUN, readable
from zrb_store.db.core import literal_column, sa, t
from zrb_store.db.transaction import Row
from zrb_store.project import Projects, program_of

_READ = {name: RUN[name] for name in ("command", "folder")}


def _of_last_run(column: sa.Column[Any]) -> sa.Case[Any]:
    """Select a column of a session's last run, if the session has no task.

    Whoever reclaimed a dead run has left a run of its own, which says nothing of the program.
    """
    found = (
        sa.select(column)
        .where(t.run.c.session_id == t.session.c.id, t.run.c.origin != literal_column("'reclaim'"))
        .order_by(t.run.c.number.desc())
        .limit(literal_column("1"))
    )
    return sa.case((t.session.c.task.is_(None), found.scalar_subquery()))


def program_columns() -> tuple[sa.ColumnElement[str], ...]:
    """Return the columns to select beside those of sessions: `program` converts them."""
    return tuple(_of_last_run(t.run.c[name]) for name in _READ)


def program(columns: Row) -> str | None:
    """Return the path of the program that last ran a session without a task; None if the code was in no file."""
    named, _ = readable(_READ, columns)
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
