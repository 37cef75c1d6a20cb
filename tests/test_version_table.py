"""The revision is stored in a table of zrb-store's own: upgrades of older stores, and what older programs do."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa

from tests.commands import Commands
from tests.postgres import DEADLINE, wait_until
from tests.revisions import program_0001
from tests.test_alembic_command import alembic_here as alembic
from tests.test_migrations import ADD_TABLE, NEXT, engine_of, migrate_at_once, revision_of, scalar, table_names
from zrb_store import SchemaAhead, SchemaBehind, Store, StoreMissing, open_store
from zrb_store.db import OLD_VERSION_TABLE, REVISION, migrate
from zrb_store.db.transaction import Transaction


@pytest.fixture
def old(new_location: str) -> sa.Engine:
    """A store of revision 0001 that contains a session."""
    engine = engine_of(new_location)
    assert program_0001.open_store(engine) == "made"
    assert program_0001.open_store(engine) == "usable"
    with engine.connect() as connection:
        connection.exec_driver_sql("INSERT INTO zrb_session (name, status, created_at) VALUES ('kept', 'open', 1)")
        connection.commit()
    return engine


def test_an_older_program_refuses_a_store_that_was_upgraded(old: sa.Engine) -> None:
    migrate.upgrade(old)
    assert revision_of(old) == REVISION
    assert [program_0001.open_store(old, read_only=only) for only in (True, False)] == ["ahead", "ahead"]
    assert scalar(old, "SELECT name FROM zrb_session") == "kept"


def test_an_older_program_makes_nothing_in_a_new_store(location: str) -> None:
    engine = engine_of(location)
    before = table_names(engine)
    if engine.dialect.name == "sqlite":
        assert [program_0001.open_store(engine, read_only=only) for only in (True, False)] == ["ahead", "ahead"]
    else:
        assert program_0001.open_store(engine, read_only=True) == "missing"
        with pytest.raises(sa.exc.ProgrammingError, match='"zrb_session" already exists'):
            program_0001.open_store(engine)
    assert table_names(engine) == before
    assert revision_of(engine) == REVISION


def test_the_first_writer_upgrades_a_sqlite_store(old: sa.Engine, new_location: str) -> None:
    with pytest.raises(SchemaBehind, match="has the older revision 0001"):
        open_store(new_location, read_only=True)
    if old.dialect.name == "postgresql":
        with pytest.raises(SchemaBehind, match="has the older revision 0001"):
            open_store(new_location)
        return
    with open_store(new_location) as store:
        assert [session.name for session in store.sessions()] == ["kept"]
    assert program_0001.open_store(engine_of(f"{new_location}.0001.bak")) == "usable", "the copy must be unchanged"


def test_by_hand(
    old: sa.Engine, new_location: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = Commands(new_location, monkeypatch, capsys.readouterr)
    assert command.ok("db", "status", "--format", "value") == "0001\n"
    assert "INSERT INTO zrb_version" in command.ok("db", "upgrade", "--sql")
    assert program_0001.open_store(old) == "usable", "--sql must change nothing"
    upgraded = command("db", "upgrade")
    assert upgraded.out == f"upgraded from 0001 to {REVISION}\n"
    unseen = old.dialect.name == "postgresql"
    assert ("end every older zrb-store that has this store open" in upgraded.err) == unseen
    assert command.ok("db", "upgrade") == f"already at revision {REVISION}\n"
    assert command.ok("list", "--format", "value") == "kept\n"


def test_a_store_that_is_in_use_is_not_upgraded_by_hand(
    old: sa.Engine, new_location: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = Commands(new_location, monkeypatch, capsys.readouterr)
    with old.connect() as connection:
        connection.exec_driver_sql(
            "INSERT INTO zrb_run (session_id, number, origin, host, pid, started_at, lease_expires_at) "
            f"VALUES (1, 1, 'cli', 'db-1', 7, 1, {2**52})"
        )
        connection.commit()
    refused = command("db", "upgrade")
    assert refused.code == 69
    assert "while session kept is run by pid 7 on db-1: wait for it, or end it" in refused.err
    with old.connect() as connection:
        connection.exec_driver_sql("UPDATE zrb_run SET ended_at = 2")
        connection.commit()
        if old.dialect.name == "sqlite":
            connection.exec_driver_sql("SELECT * FROM zrb_session").fetchall()
            refused = command("db", "upgrade")
            assert refused.code == 69
            assert "while another program has it open" in refused.err
    assert command("db", "upgrade").code == 0


def test_a_reader_is_refused_once_the_store_was_upgraded(store: Store, location: str) -> None:
    queue = store.session("inbox").xcom["q"]
    queue.push(1)
    with open_store(location, read_only=True) as unknown, open_store(location, read_only=True) as known:
        queues = [reader.session("inbox").xcom["q"] for reader in (unknown, known)]
        assert [one.peek() for one in queues] == [1, 1]
        with store.database.engine.begin() as connection:
            connection.exec_driver_sql(f"UPDATE zrb_version SET version_num = '{NEXT}'")

        def is_refused() -> bool:
            try:
                assert queues[1].peek() == 1
            except SchemaAhead:
                return True
            return False

        wait_until(is_refused, lambda: "it reads on")
        with store.database.engine.begin() as connection:
            connection.exec_driver_sql("UPDATE zrb_value SET data = ''")
        unknown.database.revision_due = time.monotonic() + DEADLINE
        with pytest.raises(SchemaAhead, match=f"was changed to revision {NEXT}"):
            queues[0].peek()


def test_the_printed_statements_do_the_same(old: sa.Engine) -> None:
    statements = migrate.statements(old)
    with old.connect() as connection:
        driver: Any = connection.connection.driver_connection
        run = driver.executescript if old.dialect.name == "sqlite" else driver.execute
        run(statements)
    assert revision_of(old) == REVISION
    assert program_0001.open_store(old) == "ahead"
    assert migrate.statements(old).count("zrb_version") == 0, "nothing may be left to do"


@pytest.mark.slow
def test_alembic_from_a_checkout(old: sa.Engine, new_location: str) -> None:
    alembic(new_location, "current")
    assert program_0001.open_store(old) == "usable", "a command that only reads must change nothing"
    alembic(new_location, "upgrade", "head")
    assert f"{REVISION} (head)" in alembic(new_location, "current")
    assert program_0001.open_store(old) == "ahead"


def test_an_upgrade_that_fails_leaves_the_revision_where_it_was(
    old: sa.Engine, add_migration: Callable[..., None]
) -> None:
    before = table_names(old)
    add_migration(ADD_TABLE, "op.execute('nonsense')")
    with pytest.raises(sa.exc.DBAPIError, match="nonsense"):
        migrate.upgrade(old)
    assert table_names(old) == before
    assert program_0001.open_store(old) == "usable"


@pytest.mark.slow
def test_processes_that_upgrade_at_once_all_succeed(old: sa.Engine, new_location: str) -> None:
    migrate_at_once(new_location)
    assert revision_of(old) == REVISION
    assert scalar(old, "SELECT count(*) FROM zrb_version") == 1
    assert scalar(old, "SELECT name FROM zrb_session") == "kept"


def test_several_revisions_at_once(old: sa.Engine, add_migration: Callable[..., None]) -> None:
    add_migration(ADD_TABLE)
    migrate.upgrade(old)
    assert revision_of(old) == NEXT
    assert "zrb_more" in table_names(old)
    assert program_0001.open_store(old) == "ahead"


@pytest.mark.parametrize("theirs", ["0001", "4f1ab2c3d4e5"])
def test_another_programs_revision_in_the_same_schema_is_left_alone(
    new_postgres: str, postgres_admin: psycopg.Connection[Any], theirs: str
) -> None:
    schema = new_postgres.rpartition("%3D")[2]
    postgres_admin.execute(f"CREATE TABLE {schema}.{OLD_VERSION_TABLE} (version_num text)".encode())
    postgres_admin.execute(f"INSERT INTO {schema}.{OLD_VERSION_TABLE} VALUES ('{theirs}')".encode())
    with pytest.raises(StoreMissing):
        open_store(new_postgres, read_only=True)
    for _ in range(2):
        with open_store(new_postgres) as store:
            store.session("s").xcom["q"].push(1)
    engine = engine_of(new_postgres)
    migrate.upgrade(engine)
    alembic(new_postgres, "upgrade", "head")
    assert revision_of(engine) == REVISION
    assert scalar(engine, f"SELECT version_num FROM {OLD_VERSION_TABLE}") == theirs


def test_another_program_that_uses_alembic_can_come_to_share_the_schema(new_postgres: str) -> None:
    with open_store(new_postgres):
        pass
    assert OLD_VERSION_TABLE not in table_names(engine_of(new_postgres))


def test_a_sqlite_file_of_another_program_that_uses_alembic_is_refused(new_location: str) -> None:
    engine = engine_of(new_location)
    if engine.dialect.name == "sqlite":
        with engine.connect() as connection:
            connection.exec_driver_sql(f"CREATE TABLE {OLD_VERSION_TABLE} (version_num text)")
            connection.commit()
        with pytest.raises(SchemaAhead, match="another program's database"):
            open_store(new_location)
        assert table_names(engine) == {OLD_VERSION_TABLE}


@pytest.mark.parametrize("location", ["postgresql"], indirect=True)
def test_an_upgrade_waits_for_a_transaction_that_has_begun(
    store: Store, postgres_admin: psycopg.Connection[Any]
) -> None:
    """The schema must not change while a transaction relies on it."""
    order = []

    def upgrade() -> None:
        with store.database.engine.connect() as connection, migrate.exclusive(connection):
            order.append("upgrade")

    def work(transaction: Transaction) -> None:
        upgrading.start()
        waits = "SELECT 1 FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND NOT granted"
        wait_until(lambda: postgres_admin.execute(waits).fetchone() is not None, lambda: "the upgrade does not wait")
        order.append("transaction")

    upgrading = threading.Thread(target=upgrade)
    store.database.transact(work)
    upgrading.join(DEADLINE)
    assert order == ["transaction", "upgrade"]
