"""The names of sessions, for commands that accept the beginning of a name."""

from __future__ import annotations

from collections.abc import Iterator

from zrb_store.db.core import bindparam, literal_column, sa, session
from zrb_store.db.dialect import bytewise, matches
from zrb_store.db.transaction import Executor, Transaction
from zrb_store.name_pattern import NamePattern

# Ordered by name, so that only the index of names is read. Among names that contain a date, the newest come first.
_begins_so = sa.func.substr(session.c.name, literal_column("1"), bindparam("length")) == bindparam("prefix")
_PREFIX = sa.select(session.c.name).where(_begins_so).order_by(session.c.name.desc()).limit(bindparam("count"))
_FIRST = sa.select(session.c.name).where(_begins_so).order_by(session.c.name).limit(literal_column("1"))


def names_with_prefix(executor: Executor, prefix: str, limit: int) -> list[str]:
    """Return up to `limit` names of sessions that begin with `prefix`, in the same case."""
    rows = executor.execute(_PREFIX, {"prefix": prefix, "length": len(prefix), "count": limit})
    return [row[0] for row in rows]


def first_with_prefix(executor: Executor, prefix: str) -> list[str]:
    """Return the name that is the first in order of those that begin with `prefix`, if there is one."""
    return [row[0] for row in executor.execute(_FIRST, {"prefix": prefix, "length": len(prefix)})]


_perhaps_kept = sa.or_(session.c.pinned, session.c.status == literal_column("'running'"))


def matching_names(transaction: Transaction, pattern: NamePattern, *, perhaps_kept: bool = False) -> Iterator[str]:
    """Yield the names of sessions that match a pattern, in the order of their bytes.

    Args:
        transaction: A snapshot.
        pattern: The pattern.
        perhaps_kept: Only sessions that are pinned, or that are being run or died.
    """
    dialect_name = transaction.dialect_name
    statement = sa.select(session.c.name).where(matches(dialect_name, session.c.name, pattern))
    if perhaps_kept:
        statement = statement.where(_perhaps_kept)
    found = (row[0] for row in transaction.stream(statement.order_by(bytewise(dialect_name, session.c.name))))
    return found if pattern.is_exact else filter(pattern.matches, found)


_NEWEST_NAMES = sa.select(session.c.name).order_by(session.c.id.desc()).limit(bindparam("count"))


def newest_names(executor: Executor, limit: int) -> list[str]:
    """Return the names of the newest `limit` sessions."""
    return [row[0] for row in executor.execute(_NEWEST_NAMES, {"count": limit})]


_MAIN_TASKS = sa.select(session.c.task).where(session.c.task.is_not(None)).distinct().order_by(session.c.task)


def main_tasks(executor: Executor) -> list[str]:
    """Return the names of the main tasks of all sessions."""
    return [row[0] for row in executor.execute(_MAIN_TASKS)]
