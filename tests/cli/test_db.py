"""`db status` and `db upgrade`, at every revision that a store can have."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from tests.support import next_release
from tests.support.attempts import acting_as
from tests.support.commands import Commands
from tests.support.next_release import NEXT
from tests.support.rows import all_rows, stop_renewals
from tests.support.sessions import parse, parse_lines
from zrb_store import SchemaAhead, SchemaBehind, Store, StoreMissing, StoreUnavailable, codec, open_store
from zrb_store.db import REVISION, engine
from zrb_store.db.core import ready
from zrb_store.db.location import store_url
from zrb_store.inspect import doctor
from zrb_store.operations.mark import mark
from zrb_store.operations.sessions import pin, remove_sessions
from zrb_store.operations.values import pop, push
from zrb_store.queries import attempts, sessions, takes, values
from zrb_store.queries import lease as lease_queries

pytestmark = pytest.mark.long_on_postgresql


@pytest.fixture
def install_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], object]]:
    """Return a function that replaces this zrb-store by a newer one, which has one migration more."""
    with ExitStack() as stack:
        yield lambda: stack.enter_context(next_release.in_this_process(tmp_path / "newer", monkeypatch))


@pytest.fixture
def command_without_store(
    new_location: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Commands:
    """`zrb-store` where there is no store yet."""
    return Commands(new_location, monkeypatch, capsys.readouterr)


def test_status_of_a_store(command: Commands, store: Store) -> None:
    store.session("s").xcom["q"].extend([1, 2, 3])
    store.session("s").xcom["q"].push(4, delay=timedelta(hours=1))
    store.session("s").xcom["q"].pop()
    found = parse("status", command.ok("db", "status", "--format", "json"))
    assert parse_lines("status", command.ok("db", "status", "--format", "jsonl")) == [found]
    assert command.ok("db", "status", "--format", "value") == f"{REVISION}\n"
    assert found["url"] == store.url
    assert found["database"].startswith(
        {"sqlite": "SQLite 3.", "postgresql": "PostgreSQL "}[store.database.dialect_name]
    )
    assert (found["revision"], found["wanted"]) == (REVISION, REVISION)
    assert found["size"] > 10_000
    assert (found["wal_size"] is None) == (store.database.dialect_name == "postgresql")
    assert found["rows"] == {"sessions": 1, "runs": 0, "attempts": 0, "queues": 1, "values": 4, "live_values": 2}
    text = command.ok("db", "status")
    assert f"{REVISION} (up to date)" in text
    assert "Live values  2" in text


def test_a_missing_store_is_reported_and_not_created(command_without_store: Commands) -> None:
    for _ in range(2):
        result = command_without_store("db", "status")
        assert (result.code, "there is no store" in result.err) == (69, True)


@pytest.mark.slow
def test_upgrade_makes_a_store(command_without_store: Commands) -> None:
    assert command_without_store.ok("db", "upgrade") == f"created at revision {REVISION}\n"
    assert command_without_store.ok("db", "upgrade") == f"already at revision {REVISION}\n"
    assert command_without_store.ok("db", "upgrade", "--sql") == ""
    assert command_without_store.ok("list", "--format", "json") == "[]\n"


@pytest.mark.slow
def test_an_older_store_is_shown_refused_and_upgraded(
    command: Commands, location: str, monkeypatch: pytest.MonkeyPatch, install_next: Callable[[], object]
) -> None:
    command.ok("push", "s", "q", "1")
    install_next()
    assert f"{REVISION} (this version needs {NEXT})" in command.ok("db", "status")
    assert command("list").code == 69
    assert "ALTER TABLE zrb_session ADD COLUMN more TEXT" in command.ok("db", "upgrade", "--sql")
    assert f"{REVISION} (this version needs {NEXT})" in command.ok("db", "status"), "--sql must change nothing"
    assert command("db", "upgrade").out == f"upgraded from {REVISION} to {NEXT}\n"
    assert command.ok("pop", "s", "q") == "1\n"
    path = store_url(location).database or ""
    if store_url(location).drivername == "sqlite":
        backup = Path(f"{path}.{REVISION}.bak")
        assert backup.stat().st_mode & 0o777 == 0o600
        monkeypatch.undo()
        with open_store(backup) as old:
            assert list(old.session("s").xcom["q"]) == [1]


@pytest.mark.slow
def test_a_store_is_upgraded_once_its_sessions_have_ended(
    command: Commands, location: str, store: Store, install_next: Callable[[], object]
) -> None:
    run = store.session("s").run().start()
    stop_renewals(store)  # else its thread says in between that it cannot renew the lease
    install_next()
    with pytest.raises(SchemaBehind, match="zrb-store db upgrade"):
        open_store(location)
    assert command("db", "upgrade").code == 69
    store.database.revision_due = math.inf  # as a process of the older release, for which nothing has changed
    store.database.execute(
        sa.text(f"UPDATE zrb_run SET ended_at = 1, ended_tick = started_tick, status = 'lost' WHERE id = {run.id}")
    )
    store.close()
    assert command("db", "upgrade").code == 0


def test_a_process_that_has_the_store_open_writes_no_more_once_it_was_upgraded(location: str, store: Store) -> None:
    queue = store.session("s").xcom["q"]
    queue.extend([1, 2])
    run = store.session("flow").run().start()
    attempt = run.begin("load")
    before = all_rows(store)
    with open_store(location) as other:
        other.database.transact(lambda t: t.driver.execute("UPDATE zrb_version SET version_num = '9999'"))

    def as_attempt(action: Callable[[], object]) -> None:
        with acting_as(attempt):
            action()

    changes: list[Callable[[], object]] = [
        lambda: queue.push(3),
        lambda: as_attempt(lambda: queue.push(3)),
        lambda: store.session("new").xcom["q"].push(3),
        queue.pop,
        lambda: as_attempt(queue.pop),
        queue.rotate,
        lambda: attempt.complete(1),
        attempt.fail,
        lambda: run.begin("other"),
        lambda: run.note_tasks({"load": "not started"}),
        lambda: run.end("completed"),
        lambda: store.session("another").run().start(),
        lambda: lease_queries.renew(store.database, run.id, 60_000_000),
        lambda: push(store.database, "s", "q", codec.encode(3), None),
        lambda: pop(store.database, "s", "q", None),
        lambda: mark(store.database, "flow", "load", None),
        lambda: pin(store.database, "s"),
        lambda: remove_sessions(store.database, "s"),
        lambda: store.fork("flow", from_task="load"),
    ]
    for change in changes:
        with pytest.raises(SchemaAhead, match="was changed to revision 9999 while this process had it open: end this"):
            change()
    store.database.revision_due = math.inf
    assert list(queue) == [1, 2]
    assert all_rows(store) == before


@pytest.mark.long_on_postgresql(False)
def test_every_statement_that_writes_by_itself_asks_for_the_revision(store: Store) -> None:
    """A statement that runs in a transaction need not, since the transaction checks the revision when it begins."""
    by_themselves = [
        values._push("sqlite", True, False, False, True),
        values._push("sqlite", False, True, False, False),
        values._push("postgresql", True, False, False, False),
        takes._take("sqlite", True, False, False, True),
        takes._take("sqlite", False, True, True, True),
        attempts._begin("task"),
        attempts._begin("once"),
        lease_queries._renew(),
        sessions._set_tasks(),
    ]
    for statement in by_themselves:
        sql = ready(statement, store.database.dialect_name).sql
        assert f"version_num = '{REVISION}'" in sql


def test_a_newer_store_needs_a_newer_zrb_store(command: Commands, store: Store) -> None:
    store.database.execute(sa.text("UPDATE zrb_version SET version_num = 'ffff'"))
    assert f"ffff (this version needs {REVISION})" in command.ok("db", "status")
    for args in (["db", "upgrade"], ["db", "upgrade", "--sql"], ["list"]):
        result = command(*args)
        assert (result.code, "upgrade zrb-store" in result.err) == (69, True)


@pytest.mark.on_sqlite
def test_an_old_sqlite_is_refused(
    command: Commands, store: Store, location: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.close()
    for version in ((3, 36, 0), (3, 37, 0)):
        monkeypatch.setattr(sqlite3, "sqlite_version_info", version)
        monkeypatch.setattr(sqlite3, "sqlite_version", ".".join(map(str, version)))
        for args in (["list"], ["push", "s", "q", "1"], ["db", "status"], ["doctor"]):
            result = command(*args)
            said = (
                "this Python has SQLite 3.36.0, but a store needs 3.37 or newer: use a newer Python, or " in result.err
            )
            assert (result.code == 69, said) == (version < (3, 37),) * 2
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 36, 0))
    with pytest.raises(StoreUnavailable, match=r"a store needs 3\.37 or newer"):
        open_store(tmp_path / "new.db")
    assert not (tmp_path / "new.db").exists()


def test_another_programs_file_is_left_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "places.db"
    with closing(sqlite3.connect(file)) as database:
        database.execute("CREATE TABLE moz_places (url TEXT)")
    before = file.read_bytes()
    for read_only in (True, False):
        with pytest.raises(SchemaAhead, match="another program's database: name another file"):
            open_store(file, read_only=read_only)
    command = Commands(str(file), monkeypatch, capsys.readouterr)
    for args in (["db", "upgrade"], ["db", "upgrade", "--sql"]):
        result = command(*args)
        assert (result.code, "another program's database" in result.err) == (69, True)
    assert file.read_bytes() == before


@pytest.mark.slow
def test_a_store_made_of_the_statements_is_a_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "x.db"
    file.touch(mode=0o600)
    command = Commands(str(file), monkeypatch, capsys.readouterr)
    with closing(sqlite3.connect(file)) as database:
        database.executescript(command.ok("db", "upgrade", "--sql"))
    monkeypatch.setattr(doctor, "_WAL_RESET_BUG", ((0,), (0,)))
    command.ok("push", "s", "q", "1")
    assert command.ok("doctor") == "healthy\n"


def test_an_empty_file_is_no_store_until_it_is_written(tmp_path: Path) -> None:
    file = tmp_path / "empty.db"
    file.touch()
    with pytest.raises(StoreMissing):
        open_store(file, read_only=True)
    with open_store(file) as store:
        store.session("s").xcom["q"].push(1)


@pytest.mark.promise(number=9)
def test_a_password_is_never_shown(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    url = "postgresql://someone:hunter2@127.0.0.1:1/none?connect_timeout=1"
    command = Commands(url, monkeypatch, capsys.readouterr)
    monkeypatch.setattr(engine.Database, "timeout", 0.0)
    for args in (["db", "status"], ["db", "upgrade"], ["push", "s", "q", "1"]):
        result = command(*args)
        assert result.code == 69
        assert "hunter2" not in result.err + result.out


@pytest.mark.on_sqlite
@pytest.mark.parametrize("name", ["status", "upgrade"])
def test_help_has_an_example(command: Commands, name: str) -> None:
    assert f"zrb-store db {name}" in command.ok("db", name, "--help").partition("Example")[2]
