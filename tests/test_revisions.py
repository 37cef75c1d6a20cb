"""A database of every earlier revision can be upgraded and then used."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import date
from pathlib import Path

import alembic.command
import pytest
import sqlalchemy as sa
from alembic.script import ScriptDirectory

from tests.clocks import set_back
from tests.revisions.make import HERE
from tests.sql_page import SECTIONS
from tests.test_migrations import engine_of
from zrb_store import SchemaBehind, Store, cli, codec, open_store
from zrb_store.db import REVISION, migrate, schema
from zrb_store.db.tables import metadata, output
from zrb_store.db.tables import run as run_table
from zrb_store.db.views import queries
from zrb_store.operations.values import requeue_all

STORED = sorted(HERE.glob("*.sql"))


def test_every_revision_has_its_database() -> None:
    revisions = {script.revision for script in ScriptDirectory(str(migrate.folder())).walk_revisions()}
    assert {path.stem for path in STORED} == revisions


def restore(stored: Path, location: str) -> None:
    """Make a store of an earlier revision: a SQLite file, or the same rows on PostgreSQL."""
    is_file = not location.startswith("postgresql")
    if is_file:
        Path(location).touch(0o600)
    with closing(sqlite3.connect(location if is_file else ":memory:")) as database:
        database.executescript(stored.read_text(encoding="utf-8"))
        if is_file:
            database.execute("PRAGMA journal_mode=WAL")
        else:
            restore_on_postgresql(database, stored.stem, engine_of(location))


def restore_on_postgresql(database: sqlite3.Connection, revision: str, engine: sa.Engine) -> None:
    with engine.connect() as connection, migrate.exclusive(connection):
        alembic.command.upgrade(migrate.alembic_config(connection), revision)
        views = HERE / "postgresql" / f"{revision}.sql"  # the views that this revision made, once it was the newest
        if views.exists():
            connection.exec_driver_sql(views.read_text(encoding="utf-8"))
    database.row_factory = sqlite3.Row
    with engine.connect() as connection:
        there = sa.inspect(connection).get_table_names()
        for name in (table.name for table in metadata.sorted_tables if table.name in there):
            table = sa.Table(name, sa.MetaData(), autoload_with=connection, resolve_fks=False)
            flags = [column.name for column in table.c if isinstance(column.type, sa.Boolean)]
            for row in database.execute(f"SELECT * FROM {name}"):
                connection.execute(sa.insert(table).values({**row, **{flag: bool(row[flag]) for flag in flags}}))
            if "id" in table.c:
                connection.exec_driver_sql(f"SELECT setval(pg_get_serial_sequence('{name}', 'id'), 1000)")
        # SQLite numbers values by their rows, PostgreSQL by this column.
        highest = "SELECT max(seq) FROM zrb_value WHERE queue_id = zrb_queue.id"
        connection.exec_driver_sql(f"UPDATE zrb_queue SET high = coalesce(({highest}), 0)")


def outlast_suspicion(store: Store) -> None:
    """Let the lease of a dead run be found expired long enough ago."""
    suspected = sa.update(run_table).where(run_table.c.ended_at.is_(None)).values(lease_expires_at=1, suspected_at=1)
    store.database.transact(lambda transaction: transaction.execute(suspected))


@pytest.mark.promise(number=15)
@pytest.mark.parametrize("stored", STORED, ids=lambda path: path.stem)
def test_a_stored_database_is_upgraded_and_used(
    stored: Path, new_location: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZRB_STORE_URL", new_location)
    restore(stored, new_location)
    # Before the upgrade, a report is written or refused as `show` does.
    shown = cli.run(["show", "dead"]), capsys.readouterr().err
    code = cli.run(["report", "dead"])
    page = capsys.readouterr()
    assert (code, page.err) == shown
    assert (code == 0) == ("<h1>dead</h1>" in page.out)
    if new_location.startswith("postgresql") and stored.stem != REVISION:
        with pytest.raises(SchemaBehind), open_store(new_location):
            pass
        assert cli.run(["db", "upgrade"]) == 0, capsys.readouterr()
    with open_store(new_location) as store:
        assert schema.revision(store.database) == REVISION
        with store.database.engine.connect() as connection:
            rows = {name: connection.exec_driver_sql(f"SELECT * FROM {name}").fetchall() for name in queries("sqlite")}
        since = {"zrb_xcom_changes": "0004", "zrb_xcom_steps": "0005", "zrb_xcom_output": "0006"}
        assert {name for name in rows if not rows[name]} == {name for name in since if stored.stem < since[name]}
        statuses = {"inbox": "open", "done": "completed", "dead": "stale"}
        poison = store.session("inbox").xcom["poison"]
        if stored.stem >= "0008":
            assert store.session("inbox").xcom["long"].pop() == "x" * 9_000
        if stored.stem >= "0006":
            said = store.database.execute(sa.select(output.c.piece, output.c.size, output.c.data))
            assert said == [(1, 9, '[[1795000000000000,"stdout","loading"],[1795000000000001,"print",""]]')]
            assert store.database.execute(sa.select(run_table.c.id).where(run_table.c.told_at == run_table.c.ended_at))
        if stored.stem >= "0004":
            statuses["victim"] = "failed"
            assert (poison.max_deliveries, len(poison)) == (1, 0)
            assert requeue_all(store.database, "inbox", "poison") == 1
            assert list(poison) == ["deadly"]
        assert {record.name: record.status for record in store.sessions()} == statuses
        assert codec.decode(store.session("done").record().inputs or "") == {"day": date(2026, 11, 24)}
        assert store.last("load", any_project=True) == {"loaded": "a.csv"}
        files = store.session("inbox").xcom["files"]
        assert list(files) == ["c.csv"]
        outlast_suspicion(store)
        with store.session("dead").run(task="load") as run:
            assert run.task("count", lambda text: 1 / 0, "abcd") == 4
            with run.attempt("load") as attempt:
                assert attempt.number == 3
                assert attempt.xcom["half"] == store.session("nothing").xcom["there"]
                assert files.pop() == "b.csv"
                # The first step stands. The other one began when its attempt had taken a value that has come back.
                stands = stored.stem >= "0005"
                assert attempt.step("page", lambda text: "anew", "one") == (None if stands else "anew")
                assert attempt.step("rest", lambda text: "anew", "abc") == "anew"
        files.push("d.csv")
        assert list(files) == ["c.csv", "d.csv"]
    assert cli.run(["doctor"]) == 0, capsys.readouterr()


@pytest.mark.promise(number=15)
def test_what_users_built_on_views_lasts_when_columns_are_renamed(new_location: str) -> None:
    restore(HERE / "0009.sql", new_location)
    mine = "SELECT session, value FROM mine ORDER BY session, value"
    engine = engine_of(new_location)
    on_sqlite = engine.dialect.name == "sqlite"
    with engine.begin() as connection:
        run = connection.exec_driver_sql
        run("CREATE VIEW mine AS SELECT session, value FROM zrb_xcom_values WHERE state = 'live'")
        run('CREATE VIEW "how: it ended" AS SELECT session, outcome FROM zrb_xcom_runs')
        if on_sqlite:
            run("CREATE TRIGGER refused INSTEAD OF DELETE ON mine BEGIN SELECT raise(ABORT, 'only read'); END")
        before = run(mine).fetchall()
        ends = run('SELECT * FROM "how: it ended" ORDER BY session, outcome').fetchall()
    migrate.upgrade(engine)
    with engine.connect() as connection:
        run = connection.exec_driver_sql
        assert run(mine).fetchall() == before != []
        for name, (columns, _) in SECTIONS.items():
            assert [column["name"] for column in sa.inspect(connection).get_columns(name)] == columns
        if on_sqlite:  # it keeps the text of a view, and the columns that the text names are gone
            with pytest.raises(sa.exc.OperationalError, match="no such column: outcome"):
                run('SELECT * FROM "how: it ended"')
            with pytest.raises(sa.exc.IntegrityError, match="only read"):
                run("DELETE FROM mine")
        else:
            assert run('SELECT * FROM "how: it ended" ORDER BY session, outcome').fetchall() == ends


@pytest.mark.promise(number=17)
@pytest.mark.unpooled
def test_an_upgraded_store_keeps_the_order_of_its_times(new_location: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What happens after the upgrade comes after it, also for a clock that is far behind."""
    monkeypatch.setenv("ZRB_STORE_URL", new_location)
    restore(HERE / "0008.sql", new_location)
    assert cli.run(["db", "upgrade"]) == 0
    with open_store(new_location) as store:
        set_back(store, 20 * 365 * 86_400)
        outlast_suspicion(store)
        files = store.session("inbox").xcom["files"]
        with store.session("dead").run(task="load") as run, run.attempt("load") as attempt:
            assert attempt.step("page", lambda text: "again", "one") is None
            assert attempt.step("rest", lambda text: "again", "abc") == "again"
            files.append(files.pop())
            attempt.complete("newest")
        assert store.last("load", any_project=True) == "newest"
    assert cli.run(["doctor"]) == 0


@pytest.mark.parametrize("damaged", ["'2026-11-24'", "9223372036854775807", "1.7e300", "x'00'"])
def test_a_damaged_time_does_not_set_the_ticks(damaged: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    location = str(tmp_path / "store.db")
    monkeypatch.setenv("ZRB_STORE_URL", location)
    restore(HERE / "0008.sql", location)
    with closing(sqlite3.connect(location)) as database:
        database.execute(f"UPDATE zrb_value SET pushed_at = {damaged} WHERE seq = 1")
        database.commit()
    assert cli.run(["db", "upgrade"]) == 0
    with open_store(location) as store:
        with store.session("new").run(task="load") as run, run.attempt("load") as attempt:
            attempt.complete("new")
        assert store.last("load", any_project=True) == "new"
        assert store.session("new").record().created_tick < 1_900_000_000_000_000
