"""The names of sessions, for commands that accept the beginning of a name."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import bindparam, literal_column

from zrb_store.db.tables import session
from zrb_store.db.transaction import Executor

# Ordered by name, so that only the index of names is read. Among names that contain a date, the newest come first.
_PREFIX = (
    sa.select(session.c.name)
    .where(sa.func.substr(session.c.name, literal_column("1"), bindparam("length")) == bindparam("prefix"))
    .order_by(session.c.name.desc())
    .limit(bindparam("count"))
)


def names_with_prefix(executor: Executor, prefix: str, limit: int) -> list[str]:
    """Return up to `limit` names of sessions that begin with `prefix`, in the same case."""
    rows = executor.execute(_PREFIX, {"prefix": prefix, "length": len(prefix), "count": limit})
    return [row[0] for row in rows]


_NEWEST_NAMES = (
    sa.select(session.c.name).order_by(session.c.created_at.desc(), session.c.id.desc()).limit(bindparam("count"))
)


def newest_names(executor: Executor, limit: int) -> list[str]:
    """Return the names of the newest `limit` sessions."""
    return [row[0] for row in executor.execute(_NEWEST_NAMES, {"count": limit})]
