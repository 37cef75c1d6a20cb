"""Which schema of a PostgreSQL database the tables of a store go to."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
import sqlalchemy as sa

from tests.support.postgres import Server
from tests.support.tables import engine_of, scalar, tables_of_a_store
from zrb_store import open_store
from zrb_store.db import VERSION_TABLE, migrate
from zrb_store.errors import StoreUnavailable


def test_a_schema_can_be_shared_with_another_program(
    new_postgres: str, postgres_admin: psycopg.Connection[Any]
) -> None:
    """The tables and indexes of the other program lack the prefix of zrb-store."""
    schema = new_postgres.rpartition("%3D")[2]
    for noun in ("session", "run", "attempt", "queue", "value", "return", "change"):
        postgres_admin.execute(f"CREATE TABLE {schema}.{noun} (id int PRIMARY KEY)")
    for _ in range(2):
        with open_store(new_postgres) as store:
            store.session("s").xcom["q"].push(1)
            assert store.session("s").xcom["q"].pop() == 1
    names = postgres_admin.execute(
        "SELECT relname FROM pg_class WHERE relnamespace = %s::regnamespace AND relkind = 'r'", [schema]
    ).fetchall()
    assert len([name for (name,) in names if not name.startswith("zrb_")]) == 7


def test_tables_go_to_the_first_schema_of_the_search_path(
    new_postgres: str, postgres_admin: psycopg.Connection[Any]
) -> None:
    """The version table of another store, in a later schema of the path, is neither read nor changed."""
    mine = new_postgres.rpartition("%3D")[2]
    other = f"{mine}_other"
    postgres_admin.execute(f"CREATE SCHEMA {other}")
    postgres_admin.execute(f"CREATE TABLE {other}.{VERSION_TABLE} (version_num text)")
    postgres_admin.execute(f"INSERT INTO {other}.{VERSION_TABLE} VALUES ('theirs')")
    try:
        engine = engine_of(f"{new_postgres},{other}")
        migrate.upgrade(engine)
        assert set(sa.inspect(engine).get_table_names(schema=mine)) == tables_of_a_store(engine)
        assert scalar(engine, f"SELECT version_num FROM {other}.{VERSION_TABLE}") == "theirs"
    finally:
        postgres_admin.execute(f"DROP SCHEMA {other} CASCADE")


def test_search_path_without_a_schema_is_explained(postgres_server: Server) -> None:
    engine = engine_of(f"{postgres_server.url}&options=-csearch_path%3Dnowhere")
    with pytest.raises(StoreUnavailable, match="names no existing schema"):
        migrate.upgrade(engine)
