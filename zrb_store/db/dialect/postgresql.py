"""PostgreSQL's hooks."""

from __future__ import annotations

import logging
import re
import select as readiness
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import URL

from zrb_store.db.dialect.statements import REVISION_SQL
from zrb_store.db.dialect.watchdog import Watched, watch
from zrb_store.db.urls import shown_url
from zrb_store.errors import InvalidName, StoreUnavailable, ZrbStoreError
from zrb_store.masking import mask_text

# Another transaction was in the way, and this one was undone.
_BUSY = ("40001", "40P01", "55P03")
# The server has ended the connection (57P), or ended it since a transaction was idle or long (25P03, 25P04).
_GONE = ("08", "57P", "25P03", "25P04")
# Two attempts of one task that begin at once take the same number.
_SAME_NUMBER = "uq_zrb_attempt_session_id_task_number"
# What does not pass by itself, of what goes wrong before a server has answered with a code. A server that refuses us
# says FATAL; unless it is starting, stopping or full, it will do so again.
_PASSING = ("database system", "connection slots", "too many")
_LASTING = re.compile(
    "does not support SSL|SSL was required|certificate|sslmode|fe_sendauth|no password|authentication method"
    "|channel binding|GSSAPI|service file|unsupported frontend protocol",
    re.IGNORECASE,
)

# psycopg warns of pipelines that end with their connection; where nobody listens, Python would print that to stderr.
logging.getLogger("psycopg").addHandler(logging.NullHandler())


class PostgreSQL:
    """PostgreSQL through psycopg 3, one connection held per process.

    Nothing is set on a server session beyond the end of a transaction: behind a pooler others get that session next.
    """

    lock_timeout = "5s"  # then the same is tried again, until the operation's time is up
    begin_snapshot = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
    backs_up = False
    # In the schema that our tables are in: further down the search_path it would be another program's.
    has_versions = sa.text(
        "SELECT tablename FROM pg_catalog.pg_tables "
        "WHERE schemaname = current_schema() AND tablename IN ('zrb_version', 'zrb_session', 'alembic_version')"
    )
    has_foreign = sa.text("SELECT 1 WHERE false")  # programs share a PostgreSQL database; our names have a prefix

    def __init__(self) -> None:
        self.commits_unsynced = False

    def engine(self, url: URL, *, read_only: bool, durability: str) -> sa.Engine:
        try:
            import psycopg
        except ImportError:
            raise StoreUnavailable('PostgreSQL needs psycopg: pip install "zrb-store[postgres]"') from None
        # A server that vanishes is noticed; what the URL says goes before.
        options = {"keepalives_idle": 15, "keepalives_interval": 5, "keepalives_count": 3, "tcp_user_timeout": 30_000}
        options = {"connect_timeout": 10, "autocommit": True} | options
        options = {name: number for name, number in options.items() if name not in url.query}
        engine = sa.create_engine(url.set(drivername="postgresql+psycopg"), connect_args=options, poolclass=sa.NullPool)

        @sa.event.listens_for(engine, "connect", insert=True)  # before SQLAlchemy reads its version as text
        def prepare(driver: psycopg.Connection[Any], _: Any) -> None:
            encoding = driver.info.parameter_status("server_encoding")
            if encoding and encoding != "UTF8":  # a pooler in between may not tell
                raise StoreUnavailable(
                    f"the database {url.database} has encoding {encoding}, in which not every text can be stored: "
                    "use one with encoding UTF8"
                )
            if durability == "full":
                row = driver.execute("SHOW synchronous_commit").fetchone()
                self.commits_unsynced = row is not None and row[0] == "off"

        return engine

    def watch(self, database: Watched) -> None:
        watch(database)

    def open_file(self, url: URL) -> None:
        return None

    def begin(self, driver: Any) -> str | None:
        # What is needed is said, since a server, a database or a role may have other defaults: a transaction that has
        # waited for a lock must see what was committed meanwhile. All in one message.
        sync = "SET LOCAL synchronous_commit = on; " if self.commits_unsynced else ""
        wait = f"SET LOCAL lock_timeout = '{self.lock_timeout}'; "
        cursor = driver.execute(f"BEGIN ISOLATION LEVEL READ COMMITTED; {wait}{sync}{REVISION_SQL}")
        while cursor.nextset():
            pass
        row = cursor.fetchone()
        return None if row is None else str(row[0])

    def create(self, url: URL) -> None:
        pass

    def is_idle(self, driver: Any) -> bool:
        if driver.closed or driver.pgconn.transaction_status or driver.pgconn.pipeline_status:
            return False
        # An idle connection has nothing to say: what can be read is its end.
        poll = readiness.poll()  # select() takes no descriptor above 1023
        poll.register(driver.fileno(), readiness.POLLIN)
        return not poll.poll(0)

    def is_busy(self, error: BaseException) -> bool:
        import psycopg

        if isinstance(error, psycopg.errors.UniqueViolation):
            return error.diag.constraint_name == _SAME_NUMBER
        return getattr(error, "sqlstate", None) in _BUSY

    def is_gone(self, error: BaseException) -> bool:
        import psycopg

        if not isinstance(error, psycopg.Error):
            return False
        if error.sqlstate:
            return error.sqlstate.startswith(_GONE)
        if not isinstance(error, (psycopg.OperationalError, psycopg.InterfaceError)):
            return False
        text = str(error)
        if "FATAL:" in text:
            return any(words in text for words in _PASSING)
        return not _LASTING.search(text)

    def explain(self, error: BaseException, url: URL, *, locked: bool = False) -> ZrbStoreError | None:
        import psycopg

        if not isinstance(error, psycopg.Error):
            return None
        where = shown_url(url)
        text = " ".join(mask_text(str(error)).split())  # libpq quotes what it does not understand
        state = error.sqlstate or ""
        if state in ("42501", "25006"):
            return StoreUnavailable(f"the store {where} does not allow this: {text}")
        if state == "42P01":
            return StoreUnavailable(f"the store {where} has lost a table: {text}; restore a backup")
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
            return InvalidName(f"the store's URL {where} is not understood: {text}")
        if self.is_gone(error) or (not state and isinstance(error, psycopg.OperationalError)):
            return StoreUnavailable(f"the store {where} cannot be reached: {text or 'the connection was lost'}")
        return None
