"""What is in a database, asked without the package."""

from __future__ import annotations

import os
from typing import Any

import sqlalchemy as sa

from zrb_store.db import VERSION_TABLE, migrate
from zrb_store.db.location import store_url
from zrb_store.db.tables import clock, metadata


def engine_of(location: str | os.PathLike[str]) -> sa.Engine:
    """Return the engine that a store uses, after creating the database file if needed."""
    return migrate.engine_of(store_url(location))


def scalar(engine: sa.Engine, statement: str) -> Any:
    with engine.connect() as connection:
        return connection.exec_driver_sql(statement).scalar()


def revision_of(engine: sa.Engine) -> Any:
    return scalar(engine, f"SELECT version_num FROM {VERSION_TABLE}")


def table_names(engine: sa.Engine) -> set[str]:
    return set(sa.inspect(engine).get_table_names())


def tables_of_a_store(engine: sa.Engine) -> set[str]:
    """Return the tables of a store. On SQLite one is the clock."""
    more = [clock.name] if engine.dialect.name == "sqlite" else []
    return {*metadata.tables, VERSION_TABLE, *more}
