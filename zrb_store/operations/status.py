"""The store as a database: where it is, its revision and its size."""

from __future__ import annotations

import os
from dataclasses import dataclass

from zrb_store import settings
from zrb_store.db import facts, migrate, schema
from zrb_store.db.engine import Database
from zrb_store.db.tables import REVISION
from zrb_store.errors import StoreMissing
from zrb_store.queries import counts


@dataclass(frozen=True)
class Status:
    """What `db status` shows.

    Attributes:
        url: Where the store is, passwords masked.
        database: Name and version of the database.
        revision: Of its schema.
        wanted: The revision that this version of zrb-store works with.
        size: Bytes that it takes.
        wal_size: Bytes of SQLite's `-wal` file; None on PostgreSQL.
        rows: How many there are of each; empty at another revision.
    """

    url: str
    database: str
    revision: str
    wanted: str
    size: int
    wal_size: int | None
    rows: dict[str, int]


def open_unchecked(location: str | os.PathLike[str] | None = None, *, read_only: bool = True) -> Database:
    """Open the database of a store, whatever revision its schema has."""
    return Database(settings.store_url(location), read_only=read_only, durability=settings.durability(), check=False)


def status(database: Database) -> Status:
    """What there is.

    Raises:
        StoreMissing: No store.
        SchemaAhead: Another program's database.
    """
    revision = schema.revision(database)
    if revision is None:
        schema.refuse_missing(database)
    return Status(
        url=database.shown_url,
        database=facts.product(database),
        revision=revision,
        wanted=REVISION,
        size=facts.size(database),
        wal_size=facts.wal_size(database),
        rows=counts.rows(database) if revision == REVISION else {},
    )


def upgrade(database: Database) -> tuple[str | None, str]:
    """Bring a store to the newest revision, or make it. A SQLite store is backed up first.

    Returns:
        The revision before, None if there was no store, and the one now.

    Raises:
        SchemaAhead: It was made by a newer zrb-store, or the database is another program's.
    """
    try:
        found = schema.revision(database)
    except StoreMissing:
        found = None
    schema.refuse_foreign(database, found)
    if found != REVISION:
        schema.upgrade(database)
    return found, REVISION


def upgrade_statements(database: Database) -> str:
    """The SQL that `upgrade` would run; empty if there is nothing to do.

    Raises:
        SchemaAhead: The store was made by a newer zrb-store, or the database is another program's.
        StoreMissing: There is no SQLite file.
    """
    found = schema.revision(database)
    schema.refuse_foreign(database, found)
    if found == REVISION:
        return ""
    # What cannot be done in the transaction of the others; a store that is made by hand needs it, too.
    first = "PRAGMA journal_mode=WAL;\n\n" if found is None and facts.is_file(database) else ""
    return first + migrate.statements(database.engine)
