"""The location of a store as users give it, read without SQLAlchemy, which takes a fifth of a second to import."""

from __future__ import annotations

import os
import re
from pathlib import Path

DEFAULT_PATH = "~/.zrb/xcom.db"

_SQLITE = re.compile(r"sqlite(?:\+pysqlite)?:///([^?]*)(?:\?.*)?")
_POSTGRESQL = re.compile(r"postgresql(?:\+psycopg)?(://.*)", re.DOTALL)


def location_text() -> str:
    """Return where the store is: `ZRB_STORE_URL`, else `~/.zrb/xcom.db`."""
    return os.environ.get("ZRB_STORE_URL") or DEFAULT_PATH


def file_of(location: str) -> Path | None:
    """Return the file of a SQLite store, or None if the location names something else."""
    match = _SQLITE.fullmatch(location)
    path = match[1] if match else location
    if "://" in path or path in ("", ":memory:"):
        return None
    return Path(path).expanduser()


def libpq_uri_of(location: str) -> str | None:
    """Return the URI of a PostgreSQL store as libpq reads it, or None if the location names something else."""
    match = _POSTGRESQL.fullmatch(location)
    return f"postgresql{match[1]}" if match else None
