"""The arguments of commands that take several sessions."""

from __future__ import annotations

from collections.abc import Sequence

from zrb_store.db.engine import Database
from zrb_store.inspect import session_names


def chosen_sessions(database: Database, texts: Sequence[str]) -> list[str] | None:
    """Return the full names of the sessions to read, or None, which stands for all of them, if none is given."""
    return [session_names.resolve(database, text).name for text in texts] or None


def sessions_to_change(database: Database, texts: Sequence[str]) -> list[str]:
    """Return the names of the sessions to change, which must be given in full, each once."""
    return list(dict.fromkeys(session_names.resolve(database, text, exact=True).name for text in texts))
