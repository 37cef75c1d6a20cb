"""Where the user's database is the store's own: a transaction of the user can change the store, too."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Iterator, Sequence
from importlib import import_module
from typing import Any

from zrb_store.db.core import sa
from zrb_store.db.engine import Database, joined
from zrb_store.db.transaction import Transaction
from zrb_store.own_tables.places import place_of

DRIVERS = ("psycopg", "psycopg2", "pysqlite", "aiosqlite")
"""Those whose connections take our statements as they are."""


def is_store(engine: sa.Engine, database: Database) -> bool:
    """Whether a transaction of an engine can change a store."""
    return engine.dialect.driver in DRIVERS and place_of(engine).is_of(database)


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


def has_clock(driver: sqlite3.Connection) -> bool:
    """Whether it was added. If it is added again, SQLite compiles all statements again."""
    try:
        driver.execute("SELECT zrb_now()").close()
    except sqlite3.OperationalError:
        return False
    return True


def transaction_of(connection: sa.Connection) -> Transaction:
    """Return what runs our statements in the transaction of a connection."""
    driver = connection.connection.dbapi_connection
    assert driver is not None
    if connection.dialect.name == "sqlite" and not connection.info.get(add_clock):
        add_clock(driver)
        connection.info[add_clock] = True  # for as long as the pool keeps the driver's connection
    is_ours = connection.dialect.driver in ("psycopg", "pysqlite") and not connection.dialect.is_async
    return Transaction(driver if is_ours else Cursors(driver), connection.dialect.name)


@contextlib.contextmanager
def in_transaction_of(connection: sa.Connection, database: Database) -> Iterator[None]:
    """Let a block do what it does to the store in the transaction of a connection."""
    transaction = transaction_of(connection)
    with joined(database, transaction):
        yield
