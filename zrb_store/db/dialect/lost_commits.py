"""A write whose answer is lost is made once: its rows or the server tell what became of it, or an error says so.

The rows of runs, attempts and steps tell, since only the process that began them writes them. About other transactions
the PostgreSQL server is asked by their number, unless it has crashed or another one has taken over since. What remains
"may have been made". A statement that commits itself has no number: its session is ended, and its row tells.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any, Generic, NamedTuple, TypeVar

from zrb_store.db import REVISION
from zrb_store.db.dialect.connecting import ServerConnection
from zrb_store.db.dialect.hooks import Dialect, Ticket
from zrb_store.db.dialect.statements import upgraded_meanwhile
from zrb_store.db.transaction import Lost, Row, Transaction, failpoint
from zrb_store.errors import StoreUnavailable

T = TypeVar("T")

Died = list[tuple[int, int]]


# -- what PostgreSQL is asked

# When the server's statistics began: each crash resets them, after which the server may give the numbers of lost
# transactions to others, and an orderly restart keeps them. A copy of a server that was stopped has the same ones, but
# each takeover by a standby begins a timeline, which is part of the names of the log's files.
_LIFE = (
    "CASE WHEN NOT pg_catalog.pg_is_in_recovery() THEN "
    "extract(epoch FROM pg_catalog.pg_stat_get_bgwriter_stat_reset_time())::text || ' ' || "
    "left(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()), 8) END"
)
TICKET_SQL = f"pg_catalog.txid_current()::text, {_LIFE}"
_STATUS = (
    f"SELECT pg_catalog.pg_is_in_recovery(), CASE WHEN {_LIFE} = %(life)s THEN pg_catalog.txid_status(%(number)s) END"
)
# A session that was ended while it waited for a synchronous standby has committed, but not there yet. This comes later.
_WAIT_FOR_STANDBY = "SELECT pg_catalog.pg_logical_emit_message(true, 'zrb_store', '')"
# A number alone may be another session's by now.
ABOUT_SESSION_SQL = (
    "SELECT pid::text || ' ' || extract(epoch FROM backend_start)::text, "
    "pg_catalog.current_setting('synchronous_commit'), pid "
    "FROM pg_catalog.pg_stat_get_activity(pg_catalog.pg_backend_pid())"
)
# A role may end its own sessions.
_END = (
    "SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_get_activity(%s) "
    "WHERE extract(epoch FROM backend_start)::text = %s"
)


def was_committed(driver: ServerConnection, ticket: Ticket, where: str) -> bool:
    """Whether a transaction was committed. If not, it never will be.

    Args:
        driver: psycopg's connection, in autocommit mode.
        ticket: The transaction's.
        where: The store, for messages.

    Raises:
        psycopg.OperationalError: The server is still committing it, or is a standby that has not taken over yet.
        StoreUnavailable: The server has crashed since, or is another one.
    """
    import psycopg

    asked = driver.execute(_STATUS, {"number": int(ticket.number), "life": ticket.life})
    ((is_standby, status),) = asked.fetchall()
    if is_standby:
        raise psycopg.OperationalError("the server is a standby, and the connection was lost during a COMMIT")
    if status is None:
        raise StoreUnavailable(
            f"the store {where} was lost during a COMMIT, and its server has since crashed or changed"
        )
    if status == "in progress":
        raise psycopg.OperationalError("the connection was lost during a COMMIT that has not ended")
    if status == "committed":
        driver.execute(_WAIT_FOR_STANDBY)
    return bool(status == "committed")


def end_session(driver: ServerConnection, session: str) -> None:
    """End a server session, and wait for what it has committed. What it has not committed by then it never will.

    Args:
        driver: psycopg's connection, to the same server or one that has taken over, in autocommit mode.
        session: The session, as `ABOUT_SESSION_SQL` gave it.

    Raises:
        psycopg.OperationalError: It has not ended yet.
    """
    import psycopg

    number, start = session.split(" ")
    if driver.execute(_END, [int(number), start]).fetchall():
        raise psycopg.OperationalError("the connection was lost during a statement that has not ended")
    driver.execute(_WAIT_FOR_STANDBY)


# -- what the engine runs


class _Sent(NamedTuple, Generic[T]):
    """A transaction whose COMMIT was sent: its ticket, what its work returned, and the values that died in it."""

    ticket: Ticket
    result: T
    died: Died


class Committing(Generic[T]):
    """A transaction that is tried, perhaps several times and over several connections, until it is committed once."""

    def __init__(
        self,
        hooks: Dialect[Any],
        work: Callable[[Transaction], T],
        name: str,
        shown_url: Callable[[], str],
        is_made: Callable[[Transaction, T], bool] | None = None,
    ) -> None:
        """Prepare to run `work`. The other arguments are those of `Database.transact`, or describe the database."""
        self._hooks = hooks
        self._work = work
        self._name = name
        self._shown_url = shown_url
        self._is_made = is_made
        self._sent: _Sent[T] | None = None

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
            found, ticket = self._hooks.begin(transaction.driver)
            if found != REVISION:
                raise upgraded_meanwhile(self._shown_url(), found)
            result = self._work(transaction)
            if self._name:
                failpoint(f"{self._name}:inside")
            if ticket is not None:
                self._sent = _Sent(ticket, result, transaction.died)
            transaction.driver.execute("COMMIT")
        except BaseException as error:
            if not self._hooks.is_gone(error):
                self._sent = None
            roll_back(transaction)
            raise
        return result, transaction.died

    def _was_committed(self, transaction: Transaction, sent: _Sent[T]) -> bool:
        try:
            return self._hooks.was_committed(transaction.driver, sent.ticket)
        except StoreUnavailable:
            # The server has crashed or another one has taken over, so the transaction has ended. Perhaps its rows tell.
            if self._is_made is None:
                raise
            return self._is_made(transaction, sent.result)


class Asking:
    """A statement that commits itself, and that is tried, perhaps over several connections, until it was run once."""

    def __init__(self, hooks: Dialect[Any], write: Callable[[Transaction], list[Row]], lost: Lost) -> None:
        """Prepare to run a statement by `write`. If its answer is lost, `lost` tells what it had returned."""
        self._hooks = hooks
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
            self._hooks.end_session(transaction.driver, self._session)
            found = self._find(transaction)
            if found is not None:
                return found
            self._session = None
        try:
            return self._write(transaction)
        except BaseException as error:
            if self._hooks.is_gone(error):
                self._session = self._hooks.session_of(transaction.driver)
            raise


def roll_back(transaction: Transaction) -> None:
    """End what is open on a connection. Nothing may be: SQLite may have rolled back by itself, if the disk is full."""
    with contextlib.suppress(Exception):  # a lost connection cannot answer
        transaction.driver.execute("ROLLBACK")
