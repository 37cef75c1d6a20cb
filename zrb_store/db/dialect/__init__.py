"""The differences between SQLite and PostgreSQL in the use of a store.

`sqlite.py` and `postgresql.py` each contain the hooks for one database, `statements.py` the statements that differ. The
differences in migrations are in `db/migrate.py`, those in what the databases report about themselves in `db/schema.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from zrb_store.db.core import Statement
from zrb_store.db.dialect.lost_commits import CommitHooks
from zrb_store.db.dialect.postgresql import NoConnectionLeft, PostgreSQL
from zrb_store.db.dialect.sqlite import OpenFile, SQLite, StoreReplaced, sqlite_path
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
    refuse_upgraded,
    reserve,
    revision_of,
    schema_is_unchanged,
    short_text,
    tick,
    upgraded_meanwhile,
    whole_text,
)
from zrb_store.db.dialect.watchdog import Watched
from zrb_store.db.transaction import Transaction
from zrb_store.errors import StoreUnavailable, ZrbStoreError

if TYPE_CHECKING:
    import sqlalchemy as sa
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
    "refuse_upgraded",
    "reserve",
    "revision_of",
    "schema_is_unchanged",
    "short_text",
    "sqlite_path",
    "tick",
    "upgraded_meanwhile",
    "whole_text",
]


class Dialect(CommitHooks, Protocol):
    """The hooks for one database. `url` is the URL that the store was opened with.

    Attributes:
        name: `sqlite` or `postgresql`.
        begin_snapshot: The statement that begins a transaction for several reads as of one moment.
        poll_every: After how many seconds a waiting process asks again whether its queue has a value.
        backs_up: Whether an older store is backed up before an upgrade, so that its first writer may upgrade it.
        make_usable: A statement to run before a store is written; None if there is none.
        may_lose_answers: Whether a statement may be carried out although its answer does not come.
        commits_unsynced: Whether a statement outside a transaction would be less durable than the store promises.
        has_versions: Selects the names of those tables that exist and that `version_table` needs to know about.
        has_foreign: Selects a row if other programs have tables here, so that ours must not be created.
    """

    name: str
    begin_snapshot: str
    poll_every: float
    backs_up: bool
    make_usable: str | None
    may_lose_answers: bool
    commits_unsynced: bool
    has_versions: Callable[[], Statement[sa.TextClause]]
    has_foreign: Callable[[], Statement[sa.TextClause]]

    def engine(self, url: URL, *, read_only: bool, durability: str) -> Callable[[], sa.Engine]:
        """Prepare to open connections in autocommit mode and with our settings. Return what makes the engine, once."""

    def connect(self, database: Watched) -> Any:
        """Open a connection for the operation under way, as long as that may still wait."""

    def watch(self, database: Watched) -> None:
        """Make sure that no operation of the database waits forever for its server."""

    def open_file(self, url: URL) -> OpenFile | None:
        """Return the file that a connection has just opened, or None if there is no file."""

    def create(self, url: URL) -> None:
        """Create the file of a new store, and its folder; do nothing if the database has no file."""

    def is_idle(self, driver: Any) -> bool:
        """Whether this process has left a connection open and in a state to run the next statement."""

    def is_ended(self, driver: Any) -> bool:
        """Whether the server has ended an idle connection. This asks the operating system, not the server."""

    @property
    def change_mark(self) -> Callable[[Transaction], object] | None:
        """Returns what differs from now on if anything is committed; None if that cannot be told without a query."""

    def latest_commit(self, connection: Transaction, url: URL) -> object:
        """Return what differs from now on if anything is committed to the store; it may also differ if nothing is."""

    def written_file(self, url: URL) -> Path | None:
        """Return the file that each commit writes to; None if there is none on this machine."""

    def is_busy(self, error: BaseException) -> bool:
        """Whether the error was caused by another transaction, so that the operation can be repeated."""

    def stops_preparing(self, error: BaseException) -> bool:
        """Whether a prepared statement was missing, for the first time. From now on new connections prepare none."""

    def explain(self, error: BaseException, url: URL, *, locked: bool = False) -> ZrbStoreError | None:
        """Convert an error of the driver to one of ours. Return None if it is a bug of this program.

        Args:
            error: The error that the driver raised.
            locked: Whether another transaction is known to be the cause, even if the error does not say so.
        """


def dialect_of(url: URL) -> Dialect:
    """Return the hooks for the database of this URL.

    Raises:
        StoreUnavailable: The database is neither SQLite nor PostgreSQL with psycopg.
    """
    if url.drivername in ("sqlite", "sqlite+pysqlite"):
        return SQLite()
    if url.drivername in ("postgresql", "postgresql+psycopg"):
        return PostgreSQL()
    raise StoreUnavailable(
        f"{url.drivername!r} is not supported: use a file path, sqlite:///PATH or postgresql+psycopg://..."
    )
