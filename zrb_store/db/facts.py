"""What each database says of itself."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import sqlalchemy as sa

from zrb_store.db.dialect import sqlite_path
from zrb_store.db.engine import Database

_SQLITE_PRODUCT = sa.text("SELECT 'SQLite ' || sqlite_version()")
_SQLITE_SIZE = sa.text("SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()")
_POSTGRESQL_PRODUCT = sa.text("SELECT 'PostgreSQL ' || current_setting('server_version')")
_POSTGRESQL_SIZE = sa.text(
    "SELECT coalesce(sum(pg_catalog.pg_total_relation_size(c.oid)), 0)::bigint FROM pg_catalog.pg_class c "
    "WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind = 'r' AND c.relname LIKE 'zrb\\_%'"
)


def product(database: Database) -> str:
    """Name and version of the database."""
    name: str = database.execute(_SQLITE_PRODUCT if is_file(database) else _POSTGRESQL_PRODUCT)[0][0]
    return name


def size(database: Database) -> int:
    """Bytes that the store takes, without SQLite's `-wal` file."""
    taken: int = database.execute(_SQLITE_SIZE if is_file(database) else _POSTGRESQL_SIZE)[0][0]
    return taken


def is_file(database: Database) -> bool:
    """Whether it is SQLite."""
    return database.dialect_name == "sqlite"


def file_of(database: Database) -> Path:
    """The file of a SQLite store."""
    return sqlite_path(database.url)


def wal_size(database: Database) -> int | None:
    """Bytes of the `-wal` file; None on PostgreSQL."""
    if not is_file(database):
        return None
    wal = file_of(database).with_name(file_of(database).name + "-wal")
    return wal.stat().st_size if wal.exists() else 0


def journal_mode(database: Database) -> str:
    """SQLite's journal mode; `wal` is ours."""
    mode: str = database.execute(sa.text("PRAGMA journal_mode"))[0][0]
    return mode


def damage(database: Database) -> list[str]:
    """What SQLite finds wrong with its file, nothing if it is sound."""
    found = [row[0].splitlines()[-1] for row in database.execute(sa.text("PRAGMA integrity_check"))]
    return [] if found == ["ok"] else found


def dangling(database: Database) -> dict[str, int]:
    """How many rows of each SQLite table refer to rows that are not there."""
    return dict(Counter(row[0] for row in database.execute(sa.text("PRAGMA foreign_key_check"))))
