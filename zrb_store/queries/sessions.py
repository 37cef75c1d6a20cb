"""Find, create, update, pin and delete sessions."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from typing import Any

from zrb_store.db.columns import SESSION, readable
from zrb_store.db.core import bindparam, change, literal_column, queue, sa, session
from zrb_store.db.dialect import bytewise, insert_if_absent, new_id, now, schema_is_unchanged, tick
from zrb_store.db.transaction import Executor, Row
from zrb_store.errors import SessionNotFound, ZrbStoreError
from zrb_store.queries.changes import is_push_or_pop
from zrb_store.records import SessionRecord

ALL = sa.select(*(session.c[name] for name in SESSION))
"""Selects all sessions; `record` converts a row."""


def record(row: Row) -> SessionRecord:
    """Return the record of a row of `ALL`."""
    named, damage = readable(SESSION, row)
    named["path"] = json.loads(named["path"] or "[]")
    named["tasks"] = json.loads(named["tasks"] or "{}")
    return SessionRecord(**named, damage=damage)


is_not_completed = session.c.status != literal_column("'completed'")
"""The condition that a session has not completed, in the form that lets databases use the index of such sessions."""

_BY_NAME = ALL.where(session.c.name == bindparam("name"))
_BY_NAME_LOCKED = _BY_NAME.with_for_update()


def find(executor: Executor, name: str, *, lock: bool = False, even_damaged: bool = False) -> SessionRecord | None:
    """Find the session with this name.

    Args:
        executor: The database, or the open transaction.
        name: The session's full name.
        lock: Lock its row until the transaction ends, in order to change it.
        even_damaged: Lock the row even if it is damaged.

    Returns:
        The session, or None if there is none.

    Raises:
        ZrbStoreError: The session is to be changed, but its row is damaged.
    """
    rows = executor.execute(_BY_NAME_LOCKED if lock else _BY_NAME, {"name": name})
    found = record(rows[0]) if rows else None
    if found and found.damage and lock and not even_damaged:
        raise ZrbStoreError(
            f"session {name} is damaged ({', '.join(found.damage)}): restore a backup, or delete it with "
            f"`zrb-store rm {name}`"
        )
    return found


def get(executor: Executor, name: str, *, lock: bool = False, even_damaged: bool = False) -> SessionRecord:
    """Return the session with this name. The arguments are those of `find`.

    Raises:
        SessionNotFound: There is no such session.
        ZrbStoreError: The session is to be changed, but its row is damaged.
    """
    found = find(executor, name, lock=lock, even_damaged=even_damaged)
    if found is None:
        raise SessionNotFound(f"there is no session {name}; `zrb-store list` shows all sessions")
    return found


def being_removed(name: str) -> str:
    """Return the message for a session that another process is removing."""
    return f"session {name} is being removed by another process"


@functools.cache
def _create(dialect_name: str) -> Any:
    values = {"name": bindparam("name"), "status": literal_column("'open'"), "created_at": now()}
    values |= {"id": new_id(literal_column("zrb_session")), "created_tick": tick()}
    return insert_if_absent(dialect_name, session).values(values)


def create(executor: Executor, name: str) -> None:
    """Create an `open` session unless a session of that name exists."""
    executor.execute(_create(executor.dialect_name), {"name": name})


_SET_TASKS = (
    sa.update(session)
    .where(session.c.id == bindparam("session_id"), session.c.fence == bindparam("run_fence"), schema_is_unchanged)
    .values(tasks=bindparam("known_tasks"))
    .returning(session.c.id)
)


def set_tasks(executor: Executor, session_id: int, fence: int, tasks: Mapping[str, str]) -> bool:
    """Store which tasks a session has.

    Args:
        executor: The database, or the open transaction.
        session_id: The session.
        fence: Fence number of the run that stores them.
        tasks: Maps the name of each task, in order, to `waiting` or `skipped`.

    Returns:
        False if a newer run has taken over the session.
    """
    params = {"session_id": session_id, "run_fence": fence, "known_tasks": json.dumps(dict(tasks))}
    return bool(executor.execute(_SET_TASKS, params, lambda _: None))  # it may be repeated


@functools.cache
def _children(dialect_name: str) -> Any:
    name = bytewise(dialect_name, session.c.name)
    return sa.select(session.c.name).where(name > bindparam("first"), name < bindparam("last"))


def last_child_number(executor: Executor, parent: str) -> int:
    """Return the largest N for which a session PARENT.N exists, or 0."""
    # "/" is the character after ".", so this range has all names that begin with "PARENT.".
    rows = executor.execute(_children(executor.dialect_name), {"first": f"{parent}.", "last": f"{parent}/"})
    numbers = (name[len(parent) + 1 :] for (name,) in rows)
    return max((int(number) for number in numbers if number.isdecimal()), default=0)


_PARENT = sa.select(session.c.name, session.c.parent).where(session.c.id == bindparam("session_id"))
_PARENT_BY_NAME = sa.select(session.c.name, session.c.parent).where(session.c.name == bindparam("name"))


def are_related(executor: Executor, one: int, other: int) -> bool:
    """Whether one of two sessions is a parent of the other, directly or over several generations."""
    line, other_line = _line_of_descent(executor, one), _line_of_descent(executor, other)
    return any(name in other_line for name in line[:1]) or any(name in line for name in other_line[:1])


def _line_of_descent(executor: Executor, session_id: int) -> list[str]:
    """Return the name of a session, then that of its parent, and so on; nothing if the session was deleted."""
    rows = executor.execute(_PARENT, {"session_id": session_id})
    line: list[str] = []
    while rows:
        name, parent = rows[0]
        line.append(name)
        name = parent.partition("/")[0] if isinstance(parent, str) else ""  # it may be damaged
        rows = [] if name in line else executor.execute(_PARENT_BY_NAME, {"name": name})
    return line


_PIN = (
    sa.update(session)
    .where(session.c.id == bindparam("of_session"))
    .values(pinned=bindparam("is_pinned", type_=sa.Boolean))
)


def pin(executor: Executor, session_id: int, pinned: bool) -> None:
    """Protect a session from `rm` and `prune`, or end its protection."""
    executor.execute(_PIN, {"of_session": session_id, "is_pinned": pinned})


_DELETE_CHANGES = sa.delete(change).where(change.c.session == bindparam("name"), is_push_or_pop)
_DELETE_QUEUES = sa.delete(queue).where(queue.c.session_id == bindparam("session_id"))
_DELETE = sa.delete(session).where(session.c.id == bindparam("session_id"))


def delete(executor: Executor, session_id: int, name: str) -> None:
    """Delete a session with everything in it, and the records of pushes and pops by hand."""
    # Queues first: deleting an attempt updates the returns that this transaction wrote, and PostgreSQL then checks them
    # again, when their values are already deleted.
    executor.execute(_DELETE_QUEUES, {"session_id": session_id})
    executor.execute(_DELETE, {"session_id": session_id})
    executor.execute(_DELETE_CHANGES, {"name": name})
