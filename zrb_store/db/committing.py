"""A transaction that writes, and the question whether it was committed if its COMMIT got no answer."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar

from zrb_store.db.dialect import Dialect, Ticket, upgraded_meanwhile
from zrb_store.db.failpoints import failpoint
from zrb_store.db.revision import REVISION
from zrb_store.db.transaction import Lost, Row, Transaction
from zrb_store.errors import StoreUnavailable

T = TypeVar("T")

Died = list[tuple[int, int]]


class Sent(NamedTuple, Generic[T]):
    """A transaction whose COMMIT was sent.

    Attributes:
        ticket: What the database finds the transaction by.
        result: What its work returned.
        died: The values that died in it.
    """

    ticket: Ticket
    result: T
    died: Died


class Committing(Generic[T]):
    """A transaction that is tried, perhaps several times and over several connections, until it is committed once."""

    def __init__(
        self,
        dialect: Dialect,
        work: Callable[[Transaction], T],
        name: str,
        shown_url: Callable[[], str],
        is_made: Callable[[Transaction, T], bool] | None = None,
    ) -> None:
        """Prepare to run `work`. The other arguments are those of `Database.transact`, or describe the database."""
        self._dialect = dialect
        self._work = work
        self._name = name
        self._shown_url = shown_url
        self._is_made = is_made
        self._sent: Sent[T] | None = None

    @property
    def is_unanswered(self) -> bool:
        """Whether the transaction may have been committed, because nobody answered its COMMIT."""
        return self._sent is not None

    def __call__(self, transaction: Transaction) -> tuple[T, Died]:
        """Commit it over this connection, unless an earlier try did. Return the result of its work, and what died."""
        if self._sent is not None and self._was_committed(transaction, self._sent):
            return self._sent.result, self._sent.died
        self._sent = None
        transaction.died = []
        try:  # includes BEGIN, since a Ctrl-C right after it must not leave the transaction open
            found, ticket = self._dialect.begin(transaction.driver)
            if found != REVISION:
                raise upgraded_meanwhile(self._shown_url(), found)
            result = self._work(transaction)
            if self._name:
                failpoint(f"{self._name}:inside")
            if ticket is not None:
                self._sent = Sent(ticket, result, transaction.died)
            transaction.driver.execute("COMMIT")
        except BaseException as error:
            if not self._dialect.is_gone(error):
                self._sent = None
            roll_back(transaction)
            raise
        return result, transaction.died

    def _was_committed(self, transaction: Transaction, sent: Sent[T]) -> bool:
        try:
            return self._dialect.was_committed(transaction.driver, sent.ticket)
        except StoreUnavailable:
            # The server has crashed or another one took over, so the transaction has ended. Perhaps its rows tell.
            if self._is_made is None:
                raise
            return self._is_made(transaction, sent.result)


class Asking:
    """A statement that commits itself, and that is tried, perhaps over several connections, until it was run once.

    If its answer is lost, its session is ended, and the rows tell whether it was run.
    """

    def __init__(self, dialect: Dialect, write: Callable[[Transaction], list[Row]], lost: Lost) -> None:
        """Prepare to run a statement.

        Args:
            dialect: The hooks of the database.
            write: Runs the statement.
            lost: Tells what it had returned if it was run.
        """
        self._dialect = dialect
        self._write = write
        self._find = lost
        self._session: str | None = None

    @property
    def is_unanswered(self) -> bool:
        """Whether the statement may have been run, because nobody answered it."""
        return self._session is not None

    def __call__(self, transaction: Transaction) -> list[Row]:
        """Run the statement over this connection, unless an earlier try did."""
        if self._session is not None:
            self._dialect.end_session(transaction.driver, self._session)
            found = self._find(transaction)
            if found is not None:
                return found
            self._session = None
        try:
            return self._write(transaction)
        except BaseException as error:
            if self._dialect.is_gone(error):
                self._session = self._dialect.session_of(transaction.driver)
            raise


def roll_back(transaction: Transaction | None) -> None:
    """End what is open on a connection. Nothing may be: SQLite may have rolled back by itself, if the disk is full."""
    with contextlib.suppress(Exception):  # a lost connection cannot answer
        if transaction is not None:
            transaction.driver.execute("ROLLBACK")
