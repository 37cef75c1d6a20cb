"""The hooks for one database: what differs between SQLite and PostgreSQL in the use of a store."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Generic, NamedTuple, Protocol, TypeVar

from zrb_store.db.core import sa
from zrb_store.db.patience import Notice
from zrb_store.db.transaction import Transaction
from zrb_store.errors import StoreUnavailable, ZrbStoreError

Driver = TypeVar("Driver")


class Ticket(NamedTuple):
    """What a server finds a transaction by: its number, and since when the server runs without a crash or takeover."""

    number: str
    life: str | None  # None if the server does not say


if TYPE_CHECKING:

    class OpenDatabase(Protocol):
        """A database (`engine.Database`) as its hooks see it. Times are those of `clock.monotonic`."""

        closed: bool
        began: float
        notice: Notice

        @property
        def deadline(self) -> float: ...
        @property
        def is_overdue(self) -> bool: ...
        @property
        def engine(self) -> sa.Engine: ...
        @property
        def under_way(self) -> Transaction | None: ...


def incomplete_error(where: object, text: str, start_anew: str) -> StoreUnavailable:
    """Return the error of a store without a table or column that its revision should have."""
    return StoreUnavailable(
        f"the store {where} lacks a part of its schema ({text}): another development version of zrb-store has made it, "
        f"or somebody has changed its tables; restore a backup, or {start_anew} to start with a new store"
    )


class Dialect(Generic[Driver]):
    """The hooks; those with a body here do what suits a database without a server."""

    name: str
    begin_snapshot: str  # the statement that begins a transaction for several reads as of one moment
    poll_every: float  # seconds after which a waiting process asks again whether its queue has a value
    backs_up = False  # whether an older store is backed up before an upgrade, so that its first writer may upgrade it
    make_usable: str | None = None  # a statement to run before a store is written
    may_lose_answers = False  # whether a statement may be carried out although its answer does not come
    commits_unsynced = False  # whether a statement outside a transaction would be less durable than the store promises
    # Returns what differs from now on if anything is committed; None if that takes a query.
    change_mark: Callable[[Transaction], object] | None = None

    # -- connections

    @functools.cached_property
    def engine(self) -> sa.Engine:
        """SQLAlchemy's engine, whose connections are in autocommit mode and have our settings."""
        raise NotImplementedError

    def connect(self, database: OpenDatabase) -> Driver:
        """Open a connection for the operation under way, as long as that may still wait."""
        raise NotImplementedError

    def close(self, driver: Driver) -> None:
        """Close a connection, which may be lost."""
        raise NotImplementedError

    def create(self) -> None:
        """Create the file of a new store, and its folder; do nothing if the database has no file."""

    def make_tables(self) -> bool:
        """Make the tables of a new store if that is possible without its migrations, which take long to import."""
        return False

    def lost_file(self) -> str | None:
        """Return what was deleted or replaced of the file that was opened last; None if nothing was."""
        return None

    def is_kept(self) -> bool:
        """Whether nothing was deleted or replaced of the open file. This is asked after each write."""
        return True

    def is_usable(self, driver: Driver, *, look: bool) -> bool:
        """Whether a connection is open and ready for the next statement; with `look`, ask the operating system too."""
        raise NotImplementedError

    # -- transactions, also those whose connection was lost

    def begin(self, driver: Driver) -> tuple[str | None, Ticket | None]:
        """Begin a transaction that writes. Return the schema's revision as it sees it, and its ticket, if any."""
        raise NotImplementedError

    def was_committed(self, driver: Driver, ticket: Ticket) -> bool:
        """Whether a transaction was committed, about whose COMMIT there was no answer. If not, it never will be.

        Raise StoreUnavailable if the server cannot tell, and what `is_gone` recognizes if it cannot tell yet.
        """
        raise NotImplementedError("begin gives no ticket")

    def session_of(self, driver: Driver) -> str | None:
        """Return the server session of a connection, for `end_session`; None if that cannot be told."""
        return None

    def end_session(self, driver: Driver, session: str) -> None:
        """Make sure, over another connection, that a session has committed all that it ever will.

        Raise what `is_gone` recognizes if it has not ended yet.
        """
        raise NotImplementedError("there are no sessions")

    # -- commits of other processes

    def latest_commit(self, connection: Transaction) -> object:
        """Return what differs from now on if anything is committed to the store; it may also differ if nothing is."""
        raise NotImplementedError

    def written_file(self) -> Path | None:
        """Return the file that each commit writes to; None if there is none on this machine."""
        return None

    # -- errors

    def is_busy(self, error: BaseException) -> bool:
        """Whether the error was caused by another transaction, so that the operation can be repeated."""
        raise NotImplementedError

    def is_full(self, error: BaseException) -> bool:
        """Whether the disk has no room for a change, which was not made."""
        raise NotImplementedError

    def is_gone(self, error: BaseException) -> bool:
        """Whether the connection is lost."""
        return False

    def stops_preparing(self, error: BaseException) -> bool:
        """Whether a prepared statement was missing, for the first time. From now on new connections prepare none."""
        return False

    def own_error(self, error: BaseException, *, locked: bool = False) -> ZrbStoreError | None:
        """Convert an error of the driver to one of ours; None if it is a bug of this program.

        With `locked`, another transaction is known to be the cause, even if the error does not say so.
        """
        raise NotImplementedError
