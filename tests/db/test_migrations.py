"""Migrations create and change tables: they run as a whole, once, and match zrb_store/db/tables.py."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.util import CommandError

from tests.db.alembic_runs import alembic, alembic_here
from tests.support.next_release import NEXT, ROOT
from tests.support.postgres import DEADLINE, Server, wait_until
from tests.support.tables import engine_of, revision_of, scalar, table_names, tables_of_a_store
from zrb_store import SchemaAhead, Store, open_store
from zrb_store.db import REVISION, VERSION_TABLE, migrate
from zrb_store.db.dialect.sqlite import PAGE_SIZE
from zrb_store.db.tables import metadata, queue, session
from zrb_store.db.transaction import Transaction
from zrb_store.db.views import queries
from zrb_store.errors import StoreUnavailable

ADD_TABLE = "op.create_table('zrb_more', sa.Column('id', sa.Integer, primary_key=True))"


def insert_session(engine: sa.Engine, name: str) -> None:
    """Insert a session with a queue. Deleting the session must delete the queue."""
    with engine.connect() as connection:
        connection.execute(session.insert().values(id=1, name=name, status="open", created_at=1, created_tick=1))
        connection.execute(queue.insert().values(session_id=1, name="orders"))
        connection.commit()


def create_views(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        migrate.make_views(engine.dialect.name, connection.execute)


def test_revision_is_the_head() -> None:
    assert migrate.head() == REVISION


def test_only_revisions_with_a_migration_are_known() -> None:
    assert migrate.is_known(REVISION)
    assert not migrate.is_known("9999")


def is_ours(name: str | None, kind: str, _: object) -> bool:
    return kind != "table" or name in metadata.tables


def test_migrations_make_what_tables_py_says(new_location: str) -> None:
    engine = engine_of(new_location)
    migrate.upgrade(engine)
    assert table_names(engine) == tables_of_a_store(engine)
    with engine.connect() as connection:
        options = {"compare_server_default": True, "include_name": is_ours}
        assert compare_metadata(MigrationContext.configure(connection, opts=options), metadata) == []


def test_sqlite_schema_is_what_tables_py_says(tmp_path: Path) -> None:
    """Compare what Alembic does not compare: WITHOUT ROWID, AUTOINCREMENT, conditions of indexes, ON DELETE."""

    def schema(engine: sa.Engine) -> dict[str, set[str]]:
        # Not the clock with its triggers, which `metadata` does not know.
        of_ours = ", ".join(f"'{name}'" for name in metadata.tables)
        with engine.connect() as connection:
            rows = connection.exec_driver_sql(
                f"SELECT name, sql FROM sqlite_master WHERE tbl_name IN ({of_ours}) AND type <> 'trigger' AND sql > ''"
            )
            # SQLite quotes the name of a table that was renamed, as each one that a migration has copied.
            texts = {name: sql.replace(f'"{name}"', name) for name, sql in rows}
        return {name: {line.strip(", ()\t") for line in sql.split("\n")} - {""} for name, sql in texts.items()}

    migrated, defined = engine_of(tmp_path / "migrated.db"), engine_of(tmp_path / "defined.db")
    migrate.upgrade(migrated)
    metadata.create_all(defined)
    assert schema(migrated) == schema(defined)


def test_a_new_file_gets_what_the_migrations_make_without_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Importing them takes three times as long as the rest of a first push."""
    migrate.upgrade(engine_of(tmp_path / "migrated.db"))
    monkeypatch.delattr(migrate, "upgrade")
    open_store(tmp_path / "new.db").close()

    def content(name: str) -> list[str]:
        with closing(sqlite3.connect(tmp_path / name)) as driver:
            return list(driver.iterdump())

    assert content("new.db") == content("migrated.db")


def test_postgresql_schema_is_the_same_migrated_or_created(new_postgres: str) -> None:
    def schema() -> list[tuple[str, ...]]:
        with engine.connect() as connection:
            return sorted(
                tuple(str(value).replace(f"{name}.", "") for value in row)
                for query in (
                    "SELECT tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = current_schema()",
                    "SELECT conrelid::regclass, conname, pg_get_constraintdef(oid) FROM pg_constraint"
                    " WHERE connamespace = current_schema()::regnamespace AND contype <> 'n'",
                    "SELECT table_name, column_name, data_type, is_nullable, column_default"
                    " FROM information_schema.columns WHERE table_schema = current_schema()",
                    "SELECT viewname, definition FROM pg_views WHERE schemaname = current_schema()",
                )
                for row in connection.exec_driver_sql(query)
                if VERSION_TABLE not in str(row)
            )

    engine = engine_of(new_postgres)
    name = scalar(engine, "SELECT current_schema()")
    migrate.upgrade(engine)
    migrated = schema()
    with engine.begin() as connection:
        connection.exec_driver_sql(f"DROP VIEW {', '.join(queries('sqlite'))}")
    metadata.drop_all(engine)
    metadata.create_all(engine)
    create_views(engine)
    assert migrated == schema()


def test_the_statements_alone_make_the_same_store(new_location: str) -> None:
    engine = engine_of(new_location)
    statements = migrate.statements(engine)
    assert table_names(engine) == set()
    with engine.connect() as connection:
        driver: Any = connection.connection.driver_connection
        run = driver.executescript if engine.dialect.name == "sqlite" else driver.execute
        run(statements)
    assert table_names(engine) == tables_of_a_store(engine)
    assert revision_of(engine) == REVISION
    assert "CREATE" not in migrate.statements(engine)


def test_a_second_upgrade_changes_nothing(location: str) -> None:
    engine = engine_of(location)
    insert_session(engine, "kept")
    migrate.upgrade(engine)
    assert scalar(engine, "SELECT name FROM zrb_session") == "kept"


def test_upgrade_that_fails_half_way_leaves_the_old_revision_working(
    location: str, add_migration: Callable[..., None]
) -> None:
    engine = engine_of(location)
    add_migration(ADD_TABLE, "op.add_column('zrb_session', sa.Column('more', sa.Text))", "op.execute('nonsense')")
    with pytest.raises(sa.exc.DBAPIError, match="nonsense"):
        migrate.upgrade(engine)
    assert revision_of(engine) == REVISION
    assert "zrb_more" not in table_names(engine)
    assert "more" not in {column["name"] for column in sa.inspect(engine).get_columns("zrb_session")}
    insert_session(engine, "still works")


def test_recreating_a_parent_table_keeps_the_rows_that_refer_to_it(
    location: str, add_migration: Callable[..., None]
) -> None:
    engine = engine_of(location)
    insert_session(engine, "parent")
    add_migration(
        "with rebuild('zrb_session') as batch:",
        "    batch.alter_column('pinned', existing_type=sa.Boolean, server_default=sa.true())",
    )
    migrate.upgrade(engine)
    assert revision_of(engine) == NEXT
    assert scalar(engine, "SELECT count(*) FROM zrb_queue") == 1
    # The rows must still refer to their parent.
    with engine.connect() as connection:
        connection.execute(session.delete())
        connection.commit()
    assert scalar(engine, "SELECT count(*) FROM zrb_queue") == 0


@pytest.mark.slow
def test_a_rebuild_keeps_all_of_a_table(tmp_path: Path, add_migration: Callable[..., None]) -> None:
    """STRICT, AUTOINCREMENT, WITHOUT ROWID, rules, indexes, triggers, and the last id, also of a deleted row."""

    def content() -> dict[str, Any]:
        with closing(sqlite3.connect(tmp_path / "store.db")) as driver:
            found = driver.execute("SELECT name, sql FROM sqlite_master WHERE sql > ''").fetchall()
            texts = {name: sql.replace(f'"{name}"', name).split("\n") for name, sql in found}
            lines = {name: sorted(line.strip(", ()\t") for line in text) for name, text in texts.items()}
            return lines | {"sequence": sorted(driver.execute("SELECT name, seq FROM sqlite_sequence"))}

    engine = engine_of(tmp_path / "store.db")
    migrate.upgrade(engine)
    insert_session(engine, "parent")
    with engine.begin() as connection:
        connection.execute(session.delete())
    before = content()
    add_migration(*(f"with rebuild({name!r}): pass" for name in metadata.tables))
    migrate.upgrade(engine)
    assert content() == before


def test_alembic_cannot_print_a_rebuild_for_sqlite(tmp_path: Path, add_migration: Callable[..., None]) -> None:
    location = str(tmp_path / "store.db")
    migrate.upgrade(engine_of(location))
    add_migration("with rebuild('zrb_session'): pass")
    with pytest.raises(CommandError, match="copies a table reads it: use `zrb-store db upgrade --sql`"):
        alembic_here(location, "upgrade", f"{REVISION}:{NEXT}", sql=True)


def test_the_migrations_are_in_the_package_or_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(migrate, "__file__", str(tmp_path / "zrb_store/db/migrate.py"))
    with pytest.raises(StoreUnavailable, match=rf"missing beside {tmp_path}/zrb_store: install zrb-store again"):
        migrate.folder()
    for folder in (tmp_path / "migrations", tmp_path / "zrb_store/_migrations"):  # an installed one goes first
        folder.mkdir(parents=True)
        (folder / "env.py").touch()
        assert migrate.folder() == folder


def test_upgrade_that_would_orphan_rows_is_undone(tmp_path: Path, add_migration: Callable[..., None]) -> None:
    engine = engine_of(tmp_path / "store.db")
    migrate.upgrade(engine)
    insert_session(engine, "parent")
    add_migration("op.execute('DELETE FROM zrb_session')")
    with pytest.raises(StoreUnavailable, match=r"undone: 1 rows would refer to nothing \(in zrb_queue\)"):
        migrate.upgrade(engine)
    assert revision_of(engine) == REVISION
    assert scalar(engine, "SELECT name FROM zrb_session") == "parent"


def test_connection_is_as_strict_after_an_upgrade_as_before(tmp_path: Path) -> None:
    with engine_of(tmp_path / "store.db").connect() as connection:
        migrate.upgrade(connection)
        assert not connection.in_transaction()
        assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1
        assert connection.exec_driver_sql("PRAGMA busy_timeout").scalar() == 0


def test_a_new_file_has_small_pages_and_another_one_keeps_its_own(tmp_path: Path) -> None:
    large = sa.create_engine(f"sqlite:///{tmp_path / 'large.db'}")
    with large.begin() as connection:
        connection.exec_driver_sql("PRAGMA page_size = 8192")
        connection.exec_driver_sql("PRAGMA journal_mode = WAL")
    large.dispose()
    for name, expected in (("new.db", PAGE_SIZE), ("large.db", 8192)):
        open_store(tmp_path / name).close()
        assert scalar(engine_of(tmp_path / name), "PRAGMA page_size") == expected


def test_sqlite_store_is_copied_before_an_upgrade(tmp_path: Path, add_migration: Callable[..., None]) -> None:
    engine = engine_of(tmp_path / "store.db")
    migrate.upgrade(engine, back_up=True)
    assert list(tmp_path.glob("*.bak")) == []
    insert_session(engine, "kept")
    add_migration(ADD_TABLE)
    migrate.upgrade(engine, back_up=True)
    assert revision_of(engine) == NEXT
    copy = tmp_path / f"store.db.{REVISION}.bak"
    assert copy.stat().st_mode & 0o777 == 0o600
    assert revision_of(engine_of(copy)) == REVISION
    assert scalar(engine_of(copy), "SELECT name FROM zrb_session") == "kept"


PROCESS = """
import sys
from tests.db.test_migrations import engine_of, migrate
engine = engine_of(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
migrate.upgrade(engine)
"""


def migrate_at_once(location: str) -> None:
    """Let four processes upgrade a store at the same moment. None may fail."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PROCESS, location],
            cwd=ROOT,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for _ in range(4)
    ]
    for process in processes:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin
        process.stdin.write("go\n")
        process.stdin.flush()
    assert [process.communicate(timeout=600)[1] for process in processes] == [""] * 4
    assert [process.returncode for process in processes] == [0] * 4


def test_threads_that_migrate_different_stores_do_not_mix_them_up(tmp_path: Path) -> None:
    engines = [engine_of(tmp_path / f"{number}.db") for number in range(4)]
    threads = [threading.Thread(target=migrate.upgrade, args=(engine,)) for engine in engines]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [revision_of(engine) for engine in engines] == [REVISION] * 4


def test_percent_in_a_sqlite_path(tmp_path: Path) -> None:
    engine = engine_of(tmp_path / "100%" / "a%20b%(here)s.db")
    migrate.upgrade(engine)
    assert [path.name for path in (tmp_path / "100%").iterdir()] == ["a%20b%(here)s.db"]


def test_percent_in_a_postgresql_url(postgres_server: Server, postgres_admin: psycopg.Connection[Any]) -> None:
    postgres_admin.execute('CREATE SCHEMA "100%"')
    try:
        search_path = quote('-csearch_path="100%"')
        url = postgres_server.url.replace("//postgres@", "//postgres:p%25w%40@")
        engine = engine_of(f"{url}&options={search_path}")
        migrate.upgrade(engine)
        assert revision_of(engine) == REVISION
    finally:
        postgres_admin.execute('DROP SCHEMA "100%" CASCADE')


def test_percent_in_the_path_of_the_migrations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "100%" / "%(here)s"
    shutil.copytree(migrate.folder(), folder)
    monkeypatch.setattr(migrate, "folder", lambda: folder)
    engine = engine_of(tmp_path / "store.db")
    migrate.upgrade(engine)
    assert revision_of(engine) == REVISION


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


# -- the command alembic, as a developer of zrb-store uses it in a checkout


@pytest.mark.slow
def test_the_parts_of_the_alembic_command_from_the_root(new_location: str) -> None:
    assert "CREATE TABLE" in alembic_here(new_location, "upgrade", "head", sql=True)
    alembic_here(new_location, "upgrade", "head")
    assert revision_of(engine_of(new_location)) == REVISION
    assert f"{REVISION} (head)" in alembic_here(new_location, "current")
    assert "No new upgrade operations" in alembic_here(new_location, "check")


@pytest.mark.slow
def test_alembic_command_writes_a_revision_that_works(tmp_path: Path) -> None:
    root = tmp_path / "100% checkout"
    for name in ("alembic.ini", "migrations", "zrb_store"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        (root / name).parent.mkdir(exist_ok=True)
        copy(ROOT / name, root / name)
    columns = root / "zrb_store" / "db" / "columns.py"
    columns.write_text(
        columns.read_text().replace("\n}\nOUTPUT: Columns", '\n    "more": _TIME_OR_NULL,\n}\nOUTPUT: Columns')
    )
    location = str(tmp_path / "store.db")
    alembic(location, "upgrade", "head", root=root)
    alembic(location, "revision", "--autogenerate", "--rev-id", NEXT, "-m", "More", root=root)
    assert "more" in (root / "migrations" / "versions" / f"{NEXT}_more.py").read_text()
    alembic(location, "upgrade", "head", root=root)
    assert revision_of(engine_of(location)) == NEXT
