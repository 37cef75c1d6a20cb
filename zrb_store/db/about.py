"""What a database reports about itself: its product, its size, and damage to a SQLite file."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from zrb_store.db.core import sa, statement
from zrb_store.db.dialect import sqlite_path
from zrb_store.db.engine import Database


@statement
def _product(dialect_name: str) -> sa.TextClause:
    if dialect_name == "sqlite":
        return sa.text("SELECT 'SQLite ' || sqlite_version()")
    return sa.text("SELECT 'PostgreSQL ' || current_setting('server_version')")


@statement
def _size(dialect_name: str) -> sa.TextClause:
    if dialect_name == "sqlite":
        return sa.text("SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()")
    return sa.text(
        "SELECT coalesce(sum(pg_catalog.pg_total_relation_size(c.oid)), 0)::bigint FROM pg_catalog.pg_class c "
        "WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind = 'r' AND c.relname LIKE 'zrb\\_%'"
    )


def product(database: Database) -> str:
    """Return name and version of the database product."""
    name: str = database.execute(_product(database.dialect_name))[0][0]
    return name


@statement
def _others() -> sa.TextClause:
    return sa.text(
        "SELECT count(*) FROM pg_catalog.pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_catalog.pg_backend_pid()"
    )


def other_connections(database: Database) -> int:
    """Count the other connections to the same PostgreSQL database, of whatever program."""
    count: int = database.execute(_others())[0][0]
    return count


def size(database: Database) -> int:
    """Return how many bytes the store occupies, without SQLite's `-wal` file."""
    occupied: int = database.execute(_size(database.dialect_name))[0][0]
    return occupied


def is_file(database: Database) -> bool:
    """Whether the store is a SQLite file."""
    return database.dialect_name == "sqlite"


def file_of(database: Database) -> Path:
    """Return the path of a SQLite store."""
    return sqlite_path(database.url)


def wal_size(database: Database) -> int | None:
    """Return the size of the `-wal` file in bytes, or None on PostgreSQL."""
    if not is_file(database):
        return None
    wal = file_of(database).with_name(file_of(database).name + "-wal")
    return wal.stat().st_size if wal.exists() else 0


def journal_mode(database: Database) -> str:
    """Return SQLite's journal mode, which should be `wal`."""
    mode: str = database.execute(sa.text("PRAGMA journal_mode"))[0][0]
    return mode


def damage(database: Database) -> list[str]:
    """Return the problems that SQLite finds in its file, an empty list if there are none."""
    found = [row[0].splitlines()[-1] for row in database.execute(sa.text("PRAGMA integrity_check"))]
    return [] if found == ["ok"] else found


def dangling(database: Database) -> dict[str, int]:
    """Count, for each SQLite table that has such rows, the rows that refer to missing rows."""
    return dict(Counter(row[0] for row in database.execute(sa.text("PRAGMA foreign_key_check"))))
