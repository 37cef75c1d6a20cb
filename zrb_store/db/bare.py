"""Reading a store without SQLAlchemy, for what must answer at once: completion with TAB.

A store is never created or changed here, and nothing is repeated: whoever asks can do without an answer.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from typing import Any, Protocol

from zrb_store.db.location import file_of, libpq_uri_of
from zrb_store.db.sqlite_file import open_file_read_only


class Reader(Protocol):
    """An open store.

    Attributes:
        is_near: Whether a query takes microseconds, so that many small ones are faster than one that reads more rows.
        bytewise: What follows a column in ORDER BY, so that the order is that of the bytes.
    """

    is_near: bool
    bytewise: str

    def rows(self, sql: str, *params: object) -> list[tuple[Any, ...]]:
        """Return the rows of a query, whose parameters are written as `?`."""

    def begins(self, column: str, prefix: str) -> tuple[str, list[str]]:
        """Return a condition that a text begins with `prefix`, and its parameters. An index is used if there is one."""


@contextlib.contextmanager
def open_bare(location: str) -> Iterator[Reader | None]:
    """Open a store to read it; give None if the location names none.

    Args:
        location: As users give it.
    """
    path = file_of(location)
    uri = libpq_uri_of(location)
    if path is not None and path.is_file():
        with contextlib.closing(open_file_read_only(path)) as driver:
            driver.text_factory = lambda raw: raw.decode("utf-8", "backslashreplace")
            yield _SQLite(driver)
    elif uri is not None:
        import psycopg  # late: takes a tenth of a second

        # Both timeouts end a wait before the user has given up. libpq takes no less than two seconds for the first.
        with psycopg.connect(uri, connect_timeout=2, autocommit=True, prepare_threshold=None) as connection:
            # For this transaction only, because a pooler may give the server's session to others.
            connection.execute("BEGIN READ ONLY; SET LOCAL statement_timeout = '1s'")
            yield _PostgreSQL(connection)
    else:
        yield None


class _SQLite:
    is_near = True
    bytewise = ""

    def __init__(self, driver: sqlite3.Connection) -> None:
        self._driver = driver

    def rows(self, sql: str, *params: object) -> list[tuple[Any, ...]]:
        return self._driver.execute(sql, params).fetchall()

    def begins(self, column: str, prefix: str) -> tuple[str, list[str]]:
        if not prefix:
            return "1 = 1", []
        # The second text is above all that begin with the prefix: names seldom contain the last of all characters.
        return f"{column} >= ? AND {column} < ?", [prefix, f"{prefix}\U0010ffff"]


class _PostgreSQL:
    is_near = False
    bytewise = ' COLLATE "C"'

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def rows(self, sql: str, *params: object) -> list[tuple[Any, ...]]:
        found: list[tuple[Any, ...]] = self._connection.execute(sql.replace("?", "%s"), params).fetchall()
        return found

    def begins(self, column: str, prefix: str) -> tuple[str, list[str]]:
        return f"starts_with({column}, ?)", [prefix]
