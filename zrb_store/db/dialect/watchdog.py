"""A watchdog for statements on PostgreSQL: no operation waits forever for an answer.

A statement outside a transaction cannot limit how long it waits for a lock: the limit would have to be set on the
server session, which a pooler may give to others. And a paused server, unlike a stopped one, keeps its
connections open without ever answering. So a thread checks once a second for statements that have taken long, and asks
the server about them over another connection.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import socket
import threading
import time
import weakref
from typing import TYPE_CHECKING

from zrb_store.db import patience
from zrb_store.db.clock import clock
from zrb_store.db.dialect.connecting import SECONDS, ServerConnection, answer, connect, is_pooled, until
from zrb_store.db.transaction import Transaction

if TYPE_CHECKING:
    from zrb_store.db.dialect.hooks import OpenDatabase

LOOK_EVERY = 0.5  # seconds between two checks
ASK_AFTER = 5.0
"""Seconds after which the server is told to cancel a statement that waits for a lock; it is told again after them."""
_IN_PROGRESS = 1  # libpq's PQTRANS_ACTIVE
_ANSWER_WITHIN = 0.5  # seconds before the warning about a lock in which a server usually answers

_log = logging.getLogger("zrb_store")

_IF_LOCKED_OUT = (
    "SELECT {what} FROM pg_catalog.pg_stat_activity WHERE pid = {pid} AND state = 'active' AND wait_event_type = 'Lock'"
)
# A pooler does not tell which server session runs a statement. It is taken for any that runs the same statement for the
# same user and waits for a lock as long. If that is another client's, this one is repeated for nothing.
_IS_LOCKED_OUT = (
    "SELECT 1 FROM pg_catalog.pg_stat_activity WHERE usename = current_user AND datname = current_database() "
    "AND state = 'active' AND wait_event_type = 'Lock' AND query LIKE {pattern} "
    "AND clock_timestamp() - query_start > {seconds} * interval '1 second' LIMIT 1"
)
_PLACEHOLDER = re.compile(r"%(?:%|(?:\(\w+\))?[sbt])")
_SHOWN = 500  # the server may cut the text of a statement after 1024 bytes


class _Watchdog:
    """The owner of the thread, which starts with the first database and ends with the last."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Start from nothing: a forked child inherits the databases, but not the thread."""
        self._lock = threading.Lock()
        self._databases: weakref.WeakSet[OpenDatabase] = weakref.WeakSet()
        self._thread: threading.Thread | None = None
        self._since: dict[int, tuple[int, float]] = {}
        self._asked: dict[int, int] = {}

    def add(self, database: OpenDatabase) -> None:
        with self._lock:
            self._databases.add(database)
            if self._thread is None:
                self._thread = threading.Thread(target=self._watch, name="zrb-store-watchdog", daemon=True)
                self._thread.start()

    def _watch(self) -> None:
        while True:
            time.sleep(LOOK_EVERY)
            with self._lock:
                databases = [database for database in self._databases if not database.closed]
                if not databases:
                    self._thread = None
                    return
            for database in databases:
                with contextlib.suppress(Exception):  # the connection may have been closed meanwhile
                    self._check(database)
            del databases, database  # the thread must not keep them alive

    def _check(self, database: OpenDatabase) -> None:
        statement = database.under_way
        key = id(database)
        if statement is None or statement.driver.pgconn.transaction_status != _IN_PROGRESS:
            self._since.pop(key, None)
            self._asked.pop(key, None)
            return
        if database.is_overdue:
            _break(statement.driver)
            return
        number, since = self._since.get(key, (-1, 0.0))
        now = clock.monotonic()
        if number != statement.sent:
            self._since[key] = (statement.sent, now)
        elif now - since > ASK_AFTER or (now > database.deadline and since < database.began + patience.WARN_AFTER):
            self._ask(database, statement, number, cancel=True)
            self._since.pop(key, None)
        elif now - database.began > patience.WARN_AFTER - _ANSWER_WITHIN and self._asked.get(key) != number:
            self._asked[key] = number
            self._ask(database, statement, number, cancel=False)

    def _ask(self, database: OpenDatabase, statement: Transaction, number: int, *, cancel: bool) -> None:
        """Ask the server whether a statement waits for a lock, and say so."""
        driver = statement.driver
        now, began, waits_until = clock.monotonic(), database.began, database.deadline
        # Whoever stops waiting soon is not kept longer by a server that does not answer at all.
        deadline = now + SECONDS if now > waits_until else min(now + SECONDS, waits_until)
        found = False
        try:
            with (
                database.notice.if_slow(patience.UNREACHABLE, now + patience.WARN_AFTER, began, waits_until),
                contextlib.closing(connect(database.engine, deadline)) as other,
            ):
                if statement.sent == number:
                    statement.cancelled = cancel  # set before the waiting thread gets the server's answer
                    with until(deadline):
                        found = _is_locked_out(statement, other, cancel=cancel)
                    statement.cancelled = cancel and found
            if found:
                database.notice.give(patience.LOCKED, began, waits_until)
        except Exception as error:  # noqa: BLE001 - any error means that the server has not answered
            if "FATAL:" not in str(error) and statement.sent == number:  # FATAL is an answer: the server refuses us
                _log.warning("the PostgreSQL server does not answer: its connection is given up (%s)", error)
                _break(driver)


def _is_locked_out(statement: Transaction, other: ServerConnection, *, cancel: bool) -> bool:
    """Return whether a statement waits for a lock."""
    driver = statement.driver
    if not is_pooled(other, int(answer(other, "SELECT pg_catalog.pg_backend_pid()")[0])):
        what = "pg_catalog.pg_cancel_backend(pid)" if cancel else "1"
        return bool(answer(other, _IF_LOCKED_OUT.format(what=what, pid=driver.pgconn.backend_pid)))
    # It may also have waited for a server session, and so run for less time than this process has waited.
    seconds = 0.8 * (ASK_AFTER if cancel else patience.WARN_AFTER - _ANSWER_WITHIN)
    if not answer(other, _IS_LOCKED_OUT.format(pattern=_pattern(statement.sql), seconds=seconds)):
        return False
    if cancel:
        driver.cancel_safe(timeout=SECONDS)
    return True


def _pattern(sql: str) -> str:
    """Return the pattern of LIKE, as an SQL literal, that a statement matches as the server shows it."""
    # The placeholders are replaced before the text is cut, which may be amid one. No statement contains NUL.
    shown = _PLACEHOLDER.sub(lambda match: "%" if match[0] == "%%" else "$\0", sql)[:_SHOWN]
    pattern = re.sub(r"([\\%_])", r"\\\1", shown).replace("\0", "%").replace("'", "''")
    return f"'{pattern}%'"


def _break(driver: ServerConnection) -> None:
    """End a connection on which a thread is waiting; psycopg then reports it as lost."""
    with socket.socket(fileno=os.dup(driver.pgconn.socket)) as connection:
        connection.shutdown(socket.SHUT_RDWR)


_watchdog = _Watchdog()

watch = _watchdog.add
"""Watch the statements of a database for as long as it is open."""

os.register_at_fork(after_in_child=_watchdog.forget)
