"""Where the user's database is the store's own: a transaction of the user can change the store, too."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from zrb_store.db.core import sa
from zrb_store.db.engine import Database, joined
from zrb_store.db.transaction import Row, Transaction

# Those whose connections take our statements as they are.
_DRIVERS = ("psycopg", "psycopg2", "pysqlite", "aiosqlite")
# The server, the database in it, and our table as this connection finds it.
_PLACE = (
    "SELECT CAST((SELECT system_identifier FROM pg_catalog.pg_control_system()) AS text), "
    "CAST((SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()) AS text), "
    "CAST(CAST(pg_catalog.to_regclass('zrb_value') AS oid) AS text)"
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
            rows = connection.exec_driver_sql("PRAGMA database_list").all()
            paths = [str(row[2]) for row in rows if row[1] == "main" and row[2]]
            return any(Path(path).samefile(str(database.url.database)) for path in paths)
        try:
            there = tuple(connection.exec_driver_sql(_PLACE).one())
        except sa.exc.DBAPIError:  # a role may be forbidden to ask
            return False
    here: list[Row] = database.operate(lambda transaction: transaction.ask(_PLACE))
    return there == here[0] and there[2] is not None


class _Driver:
    """A connection of a driver, used by way of the cursors that SQLAlchemy makes of it."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def execute(self, sql: str, params: Sequence[Any] = ()) -> Any:
        cursor = self._connection.cursor()
        cursor.execute(sql, params)
        return cursor

    def cursor(self) -> Any:
        return self._connection.cursor()


def transaction_of(connection: sa.Connection) -> Transaction:
    """Return what runs our statements in the transaction of a connection."""
    driver = connection.connection.dbapi_connection
    assert driver is not None
    if connection.dialect.name == "sqlite":
        driver.create_function("zrb_now", 0, time.time_ns)
    is_ours = connection.dialect.driver in ("psycopg", "pysqlite") and not connection.dialect.is_async
    return Transaction(driver if is_ours else _Driver(driver), connection.dialect.name)


@contextlib.contextmanager
def in_transaction_of(connection: sa.Connection, database: Database) -> Iterator[None]:
    """Let a block do what it does to the store in the transaction of a connection."""
    transaction = transaction_of(connection)
    with joined(database, transaction):
        yield
