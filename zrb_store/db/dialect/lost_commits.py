"""A write whose answer is lost is made once: its rows or the server show whether it was made, or an error says so.

The rows of runs, attempts and steps show this: only the process that began them writes them. About other transactions
the PostgreSQL server is asked by their number, unless it has crashed or another one has taken over since. All others
"may have been made". A statement that commits itself has no number: its session is ended, and its row is read.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

from zrb_store.db.dialect.hooks import Dialect, Ticket
from zrb_store.db.transaction import Died, Lost, Row, Transaction
from zrb_store.errors import StoreUnavailable

T = TypeVar("T")


class Sent(NamedTuple, Generic[T]):
    """A transaction whose COMMIT was sent: its ticket, what its work returned, and the values that died in it."""

    ticket: Ticket
    result: T
    died: Died


@dataclass
class Committing(Generic[T]):
    """A transaction that is tried, perhaps several times and over several connections, until it is committed once."""

    dialect: Dialect[Any]
    is_made: Callable[[Transaction, T], bool] | None
    sent: Sent[T] | None = None  # what may have been committed, because nobody has answered its COMMIT

    def earlier(self, transaction: Transaction) -> Sent[T] | None:
        """Return what an earlier try has committed, over another connection; None if it has not, and never will."""
        if self.sent is not None and not self._was_committed(transaction, self.sent):
            self.sent = None
        return self.sent

    def note(self, ticket: Ticket | None, result: T, died: Died) -> None:
        """Note what a COMMIT that is sent next may commit."""
        self.sent = None if ticket is None else Sent(ticket, result, died)

    def _was_committed(self, transaction: Transaction, sent: Sent[T]) -> bool:
        try:
            return self.dialect.was_committed(transaction.driver, sent.ticket)
        except StoreUnavailable:
            # The server has crashed or another one has taken over, so the transaction has ended. Perhaps its rows tell.
            if self.is_made is None:
                raise
            return self.is_made(transaction, sent.result)


class Asking:
    """A statement that commits itself, and that is tried, perhaps over several connections, until it was run once."""

    def __init__(self, dialect: Dialect[Any], write: Callable[[Transaction], list[Row]], lost: Lost) -> None:
        self.session: str | None = None  # the server session in which it may have been run: nobody has answered it
        self._dialect = dialect
        self._write = write
        self._find = lost

    def __call__(self, transaction: Transaction) -> list[Row]:
        """Run the statement over this connection, unless an earlier try did."""
        if self.session is not None:
            self._dialect.end_session(transaction.driver, self.session)
            found = self._find(transaction)
            if found is not None:
                return found
            self.session = None
        try:
            return self._write(transaction)
        except BaseException as error:
            if self._dialect.is_gone(error):
                self.session = self._dialect.session_of(transaction.driver)
            raise
