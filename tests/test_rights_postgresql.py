"""A PostgreSQL role needs exactly the rights that docs/operations.md lists."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy.engine import make_url

from tests import documents
from tests.commands import Commands
from tests.test_doctor import fill_with_history
from zrb_store import StoreUnavailable, open_store
from zrb_store.db import OLD_VERSION_TABLE, VERSION_TABLE
from zrb_store.db.tables import metadata

PAGE = Path(__file__).parent.parent / "docs" / "operations.md"


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
    (grants,) = (block.text for block in documents.blocks(PAGE) if block.language == "sql")
    for role, name in {**names, "SCHEMA zrb": f"SCHEMA {schema}"}.items():
        grants = grants.replace(role, name)
    postgres_admin.execute("".join(f"CREATE ROLE {name} LOGIN;" for name in names.values()).encode())
    try:
        postgres_admin.execute(f"SET search_path = {schema}; {grants}".encode())
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
    text = PAGE.read_text(encoding="utf-8").partition("```sql")[2].partition("```")[0]
    for table in metadata.sorted_tables:
        assert table.name in text
        assert (f"{table.name}_id_seq" in text) == ("id" in table.c)
    assert OLD_VERSION_TABLE not in postgres_template
