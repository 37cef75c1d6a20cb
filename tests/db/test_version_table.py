"""The table that holds the revision: whose it is, and what those do who find another revision in it."""

from __future__ import annotations

import threading
import time
from typing import Any

import psycopg
import pytest

from tests.db.alembic_runs import alembic_here as alembic
from tests.support.next_release import NEXT
from tests.support.postgres import DEADLINE, wait_until
from tests.support.tables import engine_of, revision_of, scalar, table_names
from zrb_store import SchemaAhead, Store, StoreMissing, open_store
from zrb_store.db import REVISION, migrate
from zrb_store.db.transaction import Transaction

ALEMBIC_TABLE = "alembic_version"


@pytest.mark.slow
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


def test_a_sqlite_file_of_another_program_that_uses_alembic_is_refused(new_location: str) -> None:
    engine = engine_of(new_location)
    if engine.dialect.name == "sqlite":
        with engine.connect() as connection:
            connection.exec_driver_sql(f"CREATE TABLE {ALEMBIC_TABLE} (version_num text)")
            connection.commit()
        with pytest.raises(SchemaAhead, match="another program's database"):
            open_store(new_location)
        assert table_names(engine) == {ALEMBIC_TABLE}


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
