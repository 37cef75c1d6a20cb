"""Where the user's database is the store's own: a transaction of the user can change the store, too."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from zrb_store.db.core import sa
from zrb_store.db.engine import Database, joined
from zrb_store.db.transaction import Row, Transaction

# Those whose connections take our statements as they are.
_DRIVERS = ("psycopg", "psycopg2", "pysqlite", "aiosqlite")
# The server, the database in it, and our table as this connection finds it.
PLACE = (
    "SELECT CAST((SELECT system_identifier FROM pg_catalog.pg_control_system()) AS text) AS server, "
    "CAST((SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()) AS text) AS database, "
    "CAST(CAST(pg_catalog.to_regclass('zrb_value') AS oid) AS text) AS place"
)

_known: WeakKeyDictionary[sa.Engine, dict[str, bool]] = WeakKeyDictionary()


def is_store(engine: sa.Engine, database: Database) -> bool:
    """Whether an engine leads to the database that a store is in, as the two connections say."""
    known = _known.setdefault(engine, {})
    if database.shown_url not in known:
        known[database.shown_url] = _is_store(engine, database)
    return known[database.shown_url]


def _is_store(engine: sa.Engine, database: Database) -> bool:
    if engine.dialect.name != database.dialect_name or engine.dialect.driver not in _DRIVERS:
        return False
    with engine.connect() as connection:
        if database.dialect_name == "sqlite":
            return is_file(connection.exec_driver_sql("PRAGMA database_list").all(), database)
        try:
            there = tuple(connection.exec_driver_sql(PLACE).one())
        except sa.exc.DBAPIError:  # a role may be forbidden to ask
            return False
    return is_place(there, database)


def is_file(rows: Iterable[Sequence[Any]], database: Database) -> bool:
    """Whether the main file of SQLite's list of databases is that of a store."""
    paths = [str(row[2]) for row in rows if row[1] == "main" and row[2]]
    return any(Path(path).samefile(str(database.url.database)) for path in paths)


def is_place(there: Sequence[Any] | Mapping[str, Any] | None, database: Database) -> bool:
    """Whether the answer to `PLACE` is that of a store's server."""
    found = tuple(there.values() if isinstance(there, Mapping) else there or ())
    here: list[Row] = database.operate(lambda transaction: transaction.ask(PLACE))
    return found == here[0] and found[2] is not None


class Cursors:
    """A connection of a driver, used by way of its cursors; with `tuples`, whatever rows psycopg makes for its user."""

    def __init__(self, connection: Any, *, tuples: bool = False) -> None:
        self._connection = connection
        self._options = {"row_factory": import_module("psycopg.rows").tuple_row} if tuples else {}

    def execute(self, sql: str, params: Sequence[Any] = ()) -> Any:
        cursor = self.cursor()
        cursor.execute(sql, params)
        return cursor

    def cursor(self) -> Any:
        return self._connection.cursor(**self._options)


def add_clock(driver: Any) -> None:
    """Add the function to a connection of SQLite by which our statements read the clock."""
    driver.create_function("zrb_now", 0, time.time_ns)


def transaction_of(connection: sa.Connection) -> Transaction:
    """Return what runs our statements in the transaction of a connection."""
    driver = connection.connection.dbapi_connection
    assert driver is not None
    if connection.dialect.name == "sqlite":
        add_clock(driver)
    is_ours = connection.dialect.driver in ("psycopg", "pysqlite") and not connection.dialect.is_async
    return Transaction(driver if is_ours else Cursors(driver), connection.dialect.name)


@contextlib.contextmanager
def in_transaction_of(connection: sa.Connection, database: Database) -> Iterator[None]:
    """Let a block do what it does to the store in the transaction of a connection."""
    transaction = transaction_of(connection)
    with joined(database, transaction):
        yield
