"""Schema upgrades. Alembic is imported only inside these functions: an up-to-date store never needs it."""

from __future__ import annotations

import os
import random
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from zrb_store.db import tables
from zrb_store.db.dialect import dialect_of
from zrb_store.errors import StoreUnavailable

if TYPE_CHECKING:
    from alembic.config import Config

T = TypeVar("T")

tables.add_postgresql_options()

WAIT_SECONDS = 30

# As Alembic makes it.
CREATE_VERSION_TABLE = (
    "CREATE TABLE {0} (version_num VARCHAR(32) NOT NULL, CONSTRAINT {0}_pkc PRIMARY KEY (version_num))"
)
# "the store has revision ..., unknown to this version: upgrade zrb-store", say the programs of revision 0001.
UNKNOWN_TO_0001 = "0002 or newer"

# Any number does, as long as every zrb-store takes the same one. PostgreSQL keeps it apart per database.
_ADVISORY_LOCK = int.from_bytes(b"zrbstore")

# Alembic keeps what it works on in the globals of a module.
_one_thread = threading.Lock()


def upgrade(bind: sa.Engine | sa.Connection, *, back_up: bool = False) -> None:
    """Bring a store to the newest revision, whole or not at all.

    Processes that do this at the same time wait for each other; the later ones find nothing to do.

    Args:
        bind: The store. On a connection no transaction may have begun.
        back_up: Copy a SQLite store that is behind to `FILE.REVISION.bak` first.

    Raises:
        StoreUnavailable: The upgrade was undone, because rows would have referred to nothing.
    """
    from alembic import command

    with _connection(bind) as connection, exclusive(connection):
        revision = _revision(connection)
        if revision != head():
            if revision and back_up and connection.dialect.name == "sqlite":
                _copy(connection, revision)
            command.upgrade(alembic_config(connection), "head")


def statements(bind: sa.Engine | sa.Connection) -> str:
    """The SQL that `upgrade` would run. Changes nothing.

    Args:
        bind: As for `upgrade`.
    """
    from alembic import command

    with _connection(bind) as connection:
        config = alembic_config(connection)
        config.output_buffer = StringIO()
        command.upgrade(config, f"{_revision(connection) or 'base'}:head", sql=True)
        connection.rollback()
        return config.output_buffer.getvalue()


def head() -> str | None:
    """The newest revision there is a migration for."""
    from alembic.script import ScriptDirectory

    return ScriptDirectory(str(folder())).get_current_head()


def is_known(revision: str) -> bool:
    """Whether this version of zrb-store has the migration that led to `revision`."""
    from alembic.script import ScriptDirectory

    return revision in {script.revision for script in ScriptDirectory(str(folder())).walk_revisions()}


def alembic_config(connection: sa.Connection) -> Config:
    """Alembic's configuration without alembic.ini, which a wheel does not carry."""
    from alembic.config import Config

    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(folder()).replace("%", "%%"))
    return config


def folder() -> Path:
    """Where the migrations are: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).resolve().parent.parent
    for candidate in (package / "_migrations", package.parent / "migrations"):
        if (candidate / "env.py").is_file():
            return candidate
    raise StoreUnavailable(f"the migrations are missing beside {package}: install zrb-store again")


def version_schema(connection: sa.Connection) -> str | None:
    """The schema that new tables go to, hence also Alembic's. None on SQLite.

    Alembic by itself takes the first version table on the whole search_path, which may be another store's.
    """
    if connection.dialect.name == "sqlite":
        return None
    schema: str | None = connection.exec_driver_sql("SELECT current_schema()").scalar()
    if schema is None:
        raise StoreUnavailable("the search_path of this database names no schema that exists: create it first")
    return schema


def move_revision(connection: sa.Connection, execute: Callable[[str], None]) -> None:
    """Write the revision of a store that is at 0001 to where Alembic looks for it now. Otherwise do nothing.

    In the old place a text remains that no program of revision 0001 knows: it refuses the store from now on.

    Args:
        connection: The store, in the transaction of the upgrade.
        execute: What runs a statement, or prints it.
    """
    if _version_table(connection) == tables.OLD_VERSION_TABLE:
        execute(CREATE_VERSION_TABLE.format(tables.VERSION_TABLE))
        execute(f"INSERT INTO {tables.VERSION_TABLE} SELECT version_num FROM {tables.OLD_VERSION_TABLE}")
        execute(f"UPDATE {tables.OLD_VERSION_TABLE} SET version_num = '{UNKNOWN_TO_0001}'")


@contextmanager
def exclusive(connection: sa.Connection) -> Iterator[None]:
    """One transaction in which nobody else migrates: kept if the block ends well, otherwise undone."""
    guard = _sqlite if connection.dialect.name == "sqlite" else _postgresql
    with guard(connection):
        yield


@contextmanager
def _connection(bind: sa.Engine | sa.Connection) -> Iterator[sa.Connection]:
    """A connection to the store for one thread of this process at a time."""
    with ExitStack() as held:
        if isinstance(bind, sa.Engine):
            bind = held.enter_context(_patiently(bind.connect, bind))
        held.enter_context(_one_thread)
        yield bind


def _patiently(action: Callable[[], T], engine: sa.Engine) -> T:
    """Do it, again if another process was in the way."""
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        try:
            return action()
        except DBAPIError as error:
            busy = error.orig is not None and dialect_of(engine.url).is_busy(error.orig)
            if not busy or time.monotonic() > deadline:
                raise
            time.sleep(random.uniform(0.001, 0.01))


@contextmanager
def _sqlite(connection: sa.Connection) -> Iterator[None]:
    def pragma(name: str) -> int:
        return int(connection.exec_driver_sql(f"PRAGMA {name}").scalar_one())

    before = {name: pragma(name) for name in ("foreign_keys", "busy_timeout")}
    connection.exec_driver_sql(f"PRAGMA busy_timeout={WAIT_SECONDS * 1000}")
    try:
        # Fails at once while others open the file, whatever busy_timeout says.
        _patiently(lambda: connection.exec_driver_sql("PRAGMA journal_mode=WAL"), connection.engine)
        # Recreating a table, as ALTER does on SQLite, would delete the rows that refer to it.
        # Inside a transaction this pragma has no effect.
        connection.exec_driver_sql("PRAGMA foreign_keys=OFF")
        connection.exec_driver_sql("BEGIN IMMEDIATE")  # the driver begins nothing before DDL
        yield
        broken = connection.exec_driver_sql("PRAGMA foreign_key_check").fetchall()
        if broken:
            tables = ", ".join(sorted({str(row[0]) for row in broken}))
            raise StoreUnavailable(
                f"the upgrade was undone: {len(broken)} rows would refer to nothing (in {tables}); restore a backup"
            )
        connection.commit()
    finally:
        connection.rollback()
        for name, value in before.items():
            connection.exec_driver_sql(f"PRAGMA {name}={value}")
        connection.rollback()


@contextmanager
def _postgresql(connection: sa.Connection) -> Iterator[None]:
    # Our engines are in autocommit mode, which knows no transaction.
    connection.execution_options(isolation_level="READ COMMITTED")
    with connection.begin():
        connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{WAIT_SECONDS}s'")
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_ADVISORY_LOCK})")
        found = _version_table(connection)
        if found is not None:  # who has read it in a transaction that still runs goes first
            connection.exec_driver_sql(f"LOCK TABLE {found} IN ACCESS EXCLUSIVE MODE")
        yield


def _copy(connection: sa.Connection, revision: str) -> None:
    """Copy a SQLite store that nobody can write now. Only SQLite may open its file: closing it drops SQLite's locks."""
    path = Path(connection.exec_driver_sql("PRAGMA database_list").one()[2])
    target = path.with_name(f"{path.name}.{revision}.bak")
    target.unlink(missing_ok=True)
    os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    with (
        closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as reading,
        closing(sqlite3.connect(target)) as writing,
    ):
        reading.backup(writing)


def _revision(connection: sa.Connection) -> str | None:
    from alembic.runtime.migration import MigrationContext

    options = {
        "version_table": _version_table(connection) or tables.VERSION_TABLE,
        "version_table_schema": version_schema(connection),
    }
    return MigrationContext.configure(connection, opts=options).get_current_revision()


def _version_table(connection: sa.Connection) -> str | None:
    found = connection.execute(dialect_of(connection.engine.url).has_versions)
    return tables.version_table([row[0] for row in found])
