"""How people name a session: in full, by a unique beginning, or as `@last`, `@last-failed` or `@this`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from zrb_store.errors import InvalidName, SessionNotFound
from zrb_store.names import is_session_name, nearest
from zrb_store.queries import history, sessions
from zrb_store.reading.listing import listed
from zrb_store.records import SessionRecord

if TYPE_CHECKING:
    from zrb_store.store import Store

_SHOWN = 8
_UNSUCCESSFUL = ("failed", "interrupted", "stale")


def resolve(store: Store, text: str, *, exact: bool = False) -> SessionRecord:
    """The session that a person means.

    Args:
        store: Where to look.
        text: A name, its unique beginning, `@last` (the newest), `@last-failed` (the newest that failed, was
            interrupted or died) or `@this` (of the task that runs this command). Child sessions are not `@last`.
        exact: For commands that change the session: a full name or `@this` only.

    Raises:
        SessionNotFound: There is none; the message names what is like it.
        InvalidName: The beginning is not unique, or `exact` and this is not a full name.
    """
    if text in ("@last", "@last-failed") and not exact:
        return _newest(store, text)
    name = session_name(text)
    found = sessions.by_name(store.database, name) if is_session_name(name) else None
    if found is None and not exact and is_session_name(name):
        found = _by_prefix(store, name)
    if found is None:
        raise SessionNotFound(f"there is no session {name!r}{_hint(store, name)}")
    return found


def session_name(text: str) -> str:
    """The full name that `text` stands for; it need not be that of a session that exists.

    Raises:
        InvalidName: `@this` outside of a task, or another word beginning with `@`.
    """
    if text == "@this":
        return this_session()
    if text in ("@last", "@last-failed"):
        raise InvalidName(f"{text} may change from one moment to the next: to change a session give its full name")
    if text.startswith("@"):
        raise InvalidName(f"{text!r} names no session: there are @last, @last-failed and @this")
    return text


def this_session() -> str:
    """The session whose task started this process.

    Raises:
        InvalidName: No task did.
    """
    session, slash, _ = os.environ.get("ZRB_STORE_ATTEMPT", "").partition("/")
    if not slash:
        raise InvalidName("@this names the session of a running task: ZRB_STORE_ATTEMPT is not set here")
    return session


def _newest(store: Store, text: str) -> SessionRecord:
    statuses = _UNSUCCESSFUL if text == "@last-failed" else None
    found = listed(store, statuses=statuses, roots=True, limit=1)
    if not found:
        raise SessionNotFound(f"there is no session for {text}; `zrb-store list` shows which there are")
    return found[0].session


def _by_prefix(store: Store, prefix: str) -> SessionRecord | None:
    names = history.names_with_prefix(store.database, prefix, _SHOWN + 1)
    if len(names) > 1:
        more = ", ..." if len(names) > _SHOWN else ""
        raise InvalidName(f"{prefix!r} is the beginning of several sessions: {', '.join(names[:_SHOWN])}{more}")
    return sessions.by_name(store.database, names[0]) if names else None


def _hint(store: Store, name: str) -> str:
    return nearest(name, history.newest_names(store.database, 1000)) or "; `zrb-store list` shows which there are"
