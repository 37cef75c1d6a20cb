"""What readers show of a session, each part in one statement, whatever the number of rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy import bindparam, literal_column

from zrb_store.db.tables import attempt, run, session
from zrb_store.db.transaction import Executor
from zrb_store.queries import sessions
from zrb_store.records import RunRecord, SessionRecord


class Chosen:
    """Which sessions to list, newest first: the conditions once, for each statement about them."""

    def __init__(
        self,
        *,
        statuses: Sequence[str] | None = None,
        task: str | None = None,
        project: str | None = None,
        since: int | None = None,
        roots: bool = False,
        limit: int | None = None,
    ) -> None:
        conditions: list[Any] = []
        if statuses is not None:
            conditions.append(session.c.status.in_(statuses))
        if task is not None:
            conditions.append(session.c.task == task)
        if project is not None:
            conditions.append(session.c.project == project)
        if since is not None:
            conditions.append(session.c.created_at >= since)
        if roots:
            conditions.append(session.c.parent.is_(None))
        self._conditions = conditions
        self._limit = limit

    def _select(self, *columns: Any) -> sa.Select[Any]:
        chosen = sa.select(*columns).where(*self._conditions)
        return chosen.order_by(session.c.created_at.desc(), session.c.id.desc()).limit(self._limit)

    def sessions(self, executor: Executor) -> list[SessionRecord]:
        """The sessions, each with its stored status."""
        return [sessions.record(row) for row in executor.execute(self._select(*session.c))]

    def runs(self, executor: Executor) -> dict[int, list[RunRecord]]:
        """Their runs by session id, first to newest."""
        wanted = self._select(session.c.id).subquery()
        statement = sa.select(*run.c).where(run.c.session_id.in_(sa.select(wanted.c.id))).order_by(run.c.number)
        found: dict[int, list[RunRecord]] = {}
        for row in executor.execute(statement):
            record = sessions.run_record(row)
            found.setdefault(record.session_id, []).append(record)
        return found

    def counts(self, executor: Executor) -> dict[int, tuple[int, int]]:
        """By session id: how many tasks have attempts, and how many of them have completed."""
        wanted = self._select(session.c.id).subquery()
        standing = sa.case(
            (sa.and_(attempt.c.status == "completed", attempt.c.given_back_at.is_(None)), attempt.c.task)
        )
        statement = (
            sa.select(
                attempt.c.session_id, sa.func.count(attempt.c.task.distinct()), sa.func.count(standing.distinct())
            )
            .where(attempt.c.session_id.in_(sa.select(wanted.c.id)))
            .group_by(attempt.c.session_id)
        )
        return {row[0]: (row[1], row[2]) for row in executor.execute(statement)}


_PREFIX = (
    sa.select(session.c.name)
    .where(sa.func.substr(session.c.name, literal_column("1"), bindparam("length")) == bindparam("prefix"))
    .order_by(session.c.created_at.desc(), session.c.id.desc())
    .limit(bindparam("count"))
)


def names_with_prefix(executor: Executor, prefix: str, limit: int) -> list[str]:
    """Names of the newest sessions that begin so, in the same case."""
    rows = executor.execute(_PREFIX, {"prefix": prefix, "length": len(prefix), "count": limit})
    return [row[0] for row in rows]


_NEWEST_NAMES = (
    sa.select(session.c.name).order_by(session.c.created_at.desc(), session.c.id.desc()).limit(bindparam("count"))
)


def newest_names(executor: Executor, limit: int) -> list[str]:
    """Names of the newest sessions."""
    return [row[0] for row in executor.execute(_NEWEST_NAMES, {"count": limit})]
