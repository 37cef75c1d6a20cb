"""Find, create, update, pin and delete sessions, and find their names."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Literal, NamedTuple

from zrb_store.db.columns import SESSION
from zrb_store.db.core import bindparam, literal, sa, statement, t
from zrb_store.db.dialect import bytewise, insert_if_absent, matches, new_id, now, schema_is_unchanged, tick
from zrb_store.db.rows import fit
from zrb_store.db.transaction import Executor, Row, Transaction, first_column
from zrb_store.errors import SessionNotFound
from zrb_store.names import NamePattern
from zrb_store.records import SessionRecord


def selection() -> sa.Select[*Row]:
    """Select all sessions; `record` converts a row."""
    return sa.select(*(t.session.c[name] for name in SESSION))


def record(row: Row) -> SessionRecord:
    """Return the record of a row of `selection`."""
    named = fit("zrb_session", SESSION, row)
    named["path"] = json.loads(named["path"] or "[]")
    named["tasks"] = json.loads(named["tasks"] or "{}")
    return SessionRecord(**named)


def is_not_completed() -> sa.ColumnElement[bool]:
    """Return the condition that a session has not completed, in the form that the index of such sessions is for."""
    return t.session.c.status != literal("completed")


@statement
def _by_name(lock: bool) -> sa.Select[*Row]:
    found = selection().where(t.session.c.name == bindparam("name"))
    return found.with_for_update() if lock else found


def find(executor: Executor, name: str, *, lock: bool = False) -> SessionRecord | None:
    """Find the session with this name. `lock` locks its row."""
    rows = executor.execute(_by_name(lock), {"name": name})
    return record(rows[0]) if rows else None


def get(executor: Executor, name: str, *, lock: bool = False) -> SessionRecord:
    """Return the session with this name. The arguments are those of `find`."""
    found = find(executor, name, lock=lock)
    if found is None:
        raise not_found_error(name)
    return found


class Removable(NamedTuple):
    """What `rm` needs of a session, so that it can delete one of which other columns are damaged."""

    id: int
    name: str
    pinned: bool


@statement
def _to_remove(lock: bool) -> sa.Select[*Row]:
    found = sa.select(*(t.session.c[name] for name in Removable._fields)).where(t.session.c.name == bindparam("name"))
    return found.with_for_update() if lock else found


def removable(executor: Executor, name: str, *, lock: bool = True) -> Removable | None:
    """Find the session with this name, and lock its row."""
    columns = {field: SESSION[field] for field in Removable._fields}
    rows = executor.execute(_to_remove(lock), {"name": name})
    return Removable(**fit("zrb_session", columns, rows[0])) if rows else None


def not_found_error(name: str) -> SessionNotFound:
    """Return the error that there is no session of this name."""
    return SessionNotFound(f"there is no session {name}; `zrb-store list` shows all sessions")


def being_removed(name: str) -> str:
    """Return the message for a session that another process is removing."""
    return f"session {name} is being removed by another process"


@statement
def _create(dialect_name: str) -> sa.Insert:
    values = {"name": bindparam("name"), "status": literal("open"), "created_at": now()}
    values |= {"id": new_id("zrb_session"), "created_tick": tick()}
    return insert_if_absent(dialect_name, t.session).values(values)


def create(executor: Executor, name: str) -> None:
    """Create an `open` session unless a session of that name exists."""
    executor.execute(_create(executor.dialect_name), {"name": name})


@statement
def _set_tasks() -> sa.sql.dml.ReturningUpdate[int]:
    is_own = (t.session.c.id == bindparam("session_id"), t.session.c.fence == bindparam("run_fence"))
    own = sa.update(t.session).where(*is_own, schema_is_unchanged())
    return own.values(tasks=bindparam("known_tasks")).returning(t.session.c.id)


def set_tasks(executor: Executor, session_id: int, fence: int, tasks: Mapping[str, str]) -> bool:
    """Store which tasks a session has, as `not started` or `skipped`; return False if a newer run has taken it over."""
    params = {"session_id": session_id, "run_fence": fence, "known_tasks": json.dumps(dict(tasks))}
    return bool(executor.execute(_set_tasks(), params, lambda _: None))  # it may be repeated


@statement
def _children(dialect_name: str) -> sa.Select[str]:
    name = bytewise(dialect_name, t.session.c.name)
    return sa.select(t.session.c.name).where(name > bindparam("first"), name < bindparam("last"))


def last_child_number(executor: Executor, parent: str) -> int:
    """Return the largest N for which a session PARENT.N exists, or 0."""
    # "/" is the character after ".", so this range has all names that begin with "PARENT.".
    rows = executor.execute(_children(executor.dialect_name), {"first": f"{parent}.", "last": f"{parent}/"})
    numbers = (name[len(parent) + 1 :] for (name,) in rows)
    return max((int(number) for number in numbers if number.isdecimal()), default=0)


@statement
def _parent(by: Literal["id", "name"]) -> sa.Select[str, str | None]:
    is_it = t.session.c.id == bindparam("session_id") if by == "id" else t.session.c.name == bindparam("name")
    return sa.select(t.session.c.name, t.session.c.parent).where(is_it)


def are_related(executor: Executor, one: int, other: int) -> bool:
    """Whether one of two sessions is a parent of the other, directly or over several generations."""
    line, other_line = _line_of_descent(executor, one), _line_of_descent(executor, other)
    return any(name in other_line for name in line[:1]) or any(name in line for name in other_line[:1])


def _line_of_descent(executor: Executor, session_id: int) -> list[str]:
    """Return the name of a session, then that of its parent, and so on; nothing if the session was deleted."""
    rows = executor.execute(_parent("id"), {"session_id": session_id})
    line: list[str] = []
    while rows:
        name, parent = rows[0]
        line.append(name)
        name = (parent or "").partition("/")[0]
        rows = [] if name in line else executor.execute(_parent("name"), {"name": name})
    return line


@statement
def _pin() -> sa.Update:
    pinned = bindparam("is_pinned", type_=sa.Boolean)
    return sa.update(t.session).where(t.session.c.id == bindparam("of_session")).values(pinned=pinned)


def pin(executor: Executor, session_id: int, pinned: bool) -> None:
    """Protect a session from `rm` and `prune`, or end its protection."""
    executor.execute(_pin(), {"of_session": session_id, "is_pinned": pinned})


@statement
def _delete_queues() -> sa.Delete:
    return sa.delete(t.queue).where(t.queue.c.session_id == bindparam("session_id"))


@statement
def _delete() -> sa.Delete:
    return sa.delete(t.session).where(t.session.c.id == bindparam("session_id"))


def delete(executor: Executor, session_id: int, name: str) -> None:
    """Delete a session with everything in it, and the records of pushes and pops by hand."""
    from zrb_store.queries.by_hand import delete_acts

    # Queues first: deleting an attempt updates the returns that this transaction wrote, and PostgreSQL then checks them
    # again, when their values are already deleted.
    executor.execute(_delete_queues(), {"session_id": session_id})
    executor.execute(_delete(), {"session_id": session_id})
    delete_acts(executor, name)


@statement
def _prefix(dialect_name: str, last: bool) -> sa.Select[str]:
    # Ordered by name, so that only the index of names is read. Among names that contain a date, the newest come first.
    name = t.session.c.name
    begins_so: tuple[sa.ColumnElement[bool], ...]
    if dialect_name == "sqlite":
        begins_so = (name >= bindparam("prefix"), name < bindparam("following"))
    else:  # it may sort names by the rules of a language; if that is C, it derives the range from the LIKE
        begins_so = (name.like(bindparam("pattern")),)
    order = name.desc() if last else name.asc()
    return sa.select(name).where(*begins_so).order_by(order).limit(bindparam("count"))


def names_with_prefix(executor: Executor, prefix: str, limit: int, *, last: bool = True) -> list[str]:
    """Return up to `limit` names of sessions that begin with `prefix`, in the same case: the last or the first ones."""
    # Names of sessions are ASCII: each that begins so comes before this.
    pattern = re.sub(r"([\\%_])", r"\\\1", prefix) + "%"
    params = {"prefix": prefix, "following": f"{prefix}\x7f", "pattern": pattern, "count": limit}
    rows = executor.execute(_prefix(executor.dialect_name, last), params)
    return list(map(first_column, rows))


def matching_names(transaction: Transaction, pattern: NamePattern, *, perhaps_kept: bool = False) -> Iterator[str]:
    """Yield the names that match a pattern in bytewise order, or only those of pinned and `running` sessions."""
    dialect_name = transaction.dialect_name
    statement = sa.select(t.session.c.name).where(matches(dialect_name, t.session.c.name, pattern))
    if perhaps_kept:
        statement = statement.where(sa.or_(t.session.c.pinned, t.session.c.status == literal("running")))
    found = map(first_column, transaction.stream(statement.order_by(bytewise(dialect_name, t.session.c.name))))
    return found if pattern.is_exact else filter(pattern.matches, found)


@statement
def _newest_names() -> sa.Select[str]:
    return sa.select(t.session.c.name).order_by(t.session.c.id.desc()).limit(bindparam("count"))


def newest_names(executor: Executor, limit: int) -> list[str]:
    """Return the names of the newest `limit` sessions."""
    return list(map(first_column, executor.execute(_newest_names(), {"count": limit})))


@statement
def _main_tasks() -> sa.Select[str]:
    # Each is looked up from the one before it: with DISTINCT, all sessions would be read.
    found = sa.select(sa.func.min(t.session.c.task).label("task")).cte("found", recursive=True)
    following = sa.select(sa.func.min(t.session.c.task)).where(t.session.c.task > found.c.task).scalar_subquery()
    found = found.union_all(sa.select(following).where(found.c.task.is_not(None)))
    return sa.select(found.c.task).where(found.c.task.is_not(None))


def main_tasks(executor: Executor) -> list[str]:
    """Return the names of the main tasks of all sessions, in their order."""
    return list(map(first_column, executor.execute(_main_tasks())))


@statement
def _projects_of_task() -> sa.Select[str | None]:
    of_task = sa.select(t.session.c.project).where(t.session.c.task == bindparam("task"))
    return of_task.group_by(t.session.c.project).order_by(sa.func.max(t.session.c.id).desc())


def projects_of_task(executor: Executor, task: str | None) -> list[str]:
    """Return the projects that have sessions of a main task, that of the newest one first."""
    return [row[0] for row in executor.execute(_projects_of_task(), {"task": task}) if row[0] is not None]


@statement
def _known_projects() -> sa.Select[str]:
    project = t.session.c.project
    return sa.select(project).where(project.is_not(None)).distinct().order_by(project)


def known_projects(executor: Executor) -> list[str]:
    """Return the projects that sessions are of."""
    return list(map(first_column, executor.execute(_known_projects())))
