"""The beginning of every reader: open the store, and find the session that a person names.

A name is given in full, by a unique beginning, or as `@last`, `@last-failed` or `@this`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager

from zrb_store import settings
from zrb_store.db.engine import Database
from zrb_store.db.location import store_url
from zrb_store.db.schema import open_database
from zrb_store.errors import InvalidArgument, SessionNotFound
from zrb_store.names import is_session_name, nearest
from zrb_store.queries import sessions
from zrb_store.records import HALTED, SessionRecord

_SHOWN = 8  # sessions that are named if a beginning is not unique
_SEARCHED = 1000  # newest sessions whose names are compared with a misspelt one


@contextmanager
def open_for_reading() -> Iterator[Database]:
    """Open the store that the settings name, without importing what a `Store` writes with."""
    for name in ("ZRB_STORE_MAX_VALUE", "ZRB_STORE_OUTPUT_LIMIT"):
        settings.size(name)  # a mistake in it is reported now, as `open_store` does
    settings.retention()
    with closing(
        open_database(store_url(), read_only=True, durability=settings.choice("ZRB_STORE_DURABILITY"))
    ) as database:
        yield database


def resolve(database: Database, text: str, *, exact: bool = False) -> SessionRecord:
    """Find the session that a text names; with `exact`, for a command that changes it, by its full name or `@this`.

    Neither `@last`, the session that started or ended last, nor `@last-failed`, the last of those that ended without
    completing, is ever a child session.
    """
    if text in ("@last", "@last-failed") and not exact:
        from zrb_store.inspect.list import list_sessions

        statuses = HALTED if text == "@last-failed" else None
        newest = list_sessions(database, statuses=statuses, roots=True, limit=1)
        if not newest:
            raise SessionNotFound(f"there is no session for {text}; `zrb-store list` shows all sessions")
        return newest[0].session
    name = session_name(text)
    found = sessions.find(database, name) if is_session_name(name) else None
    if found is None and not exact and is_session_name(name):
        names = sessions.names_with_prefix(database, name, _SHOWN + 1)
        if len(names) > 1:
            more = ", ..." if len(names) > _SHOWN else ""
            raise InvalidArgument(f"{name!r} is the beginning of several sessions: {', '.join(names[:_SHOWN])}{more}")
        found = sessions.find(database, names[0]) if names else None
    if found is None:
        raise not_found_error(database, name)
    return found


def known_name(database: Database, text: str) -> str:
    """Return the full name of a session that a command may delete, even if its row is damaged."""
    name = session_name(text)
    if not is_session_name(name) or sessions.removable(database, name, lock=False) is None:
        raise not_found_error(database, name)
    return name


def session_name(text: str) -> str:
    """Return the full name that a text stands for. There need not be a session of this name."""
    if text == "@this":
        session, slash, _ = os.environ.get("ZRB_STORE_ATTEMPT", "").partition("/")
        if not slash:
            raise InvalidArgument("@this names the session of a running task: ZRB_STORE_ATTEMPT is not set here")
        return session
    if text in ("@last", "@last-failed"):
        raise InvalidArgument(f"{text} may name another session at any moment: to change a session, give its full name")
    if text.startswith("@"):
        raise InvalidArgument(f"{text!r} names no session: there are @last, @last-failed and @this")
    return text


def not_found_error(database: Database, name: str, when: str = "") -> SessionNotFound:
    """Return the error that there is no session of this name, with a name that is like it."""
    hint = nearest(name, sessions.newest_names(database, _SEARCHED)) or "; `zrb-store list` shows all sessions"
    return SessionNotFound(f"there is no session {name!r}{when}{hint}")
