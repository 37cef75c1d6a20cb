"""What `last` reads: the newest result of a task."""

from __future__ import annotations

import functools
from typing import Any

import sqlalchemy as sa
from sqlalchemy import bindparam, literal_column

from zrb_store.db.columns import ATTEMPT
from zrb_store.db.tables import attempt, session
from zrb_store.db.transaction import Executor


@functools.cache
def _newest_result(in_project: bool) -> Any:
    conditions = [
        session.c.status == literal_column("'completed'"),
        attempt.c.task == bindparam("task"),
        attempt.c.status == literal_column("'completed'"),
        attempt.c.given_back_at.is_(None),
        attempt.c.result_seq.is_not(None),
        # An attempt with a damaged time must not be taken for the newest.
        attempt.c.ended_at <= literal_column(str(ATTEMPT["ended_at"].most)),
    ]
    if in_project:
        conditions.append(sa.or_(session.c.project == bindparam("project"), session.c.project.is_(None)))
    return (
        sa.select(session.c.name, attempt.c.id)
        .select_from(attempt.join(session, session.c.id == attempt.c.session_id))
        .where(*conditions)
        .order_by(attempt.c.ended_at.desc(), attempt.c.id.desc())
        .limit(literal_column("1"))
    )


def newest_result(executor: Executor, task: str, project: str | None) -> tuple[str, int] | None:
    """Find the newest attempt of a task that completed with a result and stands, among completed sessions.

    Args:
        executor: The database, or the open transaction.
        task: Name of the task, which need not be the main task.
        project: Search only sessions of this project or of none; None for all sessions.

    Returns:
        The session's name and the attempt's id, or None.
    """
    rows = executor.execute(_newest_result(project is not None), {"task": task, "project": project})
    return (rows[0][0], rows[0][1]) if rows else None
