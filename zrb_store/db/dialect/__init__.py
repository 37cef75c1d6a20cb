"""The differences between SQLite and PostgreSQL in the use of a store.

`hooks.py` says what the hooks of a database do; `sqlite.py` and `postgresql.py` implement them. `statements.py` has the
parts of statements that differ. The differences in migrations are in `db/migrate.py`, those in what the databases
report about themselves in `db/schema.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from zrb_store.db.dialect.hooks import Dialect
from zrb_store.db.dialect.open_file import OpenFile, StoreReplaced
from zrb_store.db.dialect.postgresql import NoConnectionLeft, PostgreSQL
from zrb_store.db.dialect.sqlite import SQLite, sqlite_path
from zrb_store.db.dialect.statements import (
    among,
    byte_length,
    bytewise,
    insert_if_absent,
    matches,
    new_id,
    new_ids,
    next_tick,
    now,
    numbered_insert,
    reserve,
    revision_of,
    schema_is_unchanged,
    short_text,
    tables_of_revision,
    tick,
    upgraded_meanwhile,
    whole_text,
)
from zrb_store.errors import StoreUnavailable

if TYPE_CHECKING:
    from sqlalchemy.engine import URL

__all__ = [
    "Dialect",
    "NoConnectionLeft",
    "OpenFile",
    "PostgreSQL",
    "SQLite",
    "StoreReplaced",
    "among",
    "byte_length",
    "bytewise",
    "dialect_of",
    "insert_if_absent",
    "matches",
    "new_id",
    "new_ids",
    "next_tick",
    "now",
    "numbered_insert",
    "reserve",
    "revision_of",
    "schema_is_unchanged",
    "short_text",
    "sqlite_path",
    "tables_of_revision",
    "tick",
    "upgraded_meanwhile",
    "whole_text",
]


def dialect_of(url: URL) -> Dialect[Any]:
    """Return the hooks for the database of this URL.

    Raises:
        StoreUnavailable: The database is neither SQLite nor PostgreSQL with psycopg.
    """
    if url.drivername in ("sqlite", "sqlite+pysqlite"):
        return SQLite()
    if url.drivername in ("postgresql", "postgresql+psycopg"):
        return PostgreSQL()
    raise StoreUnavailable(f"{url.drivername!r} is not supported: use a file path, sqlite:///PATH or postgresql://...")
