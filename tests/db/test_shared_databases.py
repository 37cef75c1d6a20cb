"""A database that other programs use too: whose its tables, their revision, views and triggers are."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa

from tests.db.alembic_runs import alembic_here as alembic
from tests.support.commands import Commands
from tests.support.postgres import Server
from tests.support.tables import engine_of, revision_of, scalar, table_names, tables_of_a_store
from zrb_store import SchemaAhead, Store, StoreMissing, open_store
from zrb_store.db import REVISION, VERSION_TABLE, migrate
from zrb_store.errors import StoreUnavailable

ALEMBIC_TABLE = "alembic_version"


@pytest.mark.parametrize("theirs", ["0001", "4f1ab2c3d4e5"])
def test_another_programs_revision_in_the_same_schema_is_left_alone(
    new_postgres: str, postgres_admin: psycopg.Connection[Any], theirs: str
) -> None:
    schema = new_postgres.rpartition("%3D")[2]
    postgres_admin.execute(f"CREATE TABLE {schema}.{ALEMBIC_TABLE} (version_num text)".encode())
    postgres_admin.execute(f"INSERT INTO {schema}.{ALEMBIC_TABLE} VALUES ('{theirs}')".encode())
    with pytest.raises(StoreMissing):
        open_store(new_postgres, read_only=True)
    for _ in range(2):
        with open_store(new_postgres) as store:
            store.session("s").xcom["q"].push(1)
    engine = engine_of(new_postgres)
    migrate.upgrade(engine)
    alembic(new_postgres, "upgrade", "head")
    assert revision_of(engine) == REVISION
    assert scalar(engine, f"SELECT version_num FROM {ALEMBIC_TABLE}") == theirs


def test_another_program_that_uses_alembic_can_come_to_share_the_schema(new_postgres: str) -> None:
    with open_store(new_postgres):
        pass
    assert ALEMBIC_TABLE not in table_names(engine_of(new_postgres))


@pytest.mark.parametrize("new_location", ["sqlite"], indirect=True)
def test_a_sqlite_file_of_another_program_that_uses_alembic_is_refused(new_location: str) -> None:
    engine = engine_of(new_location)
    with engine.begin() as connection:
        connection.exec_driver_sql(f"CREATE TABLE {ALEMBIC_TABLE} (version_num text)")
    with pytest.raises(SchemaAhead, match="another program's database"):
        open_store(new_location)
    assert table_names(engine) == {ALEMBIC_TABLE}


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


# -- what a SQLite file has in its schema beside our tables never runs


ENDLESS = "WITH RECURSIVE x(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM x) SELECT n FROM x"


def change(path: str, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as driver:
        for statement in statements:
            driver.execute(statement)
        driver.commit()


@pytest.mark.on_sqlite
@pytest.mark.promise(number=6)
@pytest.mark.parametrize("table", ["zrb_version", "zrb_session", "zrb_value"])
def test_a_view_in_place_of_a_table_is_refused(filled: Store, location: str, command: Commands, table: str) -> None:
    """Reading it would never end."""
    filled.close()
    change(
        location,
        f"ALTER TABLE {table} RENAME TO hidden",
        f"CREATE VIEW {table} AS SELECT *, (SELECT max(n) FROM ({ENDLESS})) AS n FROM hidden",
    )
    for words in (["list"], ["show", "etl-24"], ["doctor"], ["db", "status"], ["push", "inbox", "files", "1"]):
        refused = command(*words)
        assert (refused.code, f"has the view {table}, which is not of zrb-store" in refused.err) == (69, True)


@pytest.mark.on_sqlite
@pytest.mark.promise(number=6)
def test_a_trigger_is_refused_by_writers(filled: Store, location: str, command: Commands) -> None:
    filled.close()
    change(
        location,
        "CREATE TRIGGER mine AFTER INSERT ON zrb_value BEGIN "
        f"UPDATE zrb_queue SET high = (SELECT max(n) FROM ({ENDLESS})); END",
        "CREATE VIEW mine_too AS SELECT name FROM zrb_session",
    )
    assert "etl-24" in command.ok("list")
    refused = command("push", "inbox", "files", "1")
    assert (refused.code, "has the trigger mine, which is not of zrb-store" in refused.err) == (69, True)
    change(location, "DROP TRIGGER mine")
    command("push", "inbox", "files", "1")
    assert command.ok("get", "inbox", "files") == "1\n"


@pytest.mark.parametrize(
    ("change", "words", "missing"),
    [
        ("zrb_session RENAME identity TO old", ["list"], "identity"),
        ("zrb_value RENAME seq TO old", ["push", "inbox", "files", "2"], "seq"),
        ("zrb_queue RENAME TO zrb_old", ["show", "inbox"], "zrb_queue"),
    ],
)
def test_a_store_of_another_development_version_is_refused_in_one_line(
    store: Store, location: str, command: Commands, change: str, words: list[str], missing: str
) -> None:
    """It has the revision of this version, but not all of its tables and columns."""
    store.session("inbox").xcom["files"].push(1)
    store.close()
    with engine_of(location).begin() as connection:
        connection.exec_driver_sql(f"ALTER TABLE {change}")
    explained = rf"lacks a part of its schema \([^)]*{missing}.*another development version.*to start with a new store"
    refused, found = command(*words), command("doctor")
    assert (refused.code, refused.out) == (69, "")
    assert re.search(explained, refused.err)
    assert found.code == (69 if "://" in location else 1)  # what is wrong with a file is a finding of `doctor`
    assert re.search(explained, found.out + found.err)
