"""What docs/how-to/operate-postgresql.md says to run: roles need exactly those rights, and a backup is complete."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy.engine import make_url

from tests.support import documents
from tests.support.commands import Commands
from tests.support.history import fill_with_history
from tests.support.postgres import Server, programs
from zrb_store import StoreUnavailable, open_store
from zrb_store.db import VERSION_TABLE
from zrb_store.db.tables import metadata

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "operate-postgresql.md"


def shown(language: str, containing: str) -> str:
    """Return the block of the page that contains this text."""
    (found,) = (
        block.text for block in documents.blocks(PAGE) if block.language == language and containing in block.text
    )
    return found


class Roles(NamedTuple):
    """URLs of one store, each with another role."""

    worker: str
    reader: str
    stranger: str


@pytest.fixture
def roles(new_postgres: str, postgres_admin: psycopg.Connection[Any]) -> Iterator[Roles]:
    """Create roles that can log in and have the rights that the page gives them."""
    with open_store(new_postgres):
        pass
    schema = new_postgres.rpartition("%3D")[2]
    # New names for each test: a pooler keeps sessions of a role that was dropped.
    names = {role: f"{role}_{schema}" for role in Roles._fields}
    grants = shown("sql", "GRANT")
    for word, name in {
        **names,
        "SCHEMA zrb": f"SCHEMA {schema}",
        "search_path = zrb": f"search_path = {schema}",
    }.items():
        assert word in grants or word == "stranger"
        grants = grants.replace(word, name)
    postgres_admin.execute("".join(f"CREATE ROLE {name} LOGIN;" for name in names.values()).encode())
    try:
        postgres_admin.execute(grants.encode())
        yield Roles(*(make_url(new_postgres).set(username=name).render_as_string() for name in names.values()))
    finally:
        all_names = ", ".join(names.values())
        postgres_admin.execute(f"RESET search_path; DROP OWNED BY {all_names}; DROP ROLE {all_names}".encode())


def test_a_worker_can_do_everything_but_make_the_tables(
    roles: Roles, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    command = Commands(roles.worker, monkeypatch, capsys.readouterr)
    with open_store(roles.worker) as store:
        fill_with_history(store)
        for args in (
            ["list"],
            ["show", "etl"],
            ["export"],
            ["copy", roles.worker, str(tmp_path / "copy.db")],
            ["pin", "again"],
            ["push", "inbox", "q", "1"],
            ["pop", "inbox", "q"],
            ["doctor"],
            ["db", "status"],
            ["db", "upgrade"],
            ["prune", "--older-than", "0s"],
            ["rm", "inbox"],
        ):
            command.ok(*args)
        with pytest.raises(StoreUnavailable, match="does not allow this"):
            store.database.execute(sa.text(f"UPDATE {VERSION_TABLE} SET version_num = 'x'"))


def test_a_reader_can_look_at_everything_and_change_nothing(
    roles: Roles, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with open_store(roles.worker) as store:
        fill_with_history(store)
    command = Commands(roles.reader, monkeypatch, capsys.readouterr)
    for args in (["list"], ["show", "etl"], ["log", "etl"], ["export"], ["doctor"], ["db", "status"]):
        command.ok(*args)
    for args in (["push", "inbox", "q", "1"], ["pop", "inbox", "files"], ["rm", "inbox"]):
        result = command(*args)
        assert (result.code, "does not allow this: permission denied" in result.err) == (69, True)


def test_a_role_without_rights_gets_an_error(roles: Roles) -> None:
    with pytest.raises(StoreUnavailable):
        open_store(roles.stranger)


def test_the_page_names_every_table_and_sequence(postgres_template: str) -> None:
    text = shown("sql", "GRANT")
    for table in metadata.sorted_tables:
        assert table.name in text
        assert (f"{table.name}_id_seq" in text) == ("id" in table.c)


@pytest.mark.parametrize("schema", ["public", "zrb"])
@pytest.mark.unpooled
def test_a_backup_has_the_store_whatever_its_schema(
    postgres_server: Server, postgres_admin: psycopg.Connection[Any], tmp_path: Path, schema: str
) -> None:
    name = f"jobs_{schema}"  # both tests may run at once
    postgres_admin.execute(f"CREATE DATABASE {name}".encode())
    try:
        with postgres_server.connect(name) as connection:
            connection.execute(f"CREATE SCHEMA IF NOT EXISTS {schema}".encode())
        url = f"{postgres_server.database_url(name)}&options=-csearch_path%3D{schema}".replace("+psycopg", "")
        with open_store(url) as store:
            fill_with_history(store)
            store.session("inbox").xcom["backup"].push("a.csv")
        environment = {
            **os.environ,
            "PATH": f"{programs(postgres_server.folder)}{os.pathsep}{os.environ['PATH']}",
            "PGHOST": str(postgres_server.folder),
            "PGUSER": "postgres",
        }
        dump, restore = re.sub(r"\bjobs\b(?!\.)", name, shown("sh", "pg_dump")).splitlines()
        subprocess.run(["/bin/sh", "-ec", dump], cwd=tmp_path, env=environment, check=True)
        with open_store(url) as store:
            store.session("inbox").xcom["backup"].clear()
        subprocess.run(["/bin/sh", "-ec", restore], cwd=tmp_path, env=environment, check=True)
        with open_store(url) as store:
            assert list(store.session("inbox").xcom["backup"]) == ["a.csv"]
            store.session("inbox").xcom["backup"].push("b.csv")
    finally:
        postgres_admin.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


@pytest.mark.unpooled
def test_a_role_can_name_the_schema_instead_of_the_url(roles: Roles, postgres_admin: psycopg.Connection[Any]) -> None:
    url = make_url(roles.worker)
    schema = str(url.query["options"]).rpartition("=")[2]
    names = {"worker": f'"{url.username}"', "DATABASE jobs": f"DATABASE {url.database}", "= zrb": f"= {schema}"}
    alter = shown("sql", "ALTER ROLE")
    for word, name in names.items():
        assert word in alter
        alter = alter.replace(word, name)
    postgres_admin.execute(alter.encode())
    with open_store(url.difference_update_query(["options"]).render_as_string()) as store:
        store.session("inbox").xcom["files"].push("a.csv")
    with open_store(roles.reader, read_only=True) as store:
        assert list(store.session("inbox").xcom["files"]) == ["a.csv"]
