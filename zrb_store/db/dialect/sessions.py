"""Making sure that a server session of PostgreSQL whose client is lost changes nothing any more."""

from __future__ import annotations

from typing import Any

from zrb_store.db.dialect.tickets import RECORD

# Its number alone may be another session's by now.
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


def end_session(driver: Any, session: str) -> None:
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
    # If it was ended while it waited for a synchronous standby, its commit is not there yet. This one is later.
    driver.execute(f"SELECT {RECORD}")
