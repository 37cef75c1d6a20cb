"""The records of what people do by hand."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import NamedTuple

from zrb_store.db.columns import CHANGE, readable
from zrb_store.db.core import bindparam, literal_column, sa, statement, t
from zrb_store.db.dialect import now
from zrb_store.db.transaction import Executor, Row, Transaction
from zrb_store.process import identity


class Change(NamedTuple):
    """One thing that a person did to a session."""

    at: int
    action: str
    detail: str | None
    user: str | None
    host: str
    pid: int


def is_push_or_pop() -> sa.ColumnElement[bool]:
    """Return the condition that a change is a push or a pop by hand."""
    return t.change.c.action.in_([literal_column("'push'"), literal_column("'pop'")])


_GIVEN = ("action", "session", "detail", "user", "host", "pid")


@statement
def _insert() -> sa.Insert:
    return sa.insert(t.change).values({"at": now(), **{name: bindparam(name) for name in _GIVEN}})


def record_change(executor: Executor, action: str, session_name: str | None, detail: str | None = None) -> None:
    """Record what a person does with this process, with its user, host and pid.

    Args:
        executor: The open transaction.
        action: The name of the command.
        session_name: The session; None for the store as a whole.
        detail: Further details.
    """
    who = asdict(identity())
    params = {"action": action, "session": session_name, "detail": detail}
    executor.execute(_insert(), {**params, **{name: who[name] for name in ("user", "host", "pid")}})


@statement
def _of_session() -> sa.Select[*Row]:
    return (
        sa.select(*(t.change.c[name] for name in CHANGE))
        .where(t.change.c.session == bindparam("session"))
        .order_by(t.change.c.id)
    )


def of_session(transaction: Transaction, session_name: str) -> Iterator[tuple[Change, tuple[str, ...]]]:
    """Yield everything that was done to a session by hand, the oldest change first.

    Args:
        transaction: A snapshot.
        session_name: The session's name.

    Yields:
        Each change, with the names of its damaged columns.
    """
    for row in transaction.stream(_of_session(), {"session": session_name}):
        named, damage = readable(CHANGE, row)
        yield Change(**{name: named[name] for name in Change._fields}), damage


@statement
def _last() -> sa.Select[int | None]:
    return sa.select(sa.func.max(t.change.c.at)).where(
        t.change.c.session.is_(None), t.change.c.action == bindparam("action", type_=sa.Text)
    )


def last_of_store(executor: Executor, action: str) -> int | None:
    """Return when an action was last done to the store as a whole, or None if it never was."""
    moment: int | None = executor.execute(_last(), {"action": action})[0][0]
    return moment
