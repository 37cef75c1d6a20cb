"""PostgreSQL's hooks."""

from __future__ import annotations

import functools
import logging
import math
import re
import select as readiness
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from zrb_store.db import REVISION_SQL, patience
from zrb_store.db.clock import clock
from zrb_store.db.core import sa
from zrb_store.db.dialect.connecting import ServerConnection, addresses, answer, connect, connect_until, is_pooled
from zrb_store.db.dialect.hooks import Dialect, Ticket, incomplete_error
from zrb_store.db.dialect.watchdog import watch
from zrb_store.db.location import shown_url
from zrb_store.db.transaction import Transaction
from zrb_store.errors import OUT_OF_FILES, InvalidArgument, StoreUnavailable, ZrbStoreError, is_out_of_files
from zrb_store.masking import mask_text

if TYPE_CHECKING:
    from zrb_store.db.dialect.hooks import OpenDatabase

# SQLSTATEs of a transaction that was rolled back because of another one.
_BUSY = ("40001", "40P01", "55P03")
# SQLSTATEs of a lost connection (08), and of one that the server has ended: itself (57P), or because a transaction was
# idle (25P03) or long (25P04).
_GONE = ("08", "57P", "25P03", "25P04")
_DISK_FULL = "53100"
# Two attempts of a task that begin at the same time may choose the same number.
_SAME_NUMBER = "uq_zrb_attempt_session_id_task_number"
# An error without SQLSTATE comes from a connection that failed before the server had sent one. A refusal by the server
# contains FATAL, and is temporary only if the server is starting, stopping or full, or if PgBouncer says the same.
_TEMPORARY = (
    *("database system", "connection slots", "too many"),
    *("query_wait_timeout", "no more connections", "shutting down", "server login has been failing", "server conn"),
)
_FULL = ("too many connections", "too many clients", "connection slots", "no more connections")
# Other errors without SQLSTATE are temporary, except these.
_PERMANENT = re.compile(
    "does not support SSL|SSL was required|certificate|sslmode|fe_sendauth|no password|authentication method"
    "|channel binding|GSSAPI|service file|unsupported frontend protocol",
    re.IGNORECASE,
)

_LEAST = 2  # seconds: psycopg gives no connection less
# SQLSTATEs of a prepared statement that the server session does not have, or has from another client.
_NOT_PREPARED = ("26000", "42P05")

# When the server's statistics began: each crash resets them, after which the server may give the numbers of lost
# transactions to others, and an orderly restart keeps them. A copy of a server that was stopped has the same ones, but
# each takeover by a standby begins a timeline, which is part of the names of the log's files.
_LIFE = (
    "CASE WHEN NOT pg_catalog.pg_is_in_recovery() THEN "
    "extract(epoch FROM pg_catalog.pg_stat_get_bgwriter_stat_reset_time())::text || ' ' || "
    "left(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()), 8) END"
)
_REVISION_AND_TICKET = REVISION_SQL.replace(" FROM", f", pg_catalog.txid_current()::text, {_LIFE} FROM")
_STATUS = (
    f"SELECT pg_catalog.pg_is_in_recovery(), CASE WHEN {_LIFE} = %(life)s THEN pg_catalog.txid_status(%(number)s) END"
)
# A session that was ended while it waited for a synchronous standby has committed, but not there yet. This comes later.
_WAIT_FOR_STANDBY = "SELECT pg_catalog.pg_logical_emit_message(true, 'zrb_store', '')"
# A number alone may be another session's by now.
_ABOUT_SESSION = (
    "SELECT pid::text || ' ' || extract(epoch FROM backend_start)::text, "
    "pg_catalog.current_setting('synchronous_commit'), pid "
    "FROM pg_catalog.pg_stat_get_activity(pg_catalog.pg_backend_pid())"
)
# A role may end its own sessions.
_END_SESSION = (
    "SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_get_activity(%s) "
    "WHERE extract(epoch FROM backend_start)::text = %s"
)

# psycopg logs a warning if a connection ends during a pipeline. Without a handler, Python would print it to stderr.
logging.getLogger("psycopg").addHandler(logging.NullHandler())


_OTHER_HOST = "; add target_session_attrs=read-write to the URL to use a writable host"


def is_temporary(text: str) -> bool:
    """Whether an error without SQLSTATE, of a connection that was not made or was lost, may pass by itself."""
    if "FATAL:" in text:
        return any(words in text for words in _TEMPORARY)
    return not _PERMANENT.search(text)


def _may_be_standby(url: sa.URL) -> bool:
    """Whether a URL names several hosts, and takes any of them."""
    hosts = url.query.get("host", "")
    several = not isinstance(hosts, str) or "," in hosts
    return several and url.query.get("target_session_attrs", "any") == "any"


class PostgreSQL(Dialect[ServerConnection]):
    """PostgreSQL through psycopg 3, with one connection for each process.

    A pooler may give the server session to others between two transactions. So a setting lasts only until a transaction
    ends, and behind a pooler no statement is prepared.
    """

    name = "postgresql"
    lock_timeout = "5s"  # after that, the operation is repeated until its own timeout
    begin_snapshot = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
    poll_every = 0.09
    may_lose_answers = True

    def __init__(self, url: sa.URL, *, durability: str = "normal") -> None:
        self.url = url
        self._durability = durability
        self._prepares = True
        self._where = shown_url(url)
        self._sessions: WeakKeyDictionary[ServerConnection, str] = WeakKeyDictionary()

    @functools.cached_property
    def engine(self) -> sa.Engine:
        try:
            import psycopg  # noqa: F401 - to know whether it is installed
        except ImportError:
            raise StoreUnavailable('PostgreSQL needs psycopg: pip install "zrb-store[postgres]"') from None
        # Options in the URL take precedence. With the first four, a server that vanishes is noticed. A role may have an
        # encoding in which not every text can be sent.
        options: dict[str, str | int] = {"keepalives_idle": 15, "keepalives_interval": 5, "keepalives_count": 3}
        options |= {"tcp_user_timeout": 30_000, "connect_timeout": 10, "client_encoding": "utf8", "autocommit": True}
        url = self.url.set(drivername="postgresql+psycopg")
        options = {name: number for name, number in options.items() if name not in url.query}
        try:
            engine = sa.create_engine(url, connect_args=options, poolclass=sa.NullPool)
        except sa.exc.ArgumentError as error:
            raise InvalidArgument(f"the store's URL {self._where} is not understood: {error}") from None

        @sa.event.listens_for(engine, "do_connect")
        def limit(
            _: sa.Dialect, _entry: sa.pool.ConnectionPoolEntry, _args: list[str], parameters: dict[str, str | float]
        ) -> None:
            until = connect_until.get()
            if until is not None and "connect_timeout" not in url.query:
                most = min(float(parameters["connect_timeout"]), until - clock.monotonic())
                hosts = str(parameters.get("host") or "")
                parameters["connect_timeout"] = max(_LEAST, math.ceil(most / addresses(hosts)))

        @sa.event.listens_for(engine, "connect", insert=True)  # before SQLAlchemy reads the server's version as text
        def prepare(driver: ServerConnection, _: sa.pool.ConnectionPoolEntry) -> None:
            try:
                self._prepare(driver)
            except BaseException:
                driver.close()
                raise

        return engine

    def connect(self, database: OpenDatabase) -> ServerConnection:
        watch(database)  # so that no operation waits forever for the server
        said_at = clock.monotonic() + patience.WARN_AFTER
        with database.notice.if_slow(patience.UNREACHABLE, said_at, database.began, database.deadline):
            return connect(database.engine, database.deadline)

    def close(self, driver: ServerConnection) -> None:
        driver.close()

    def _prepare(self, driver: ServerConnection) -> None:
        """Prepare a new connection for use."""
        encoding = driver.info.parameter_status("server_encoding")
        if encoding and encoding != "UTF8":  # a pooler may not report it
            raise StoreUnavailable(
                f"the database {self.url.database} has encoding {encoding}, in which not every text can be stored: "
                "use one with encoding UTF8"
            )
        session, synchronous_commit, backend = answer(driver, _ABOUT_SESSION)
        if self._prepares and not is_pooled(driver, int(backend)):
            self._sessions[driver] = session.decode()
        else:
            driver.prepare_threshold = None
        if self._durability == "full":
            self.commits_unsynced = synchronous_commit == b"off"

    def begin(self, driver: ServerConnection) -> tuple[str | None, Ticket | None]:
        # The isolation level is given, because a server, a database or a role may have another default: a transaction
        # that has waited for a lock must see what was committed meanwhile. All statements are sent in one message. That
        # cannot be prepared, which psycopg does not notice if Ctrl-C interrupts it: hence prepare=False.
        sync = "SET LOCAL synchronous_commit = on; " if self.commits_unsynced else ""
        wait = f"SET LOCAL lock_timeout = '{self.lock_timeout}'; "
        cursor = driver.execute(
            f"BEGIN ISOLATION LEVEL READ COMMITTED; {wait}{sync}{_REVISION_AND_TICKET}", prepare=False
        )
        while cursor.nextset():
            pass
        row = cursor.fetchone()
        return (None, None) if row is None else (str(row[0]), Ticket(*row[1:]))

    def was_committed(self, driver: ServerConnection, ticket: Ticket) -> bool:
        import psycopg

        asked = driver.execute(_STATUS, {"number": int(ticket.number), "life": ticket.life})
        ((is_standby, status),) = asked.fetchall()
        if is_standby:
            raise psycopg.OperationalError("the server is a standby, and the connection was lost during a COMMIT")
        if status is None:
            raise StoreUnavailable(
                f"the store {self._where} was lost during a COMMIT, and its server has since crashed or changed"
            )
        if status == "in progress":
            raise psycopg.OperationalError("the connection was lost during a COMMIT that has not ended")
        if status == "committed":
            driver.execute(_WAIT_FOR_STANDBY)
        return bool(status == "committed")

    def session_of(self, driver: ServerConnection) -> str | None:
        return self._sessions.get(driver)

    def end_session(self, driver: ServerConnection, session: str) -> None:
        import psycopg

        number, start = session.split(" ")
        if driver.execute(_END_SESSION, [int(number), start]).fetchall():
            raise psycopg.OperationalError("the connection was lost during a statement that has not ended")
        driver.execute(_WAIT_FOR_STANDBY)

    def is_usable(self, driver: ServerConnection, *, look: bool) -> bool:
        if driver.closed or driver.pgconn.transaction_status or driver.pgconn.pipeline_status:
            return False
        if not look:
            return True
        # The server sends nothing over an idle connection. If there is something to read, the connection has ended.
        poll = readiness.poll()  # not select(), which rejects file descriptors above 1023
        poll.register(driver.fileno(), readiness.POLLIN)
        return not poll.poll(0)

    def latest_commit(self, connection: Transaction) -> object:
        # Which transactions of the server have ended. Nothing is read from a table, and a standby knows it too.
        return connection.driver.execute("SELECT CAST(pg_catalog.txid_current_snapshot() AS text)").fetchone()

    def is_busy(self, error: BaseException) -> bool:
        import psycopg

        if isinstance(error, psycopg.errors.UniqueViolation):
            return error.diag.constraint_name == _SAME_NUMBER
        return getattr(error, "sqlstate", None) in _BUSY

    def is_full(self, error: BaseException) -> bool:
        return getattr(error, "sqlstate", None) == _DISK_FULL

    def stops_preparing(self, error: BaseException) -> bool:
        if not self._prepares or getattr(error, "sqlstate", None) not in _NOT_PREPARED:
            return False
        self._prepares = False
        return True

    def is_gone(self, error: BaseException) -> bool:
        import psycopg

        if not isinstance(error, psycopg.Error):
            return False
        if error.sqlstate:
            return error.sqlstate.startswith(_GONE)
        if not isinstance(error, (psycopg.OperationalError, psycopg.InterfaceError)):
            return False
        return is_temporary(str(error))

    def own_error(self, error: BaseException, *, locked: bool = False) -> ZrbStoreError | None:
        import psycopg

        where = self._where
        if isinstance(error, (OSError, psycopg.OperationalError)) and is_out_of_files():
            return StoreUnavailable(f"the store {where} cannot be reached: {OUT_OF_FILES}")
        if not isinstance(error, psycopg.Error):
            return None
        text = " ".join(mask_text(str(error)).split())  # masked because libpq quotes parameters that it rejects
        state = error.sqlstate or ""
        if state in ("42501", "25006"):
            hint = _OTHER_HOST if state == "25006" and _may_be_standby(self.url) else ""
            return StoreUnavailable(f"the store {where} does not allow this: {text}{hint}")
        if state in ("42P01", "42703"):
            return incomplete_error(where, error.diag.message_primary or text, "drop its tables zrb_*")
        if state.startswith("53"):
            return StoreUnavailable(f"the store {where} is out of space or connections: {text}")
        if locked or self.is_busy(error):
            return StoreUnavailable(f"the store {where} is locked by another program; end it or try later: {text}")
        if state.startswith("23"):
            return ZrbStoreError(f"the store {where} refuses rows that contradict each other: {text}")
        if state == "57014":
            return StoreUnavailable(f"the store {where} stopped a statement that took too long: {text}")
        if state[:2] in ("58", "XX", "F0"):
            return StoreUnavailable(f"the store {where} reports an error of its own: {text}")
        if isinstance(error, psycopg.ProgrammingError) and not state:
            return InvalidArgument(f"the store's URL {where} is not understood: {text}")
        if not state and any(words in text for words in _FULL):
            return patience.NoConnectionLeft(f"the store {where} cannot be reached: {text}")
        if self.is_gone(error) or (not state and isinstance(error, psycopg.OperationalError)):
            return StoreUnavailable(f"the store {where} cannot be reached: {text or 'the connection was lost'}")
        return None
