"""`push(value, connection=...)`: a value that is there once a transaction of the user commits."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any

from zrb_store.db.core import sa
from zrb_store.db.engine import Database, joined
from zrb_store.db.transaction import Transaction
from zrb_store.errors import InvalidArgument
from zrb_store.own_tables import places, store
from zrb_store.own_tables.guard import has_ended


def push(database: Database, insert: Callable[[], None], connection: object) -> Any:
    """Push by `insert` in the transaction of a connection; for an asynchronous one, return an awaitable that does."""

    def push_in(transaction: Transaction) -> None:
        with joined(database, transaction):
            insert()

    if isinstance(connection, sa.Connection):
        return push_in(_of_sqlalchemy(connection, database))
    if isinstance(connection, sqlite3.Connection):
        return push_in(_of_sqlite(connection, database))
    module = type(connection).__module__.partition(".")[0]
    if module == "psycopg" and type(connection).__name__ != "AsyncConnection":
        return push_in(_of_psycopg(connection, database))
    if module == "sqlalchemy":
        from zrb_store.own_tables import asynchronous

        if (found := asynchronous.sync_connection(connection)) is not None:
            return asynchronous.run(lambda: push_in(_of_sqlalchemy(found, database)))
    raise InvalidArgument(
        f"connection= is a {type(connection).__name__}: give an open Connection or AsyncConnection of SQLAlchemy, or "
        "one of sqlite3 or psycopg"
    )


def _of_sqlalchemy(connection: sa.Connection, database: Database) -> Transaction:
    if connection.closed or not connection.in_transaction():
        raise _no_transaction_error("`with engine.begin() as connection`")
    dialect = connection.dialect
    if dialect.driver not in store.DRIVERS and dialect.name == database.dialect_name:
        raise InvalidArgument(f"connection= is one of {dialect.driver}, which cannot push: use psycopg")
    if not places.place_of_connection(connection).is_of(database):
        raise _elsewhere_error(database)
    if has_ended(connection):  # the driver has not begun yet
        driver: Any = connection.connection.driver_connection
        if driver.isolation_level is None:
            raise _no_transaction_error("an engine that is not in AUTOCOMMIT")
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    elif getattr(connection.connection.dbapi_connection, "autocommit", False) is True:
        raise _no_transaction_error("an engine that is not in AUTOCOMMIT")
    return store.transaction_of(connection)


def _of_sqlite(driver: sqlite3.Connection, database: Database) -> Transaction:
    try:
        place = places.in_file(driver.execute(places.IN_FILE).fetchall())
    except sqlite3.ProgrammingError as error:  # it is closed, or of another thread
        raise InvalidArgument(f"connection= cannot be used: {error}") from None
    if not place.is_of(database):
        raise _elsewhere_error(database)
    if not driver.in_transaction:
        if driver.isolation_level is None:
            raise _no_transaction_error('`connection.execute("BEGIN IMMEDIATE")`')
        driver.execute("BEGIN IMMEDIATE")
    if not store.has_clock(driver):
        store.add_clock(driver)
    return Transaction(driver, "sqlite")


def _of_psycopg(driver: Any, database: Database) -> Transaction:
    if driver.closed or (driver.autocommit and not driver.pgconn.transaction_status):
        raise _no_transaction_error("`with connection.transaction()`")
    cursors = store.Cursors(driver, tuples=True)
    if not places.on_server(cursors.execute(places.ON_SERVER).fetchone()).is_of(database):
        raise _elsewhere_error(database)
    return Transaction(cursors, "postgresql")


def _no_transaction_error(advice: str) -> InvalidArgument:
    return InvalidArgument(f"connection= has no transaction, with which the value could be committed: use {advice}")


def _elsewhere_error(database: Database) -> InvalidArgument:
    return InvalidArgument(
        f"connection= is not to the database of the store {database.shown_url}: push without it, or write to your "
        "table by `step.transaction`"
    )
