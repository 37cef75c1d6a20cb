"""PostgreSQL's hooks."""

from __future__ import annotations

import select as readiness
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import URL

from zrb_store.errors import StoreUnavailable, ZrbStoreError


class PostgreSQL:
    """PostgreSQL through psycopg 3, one connection held per process."""

    lock_timeout = "5s"  # then the same is tried again, until the store's patience ends
    begin = "BEGIN"
    begin_snapshot = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
    backs_up = False
    # In the schema that our tables are in: further down the search_path it would be another program's.
    has_versions = sa.text(
        "SELECT tablename FROM pg_catalog.pg_tables "
        "WHERE schemaname = current_schema() AND tablename IN ('zrb_version', 'zrb_session', 'alembic_version')"
    )
    has_foreign = sa.text("SELECT 1 WHERE false")  # programs share a PostgreSQL database; our names have a prefix

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
        settings = [f"SET lock_timeout = '{self.lock_timeout}'"]
        if read_only:
            settings.append("SET default_transaction_read_only = on")
        if durability == "full":
            settings.append("SET synchronous_commit = on")

        @sa.event.listens_for(engine, "connect", insert=True)  # before SQLAlchemy reads its version as text
        def prepare(driver: psycopg.Connection[Any], _: Any) -> None:
            encoding = driver.info.parameter_status("server_encoding")
            if encoding and encoding != "UTF8":  # a pooler in between may not tell
                raise StoreUnavailable(
                    f"the database {url.database} has encoding {encoding}, in which not every text can be stored: "
                    "use one with encoding UTF8"
                )
            driver.execute("; ".join(settings))

        return engine

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
        # The last one: two attempts of one task that begin at once take the same number.
        return getattr(error, "sqlstate", None) in ("40001", "40P01", "55P03", "23505")

    def is_gone(self, error: BaseException) -> bool:
        import psycopg

        if not isinstance(error, (psycopg.OperationalError, psycopg.InterfaceError)):
            return False
        if error.sqlstate:
            return error.sqlstate.startswith(("08", "57P"))
        # It did not come so far. A server that answers refuses us for good, unless it is starting, stopping or full.
        passing = ("database system", "connection slots", "too many")
        return "FATAL:" not in str(error) or any(words in str(error) for words in passing)

    def explain(self, error: BaseException, url: URL) -> ZrbStoreError | None:
        import psycopg

        if not isinstance(error, psycopg.Error):
            return None
        where = url.render_as_string(hide_password=True)
        text = " ".join(str(error).split())
        state = error.sqlstate or ""
        if state in ("42501", "25006"):
            return StoreUnavailable(f"the store {where} does not allow this: {text}")
        if state.startswith("53"):
            return StoreUnavailable(f"the store {where} is out of space or connections: {text}")
        if self.is_busy(error):
            return StoreUnavailable(f"the store {where} is locked by another program; end it or try later: {text}")
        if isinstance(error, (psycopg.OperationalError, psycopg.InterfaceError)):
            return StoreUnavailable(f"the store {where} cannot be reached: {text or 'the connection was lost'}")
        return None
