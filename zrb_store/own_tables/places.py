"""Where connections lead, as they say themselves: a database has many URLs, and an engine may have none."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from zrb_store.db.core import sa
from zrb_store.db.engine import Database

IN_FILE = "PRAGMA database_list"
ON_SERVER = (
    "SELECT pg_catalog.current_database() AS name, "
    "CAST((SELECT system_identifier FROM pg_catalog.pg_control_system()) AS text) AS server, "
    "CAST((SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()) AS text) AS oid, "
    "CAST(CAST(pg_catalog.to_regclass('zrb_value') AS oid) AS text) AS place"
)
_NAME = "SELECT pg_catalog.current_database()"  # a role may be forbidden to ask for more


class Place(NamedTuple):
    """Where a connection leads."""

    name: str  # of the database, for people
    file: str | None = None  # SQLite's; empty if it is in memory
    server: tuple[Any, ...] = ()  # PostgreSQL's, the database there, and the table of a store that is found in it

    def is_of(self, database: Database) -> bool:
        """Whether it is the database of this store."""
        if self.file is None:
            return database.dialect_name == "postgresql" and None not in self.server and self == _of_store(database)
        with contextlib.suppress(OSError):  # there is no such file
            return database.dialect_name == "sqlite" and Path(self.file).samefile(str(database.url.database))
        return False


def in_file(rows: Iterable[Sequence[Any]]) -> Place:
    """Return the place of a connection to SQLite, by its answer to `IN_FILE`."""
    file = next(str(row[2] or "") for row in rows if row[1] == "main")
    return Place(Path(file).name, file)


def on_server(row: Sequence[Any]) -> Place:
    """Return the place of a connection to PostgreSQL, by its answer to `ON_SERVER`."""
    return Place(row[0], server=tuple(row[1:]))


_known: WeakKeyDictionary[sa.Pool, Place] = WeakKeyDictionary()
_stores: WeakKeyDictionary[Database, Place] = WeakKeyDictionary()


def known(engine: sa.Engine) -> Place | None:
    """Return where the connections of an engine lead, if that was asked."""
    return _known.get(engine.pool)


def place_of(engine: sa.Engine) -> Place:
    """Return where the connections of an engine lead; the first time, ask over one."""
    found = known(engine)
    if found is None:
        with engine.connect() as connection:
            try:
                return place_of_connection(connection)
            except sa.exc.DBAPIError:
                connection.rollback()
                found = _known[engine.pool] = Place(connection.exec_driver_sql(_NAME).scalar_one())
    return found


def place_of_connection(connection: sa.Connection) -> Place:
    """Return where a connection leads; the first time, ask over it."""
    found = known(connection.engine)
    if found is None:
        if connection.dialect.name == "sqlite":
            found = in_file(connection.exec_driver_sql(IN_FILE).all())
        else:
            found = on_server(connection.exec_driver_sql(ON_SERVER).one())
        _known[connection.engine.pool] = found
    return found


def _of_store(database: Database) -> Place:
    if database not in _stores:
        _stores[database] = on_server(database.operate(lambda transaction: transaction.ask(ON_SERVER))[0])
    return _stores[database]
