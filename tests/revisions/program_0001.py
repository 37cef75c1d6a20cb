"""What programs of revision 0001 do when they open a database: their statements, in the order of their checks.

Copied from zrb_store/db/schema.py, zrb_store/db/dialect/ and migrations/env.py of that revision.
"""

from __future__ import annotations

from typing import Literal

import sqlalchemy as sa
from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.script import ScriptDirectory

from zrb_store.db import migrate

HAS_VERSIONS = {
    "sqlite": "SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'",
    "postgresql": (
        "SELECT 1 FROM pg_catalog.pg_tables WHERE schemaname = current_schema() AND tablename = 'alembic_version'"
    ),
}
VERSION = "SELECT version_num FROM alembic_version"
HAS_FOREIGN = {
    "sqlite": (
        "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name NOT GLOB 'zrb_*' "
        "AND name NOT GLOB 'sqlite_*' AND name <> 'alembic_version' LIMIT 1"
    ),
    "postgresql": "SELECT 1 WHERE false",
}

Verdict = Literal["usable", "ahead", "missing", "made"]


def open_store(engine: sa.Engine, *, read_only: bool = False) -> Verdict:
    """Open a database as such a program does: use it, refuse it (`SchemaAhead`, `StoreMissing`), or create a store.

    Raises:
        DBAPIError: If the tables cannot be created.
    """
    name = engine.dialect.name
    with engine.connect() as connection:
        versions = (
            connection.exec_driver_sql(HAS_VERSIONS[name]).first() and connection.exec_driver_sql(VERSION).first()
        )
        if versions:
            return "usable" if versions[0] == "0001" else "ahead"
        if connection.exec_driver_sql(HAS_FOREIGN[name]).first():
            return "ahead"
    if read_only:
        return "missing"
    make(engine)
    return "made"


def make(engine: sa.Engine) -> None:
    """Create the tables of revision 0001 and store the revision where that revision did, in one transaction."""
    first = ScriptDirectory(str(migrate.folder())).get_revision("0001")
    assert first is not None
    with engine.connect() as connection, migrate.exclusive(connection):
        options = {"version_table_schema": migrate.version_schema(connection), "transactional_ddl": True}
        context = MigrationContext.configure(connection, opts=options)
        with Operations.context(context):
            first.module.upgrade()
        context.stamp(ScriptDirectory(str(migrate.folder())), "0001")
