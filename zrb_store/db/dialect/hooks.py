"""The hooks for one database: what differs between SQLite and PostgreSQL in the use of a store."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, Protocol, TypeVar

from zrb_store.db.dialect.open_file import OpenFile
from zrb_store.db.patience import Notice
from zrb_store.db.transaction import Transaction
from zrb_store.errors import ZrbStoreError

if TYPE_CHECKING:
    import sqlalchemy as sa
    from sqlalchemy.engine import URL

Driver = TypeVar("Driver")


class Ticket(NamedTuple):
    """What a server finds a transaction by.

    Attributes:
        number: The transaction's number.
        life: Since when the server has run without a crash or a takeover; None if it does not say.
    """

    number: str
    life: str | None


class OpenDatabase(Protocol):
    """A database as its hooks see it.

    Attributes:
        closed: Whether the database was closed.
        began: When the operation under way began, by `clock.monotonic`.
        notice: The warning that the database cannot be used at the moment.
    """

    closed: bool
    began: float
    notice: Notice

    @property
    def deadline(self) -> float:
        """When the operation under way stops waiting, by `clock.monotonic`."""

    @property
    def is_overdue(self) -> bool:
        """Whether this process has to end, and has waited long enough."""

    @property
    def engine(self) -> sa.Engine:
        """The engine, for another connection to the same server."""

    @property
    def under_way(self) -> Transaction | None:
        """The connection while an operation uses it, else None."""


class Dialect(Generic[Driver]):
    """The hooks; those with a body here do what suits a database without a server.

    `driver` is a connection of the driver, and `url` the URL that the store was opened with.

    Attributes:
        name: `sqlite` or `postgresql`.
        begin_snapshot: The statement that begins a transaction for several reads as of one moment.
        poll_every: After how many seconds a waiting process asks again whether its queue has a value.
        backs_up: Whether an older store is backed up before an upgrade, so that its first writer may upgrade it.
        make_usable: A statement to run before a store is written; None if there is none.
        may_lose_answers: Whether a statement may be carried out although its answer does not come.
        commits_unsynced: Whether a statement outside a transaction would be less durable than the store promises.
        change_mark: Returns what differs from now on if anything is committed; None if that takes a query.
    """

    name: str
    begin_snapshot: str
    poll_every: float
    backs_up = False
    make_usable: str | None = None
    may_lose_answers = False
    commits_unsynced = False
    change_mark: Callable[[Transaction], object] | None = None

    # -- connections

    def engine(self, url: URL, *, read_only: bool, durability: str) -> Callable[[], sa.Engine]:
        """Prepare to open connections in autocommit mode and with our settings. Return what makes the engine, once."""
        raise NotImplementedError

    def connect(self, database: OpenDatabase) -> Any:
        """Open a connection for the operation under way, as long as that may still wait."""
        raise NotImplementedError

    def create(self, url: URL) -> None:
        """Create the file of a new store, and its folder; do nothing if the database has no file."""

    def open_file(self, url: URL) -> OpenFile | None:
        """Return the file that a connection has just opened, or None if there is no file."""
        return None

    def watch(self, database: OpenDatabase) -> None:
        """Make sure that no operation of the database waits forever for its server."""

    def is_idle(self, driver: Driver) -> bool:
        """Whether this process has left a connection open and in a state to run the next statement."""
        raise NotImplementedError

    def is_ended(self, driver: Driver) -> bool:
        """Whether the server has ended an idle connection. This asks the operating system, not the server."""
        return False

    # -- transactions, also those whose connection was lost

    def begin(self, driver: Driver) -> tuple[str | None, Ticket | None]:
        """Begin a transaction that writes.

        Returns:
            The revision of the schema as the transaction sees it, and the ticket with which `was_committed` finds the
            transaction again; None if nothing can be lost between a program and its database.
        """
        raise NotImplementedError

    def was_committed(self, driver: Driver, ticket: Ticket) -> bool:
        """Whether a transaction was committed, about whose COMMIT there was no answer. If not, it never will be.

        Raises:
            StoreUnavailable: The server cannot tell.
        """
        raise NotImplementedError("begin gives no ticket")

    def session_of(self, driver: Driver) -> str | None:
        """Return the server session of a connection, for `end_session`; None if that cannot be told."""
        return None

    def end_session(self, driver: Driver, session: str) -> None:
        """Make sure, over another connection, that a session has committed all that it ever will.

        Raises what `is_gone` recognizes if it has not ended yet.
        """
        raise NotImplementedError("there are no sessions")

    # -- commits of other processes

    def latest_commit(self, connection: Transaction, url: URL) -> object:
        """Return what differs from now on if anything is committed to the store; it may also differ if nothing is."""
        raise NotImplementedError

    def written_file(self, url: URL) -> Path | None:
        """Return the file that each commit writes to; None if there is none on this machine."""
        return None

    # -- errors

    def is_busy(self, error: BaseException) -> bool:
        """Whether the error was caused by another transaction, so that the operation can be repeated."""
        raise NotImplementedError

    def is_gone(self, error: BaseException) -> bool:
        """Whether the connection is lost."""
        return False

    def stops_preparing(self, error: BaseException) -> bool:
        """Whether a prepared statement was missing, for the first time. From now on new connections prepare none."""
        return False

    def explain(self, error: BaseException, url: URL, *, locked: bool = False) -> ZrbStoreError | None:
        """Convert an error of the driver to one of ours. Return None if it is a bug of this program.

        Args:
            error: The error that the driver raised.
            locked: Whether another transaction is known to be the cause, even if the error does not say so.
        """
        raise NotImplementedError
