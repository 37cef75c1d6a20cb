"""What differs between SQLite and PostgreSQL when a store is used, and nothing else.

`sqlite.py` and `postgresql.py` have the hooks of one database each, `statements.py` the statements that differ.
How each is migrated is in `migrate.py`, what each says of itself in `facts.py`.
"""

from __future__ import annotations

from typing import Any, Protocol

import sqlalchemy as sa
from sqlalchemy.engine import URL

from zrb_store.db.dialect.open_file import OpenFile
from zrb_store.db.dialect.postgresql import PostgreSQL
from zrb_store.db.dialect.sqlite import SQLite, sqlite_path
from zrb_store.db.dialect.statements import (
    among,
    bytewise,
    insert_if_absent,
    now,
    numbered_insert,
    reserve,
    revision_of,
    schema_holds,
)
from zrb_store.db.dialect.watchdog import Watched
from zrb_store.errors import StoreUnavailable, ZrbStoreError

__all__ = [
    "Dialect",
    "OpenFile",
    "PostgreSQL",
    "SQLite",
    "among",
    "bytewise",
    "dialect_of",
    "insert_if_absent",
    "now",
    "numbered_insert",
    "reserve",
    "revision_of",
    "schema_holds",
    "sqlite_path",
]


class Dialect(Protocol):
    """The hooks. `url` is what the store was opened with."""

    begin_snapshot: str  # for several reads as of one moment
    backs_up: bool  # whether an older store may be upgraded by its first writer
    commits_unsynced: bool  # whether a statement by itself would be less durable than the store is to be
    has_versions: sa.TextClause  # the tables there, of those that `version_table` asks about
    has_foreign: sa.TextClause  # a row if we must not make our tables here, beside another program's

    def engine(self, url: URL, *, read_only: bool, durability: str) -> sa.Engine:
        """An engine whose connections are in autocommit mode and set up for us."""

    def watch(self, database: Watched) -> None:
        """See to it that no operation of the database waits for its server without end."""

    def open_file(self, url: URL) -> OpenFile | None:
        """The file that a connection has just opened, or None."""

    def begin(self, driver: Any) -> str | None:
        """Begin a transaction that writes, and return the revision of the schema in it."""

    def create(self, url: URL) -> None:
        """Make place for a new store."""

    def is_idle(self, driver: Any) -> bool:
        """Whether a held connection is there, and free for the next statement."""

    def is_busy(self, error: BaseException) -> bool:
        """Whether another transaction was in the way: the same can be tried again."""

    def is_gone(self, error: BaseException) -> bool:
        """Whether the connection is lost."""

    def explain(self, error: BaseException, url: URL, *, locked: bool = False) -> ZrbStoreError | None:
        """The driver's error as one of ours, or None if it is a fault of this program.

        Args:
            error: What the driver raised.
            url: The store's.
            locked: Whether another transaction is known to be in the way, whatever the error says.
        """


def dialect_of(url: URL) -> Dialect:
    """The hooks for this URL.

    Raises:
        StoreUnavailable: Another database than SQLite and PostgreSQL (with psycopg).
    """
    if url.drivername in ("sqlite", "sqlite+pysqlite"):
        return SQLite()
    if url.drivername in ("postgresql", "postgresql+psycopg"):
        return PostgreSQL()
    raise StoreUnavailable(
        f"{url.drivername!r} is not supported: use a file path, sqlite:///PATH or postgresql+psycopg://..."
    )
