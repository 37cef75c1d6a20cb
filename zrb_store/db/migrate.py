"""Upgrades of the schema. Alembic is imported inside these functions, because an up-to-date store never needs it."""

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
from sqlalchemy.sql import Executable

from zrb_store.db import IS_STORE_SQL, REVISION_SQL, VERSION_TABLE, patience, tables, views
from zrb_store.db.clock import clock
from zrb_store.db.core import compiling
from zrb_store.db.dialect.sqlite import BUSY, PAGE_SIZE, primary_code
from zrb_store.db.engine import dialect_of
from zrb_store.db.location import StoreUrl
from zrb_store.errors import StoreUnavailable

if TYPE_CHECKING:
    from alembic.config import Config

T = TypeVar("T")

tables.add_postgresql_options()

WAIT_SECONDS = 30

# Any number will do, as long as every zrb-store uses the same one. PostgreSQL keeps the locks of databases apart.
_ADVISORY_LOCK = int.from_bytes(b"zrbstore")

# Alembic keeps its state in module globals, so only one thread may use it at a time.
_alembic_lock = threading.Lock()


def upgrade(bind: sa.Engine | sa.Connection, *, back_up: bool = False, notice: patience.Notice | None = None) -> None:
    """Upgrade a store to the newest revision, completely or not at all.

    Processes that do this at the same time wait for each other; the later ones find nothing to do. With `back_up`, a
    SQLite store with an older revision is copied to `FILE.REVISION.bak` first.
    """
    from alembic import command

    with _connection(bind) as connection, exclusive(connection, notice):
        revision = _revision(connection)
        if revision != head():
            if revision and back_up and connection.dialect.name == "sqlite":
                _copy(connection, revision)
            command.upgrade(alembic_config(connection), "head")


def statements(bind: sa.Engine | sa.Connection) -> str:
    """Return the SQL that `upgrade` would run, without running it."""
    from alembic import command

    with _connection(bind) as connection:
        revision = _revision(connection)
        if connection.dialect.name == "sqlite":
            return _sqlite_statements(revision)
        config = alembic_config(connection)
        config.output_buffer = StringIO()
        command.upgrade(config, f"{revision or 'base'}:head", sql=True)
        connection.rollback()
        return config.output_buffer.getvalue()


def _sqlite_statements(revision: str | None) -> str:
    """Note what an upgrade runs on an empty store: a migration that copies a table looks at it first."""
    from alembic import command

    noted: list[str] = []

    def note(statement: str) -> None:
        if not statement.startswith("SELECT") and (not statement.startswith("PRAGMA") or "=" in statement):
            noted.append(f"{statement};\n")

    with _empty_store(revision) as (connection, driver):
        driver.set_trace_callback(note)
        if revision != head():
            with exclusive(connection):
                command.upgrade(alembic_config(connection), "head")
    return "".join(noted)


def triggers(revision: str) -> set[str]:
    """Return the text of each trigger that a SQLite store of a revision has."""
    with _alembic_lock, _empty_store(revision) as (_, driver):
        return {sql for (sql,) in driver.execute("SELECT sql FROM sqlite_master WHERE type = 'trigger'")}


@contextmanager
def _empty_store(revision: str | None) -> Iterator[tuple[sa.Connection, sqlite3.Connection]]:
    """Yield a SQLite store of a revision, in memory."""
    from alembic import command

    driver = sqlite3.connect(":memory:", isolation_level=None)
    with closing(driver), compiling.sqlite_engine(lambda: driver).connect() as connection:
        if revision is not None:
            command.upgrade(alembic_config(connection), revision)
        yield connection, driver


def head() -> str | None:
    """Return the newest revision for which there is a migration."""
    from alembic.script import ScriptDirectory

    return ScriptDirectory(str(folder())).get_current_head()


def is_known(revision: str) -> bool:
    """Whether this version of zrb-store has the migration to `revision`."""
    from alembic.script import ScriptDirectory

    return revision in {script.revision for script in ScriptDirectory(str(folder())).walk_revisions()}


def engine_of(url: StoreUrl) -> sa.Engine:
    """Return the engine of a store, whose file is created if necessary."""
    dialect = dialect_of(url)
    dialect.create()
    return dialect.engine


def alembic_config(connection: sa.Connection) -> Config:
    """Return Alembic's configuration. It does without alembic.ini, which is not in the wheel."""
    from alembic.config import Config

    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(folder()).replace("%", "%%"))
    return config


def folder() -> Path:
    """Return the folder of the migrations: inside the installed package, or beside the package in a checkout."""
    package = Path(__file__).resolve().parent.parent
    for candidate in (package / "_migrations", package.parent / "migrations"):
        if (candidate / "env.py").is_file():
            return candidate
    raise StoreUnavailable(f"the migrations are missing beside {package}: install zrb-store again")


def version_schema(connection: sa.Connection) -> str | None:
    """Return the schema in which new tables are created, and in which Alembic keeps the revision. None on SQLite.

    Without it, Alembic would use the first version table on the whole search_path, which may belong to another store.
    """
    if connection.dialect.name == "sqlite":
        return None
    schema: str | None = connection.exec_driver_sql("SELECT current_schema()").scalar()
    if schema is None:
        raise StoreUnavailable("the search_path of this database names no existing schema: create one first")
    return schema


def make_views(dialect_name: str, execute: Callable[[Executable], object]) -> None:
    """Make the SQL views, at the end of an upgrade to the newest revision, whatever views the store has."""
    for statement in views.statements(dialect_name):
        execute(statement)


@contextmanager
def exclusive(connection: sa.Connection, notice: patience.Notice | None = None) -> Iterator[None]:
    """Run a block in one transaction, while no other process migrates; roll back if the block raises."""
    guard = _sqlite if connection.dialect.name == "sqlite" else _postgresql
    began = clock.monotonic()
    with ExitStack() as stack:
        if notice is None:
            stack.enter_context(guard(connection))
        else:
            with notice.if_slow(patience.LOCKED, began + patience.WARN_AFTER, began, began + WAIT_SECONDS):
                stack.enter_context(guard(connection))
            notice.revoke_for(began)
        yield


@contextmanager
def _connection(bind: sa.Engine | sa.Connection) -> Iterator[sa.Connection]:
    """Yield a connection to the store, to one thread of this process at a time."""
    with ExitStack() as stack:
        if isinstance(bind, sa.Engine):
            bind = stack.enter_context(_retry_while_busy(bind.connect))
        stack.enter_context(_alembic_lock)
        yield bind


def _retry_while_busy(action: Callable[[], T]) -> T:
    deadline = clock.monotonic() + WAIT_SECONDS
    while True:
        try:
            return action()
        except DBAPIError as error:
            if error.orig is None or primary_code(error.orig) not in BUSY or clock.monotonic() > deadline:
                raise
            time.sleep(random.uniform(0.001, 0.01))


@contextmanager
def _sqlite(connection: sa.Connection) -> Iterator[None]:
    def pragma(name: str) -> int:
        return int(connection.exec_driver_sql(f"PRAGMA {name}").scalar_one())

    before = {name: pragma(name) for name in ("foreign_keys", "legacy_alter_table", "busy_timeout")}
    connection.exec_driver_sql(f"PRAGMA busy_timeout={WAIT_SECONDS * 1000}")
    try:
        connection.exec_driver_sql(f"PRAGMA page_size={PAGE_SIZE}")  # has no effect on a store that has tables
        # This fails at once while another process opens the file, regardless of busy_timeout.
        _retry_while_busy(lambda: connection.exec_driver_sql("PRAGMA journal_mode=WAL"))
        # A migration that changes a table on SQLite recreates it, which would delete the rows that refer to it.
        # This pragma has no effect inside a transaction.
        connection.exec_driver_sql("PRAGMA foreign_keys=OFF")
        # Nor may the view of a table keep it from being recreated: neither ours nor one of the user's own.
        connection.exec_driver_sql("PRAGMA legacy_alter_table=ON")
        connection.exec_driver_sql("BEGIN IMMEDIATE")  # the driver does not begin a transaction before DDL
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
    # Our engines use autocommit mode, in which there are no transactions.
    connection.execution_options(isolation_level="READ COMMITTED")
    with connection.begin():
        connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{WAIT_SECONDS}s'")
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_ADVISORY_LOCK})")
        if _is_store(connection):  # wait for every transaction that has read the revision
            connection.exec_driver_sql(f"LOCK TABLE {VERSION_TABLE} IN ACCESS EXCLUSIVE MODE")
        yield


def _copy(connection: sa.Connection, revision: str) -> None:
    """Copy a SQLite store while no other process can write to it."""
    # By SQLite: if this process opened and closed the file itself, SQLite's locks on it would be lost.
    path = Path(connection.exec_driver_sql("PRAGMA database_list").one()[2])
    target = path.with_name(f"{path.name}.{revision}.bak")
    part = target.with_name(f"{target.name}.part")  # an older copy stays until this one is whole
    part.unlink(missing_ok=True)
    os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    with (
        closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as reading,
        closing(sqlite3.connect(part)) as writing,
    ):
        reading.backup(writing)
    part.replace(target)


def _revision(connection: sa.Connection) -> str | None:
    found: str | None = connection.exec_driver_sql(REVISION_SQL).scalar() if _is_store(connection) else None
    return found


def _is_store(connection: sa.Connection) -> bool:
    return connection.exec_driver_sql(IS_STORE_SQL[connection.dialect.name]).scalar() is not None
