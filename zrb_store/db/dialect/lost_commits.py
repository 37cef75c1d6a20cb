"""A write whose answer is lost is made once: its rows or the server tell what became of it, or an error says so.

The rows of runs, attempts and steps tell, since only the process that began them writes them. About other transactions
the PostgreSQL server is asked by their number, unless it has crashed or another one has taken over since. What remains
"may have been made". A statement that commits itself has no number: its session is ended, and its row tells.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

from zrb_store.db import REVISION
from zrb_store.db.dialect import upgraded_meanwhile
from zrb_store.db.dialect.hooks import Dialect, Ticket
from zrb_store.db.transaction import Lost, Row, Transaction, failpoint
from zrb_store.errors import StoreUnavailable

T = TypeVar("T")

Died = list[tuple[int, int]]


class _Sent(NamedTuple, Generic[T]):
    """A transaction whose COMMIT was sent: its ticket, what its work returned, and the values that died in it."""

    ticket: Ticket
    result: T
    died: Died


@dataclass
class Committing(Generic[T]):
    """A transaction that is tried, perhaps several times and over several connections, until it is committed once."""

    dialect: Dialect[Any]
    work: Callable[[Transaction], T]
    name: str
    shown_url: str
    is_made: Callable[[Transaction, T], bool] | None
    sent: _Sent[T] | None = None  # what may have been committed, because nobody has answered its COMMIT

    def __call__(self, transaction: Transaction) -> tuple[T, Died]:
        """Commit it over this connection, unless an earlier try did. Return the result of its work, and what died."""
        if self.sent is not None and self._was_committed(transaction, self.sent):
            return self.sent.result, self.sent.died
        self.sent = None
        transaction.died = []
        try:  # includes BEGIN, since a Ctrl-C right after it must not leave the transaction open
            found, ticket = self.dialect.begin(transaction.driver)
            if found != REVISION:
                raise upgraded_meanwhile(self.shown_url, found)
            result = self.work(transaction)
            if self.name:
                failpoint(f"{self.name}:inside")
            if ticket is not None:
                self.sent = _Sent(ticket, result, transaction.died)
            transaction.driver.execute("COMMIT")
        except BaseException as error:
            if not self.dialect.is_gone(error):
                self.sent = None
            roll_back(transaction)
            raise
        return result, transaction.died

    def _was_committed(self, transaction: Transaction, sent: _Sent[T]) -> bool:
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


def roll_back(transaction: Transaction) -> None:
    """End what is open on a connection. Nothing may be: SQLite may have rolled back by itself, if the disk is full."""
    with contextlib.suppress(Exception):  # a lost connection cannot answer
        transaction.driver.execute("ROLLBACK")
