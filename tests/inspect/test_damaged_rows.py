"""A damaged row is named. Readers show the rest, and nothing acts on a store without it."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path

import pytest
import sqlalchemy as sa

from tests.support.commands import Commands, Result
from tests.support.findings import doctor_findings
from tests.support.pruning import names
from tests.support.rows import all_rows, allow_damage, query
from tests.support.sessions import parse
from tests.transfer.exports import imported
from zrb_store import Store, ZrbStoreError, codec, open_store
from zrb_store.db.rows import leaving_out
from zrb_store.db.tables import value
from zrb_store.operations.values import push, replace
from zrb_store.page.pages import Question, read_list

_SESSION = "(SELECT id FROM zrb_session WHERE name = 'etl-24')"
_QUEUES = f"(SELECT id FROM zrb_queue WHERE session_id = {_SESSION})"
FAR = 2**62
DAMAGE = {
    "zrb_session": "UPDATE zrb_session SET status = 'done' WHERE name = 'etl-24'",
    "zrb_run": f"UPDATE zrb_run SET lease_expires_at = {FAR} WHERE session_id = {_SESSION}",
    "zrb_attempt": f"UPDATE zrb_attempt SET started_at = {FAR} WHERE session_id = {_SESSION} AND task = 'load'",
    "zrb_output": "UPDATE zrb_output SET data = '[[1]]'",
    "zrb_queue": f"UPDATE zrb_queue SET max_deliveries = -1 WHERE session_id = {_SESSION} AND name = 'rows'",
    "zrb_value": f"UPDATE zrb_value SET state = 'lost' WHERE seq = 1 AND queue_id IN {_QUEUES}",
    "zrb_chunk": f"UPDATE zrb_chunk SET number = -1 WHERE number = 0 AND queue_id IN {_QUEUES}",
    "zrb_return": f"UPDATE zrb_return SET taken_at = {FAR} WHERE queue_id IN {_QUEUES}",
    "zrb_replaced": f"UPDATE zrb_replaced SET size = 0 WHERE queue_id IN {_QUEUES}",
    "zrb_change": f"UPDATE zrb_change SET at = {FAR} WHERE session = 'etl-24'",
}
READS = [
    ("list",),
    ("show", "etl-24"),
    ("show", "etl-24", "--at", "2099-01-01"),
    ("log", "etl-24"),
    ("log", "etl-24", "--all"),
    ("get", "etl-24", "rows", "--seq", "1"),
    ("get", "etl-24", "long"),
    ("get", "etl-24", "extract", "--result"),
    ("trace", "etl-24/rows#2"),
    ("trace", "etl-24/extract#1"),
    ("diff", "etl-25", "etl-24"),
    ("last", "load", "--any-project"),
    ("stats",),
    ("check",),
    ("report", "etl-24"),
    ("export", "etl-24"),
]

# `diff` compares the values that are live or taken. A text whose beginning is missing is shown as undecodable.
UNNAMED = {"zrb_value": ["diff"], "zrb_chunk": ["show", "diff", "trace"]}


@pytest.fixture
def all_tables(filled: Store, small_chunks: None) -> Store:
    """A store with rows of the session etl-24 in each table."""
    push(filled.database, "etl-24", "by hand", codec.encode(1), None)
    push(filled.database, "etl-24", "long", codec.encode("a long text"), None)
    replace(filled.database, "etl-24/by hand#1", codec.encode(2), None)
    attempt = f"(SELECT min(id) FROM zrb_attempt WHERE session_id = {_SESSION} AND task = 'load')"
    line = f'INSERT INTO zrb_output VALUES ({attempt}, 1, 0, 2, \'[[1, "print", "x"]]\')'
    filled.database.execute(sa.text(line))
    return filled


def damage(store: Store, table: str) -> None:
    allow_damage(store)
    assert store.database.execute(sa.text(DAMAGE[table] + " RETURNING 1"))


def is_named(result: Result, table: str) -> bool:
    return table in result.err or (table in ("zrb_chunk", "zrb_output") and "(data)" in result.err)


@pytest.mark.promise(number=14)
@pytest.mark.parametrize("table", DAMAGE)
@pytest.mark.slow
def test_readers_name_a_damaged_row_and_show_the_rest(
    command: Commands, all_tables: Store, location: str, table: str
) -> None:
    healthy = {args: command(*args) for args in READS}
    damage(all_tables, table)
    naming = set()
    for args in READS:
        result = command(*args)
        assert result.code in (0, 1), (args, result)
        assert len(result.err.splitlines()) <= 1, (args, result)
        assert "internal error" not in result.err, (args, result)
        if is_named(result, table):
            naming.add(args[0])
        elif args[0] not in ("export", "report", *UNNAMED.get(table, ())):
            assert result.out == healthy[args].out, f"it left something out in silence: {args}"
    assert naming
    assert set(command("list", "--format", "value").out.split()) >= {"etl-25", "inbox"}
    for words in (["show", "etl-24"], ["log", "etl-24"], ["list"]):
        shown = command(*words, "--format", "json")
        assert shown.out == "" or parse(words[0], shown.out)
    assert any(finding.level == "error" for finding in doctor_findings(location))


@pytest.mark.parametrize(("table", "column"), [("zrb_attempt", "started_at"), ("zrb_run", "started_at")])
def test_a_time_that_there_is_not_stops_no_reader(command: Commands, filled: Store, table: str, column: str) -> None:
    with filled.session("live").run(task="load") as run, run.attempt("load"):
        allow_damage(filled)
        filled.database.execute(sa.text(f"UPDATE {table} SET {column} = {FAR}"))
        for args in (["stats"], ["stats", "--format", "json"], ["show", "live"]):
            assert f"damaged, and left out: {table} " in command(*args).err
        for args in (["check"], ["list"]):
            assert "internal error" not in command(*args).err
        filled.database.execute(sa.text(f"UPDATE {table} SET {column} = 1"))


def test_a_page_names_it(all_tables: Store) -> None:
    damage(all_tables, "zrb_session")
    with leaving_out():
        found = read_list(all_tables.database, Question({}, {}, False, "zrb-store"))
    assert "zrb_session name=etl-24 (status)" in found.context["damage"]
    assert [each.session.name for _, group in found.context["groups"] for each in group] == ["etl-25", "inbox"]


def test_many_are_counted_and_few_named(command: Commands, filled: Store) -> None:
    for number in range(20):
        filled.session(f"s{number}").xcom["q"].push(1)
    allow_damage(filled)
    filled.database.execute(sa.text("UPDATE zrb_session SET path = '5'"))
    err = command("list").err
    assert err.count("(path)") == 3
    assert "and 20 more; `zrb-store doctor`" in err


@pytest.mark.on_sqlite
@pytest.mark.promise(number=14)
@pytest.mark.parametrize("table", [table for table in DAMAGE if table != "zrb_change"])
def test_export_and_copy_leave_its_session_out(
    command: Commands, all_tables: Store, tmp_path: Path, sqlite_template: Path, table: str
) -> None:
    for name in ("export.db", "new.db"):
        shutil.copy(sqlite_template, tmp_path / name)
    damage(all_tables, table)
    result = command("export")
    assert result.code == 1
    assert result.err.startswith("zrb-store: left out, because they are damaged: session etl-24 (")
    kept = [line["name"] for line in map(json.loads, result.out.splitlines()) if line["record"] == "session"]
    assert "etl-24" not in kept
    with open_store(tmp_path / "export.db") as new:
        assert imported(new, result.out.encode()) == len(kept)
    command("copy", str(all_tables.database.url.render_as_string(hide_password=False)), str(tmp_path / "new.db"))
    with open_store(tmp_path / "new.db") as new:
        assert names(new) == set(kept)


# -- what acts on rows


@pytest.mark.parametrize("table", ["zrb_session", "zrb_run", "zrb_attempt"])
def test_a_change_that_depends_on_it_is_refused(command: Commands, all_tables: Store, table: str) -> None:
    damage(all_tables, table)
    before = all_rows(all_tables)
    with pytest.raises(ZrbStoreError, match=f"a row is damaged: {table} "):
        all_tables.session("etl-24").run(task="report").start()
    changes = {
        "zrb_session": (["mark", "etl-24", "load", "completed"], ["pin", "etl-24"], ["prune", "--keep-last", "0"]),
        "zrb_run": (["mark", "etl-24", "load", "completed"], ["rm", "etl-24"]),
        "zrb_attempt": (["fork", "etl-24", "--from", "nothing"],),
    }
    for args in changes[table]:
        result = command(*args)
        assert (result.code, result.out) == (1, "")
        assert result.err.startswith(f"zrb-store: a row is damaged: {table} ")
    assert all_rows(all_tables) == before


def test_prune_deletes_nothing_if_a_run_that_decides_is_damaged(command: Commands, store: Store) -> None:
    with store.session("old").run() as run:
        run.task("a", lambda: 1)
    with store.session("s").run():
        allow_damage(store)
        store.database.execute(sa.text(f"UPDATE zrb_run SET lease_expires_at = {FAR} WHERE ended_at IS NULL"))
        assert "a row is damaged: zrb_run id=" in command("prune", "--older-than", "0s").err
        assert query(store, "SELECT name FROM zrb_session ORDER BY name") == [("old",), ("s",)]
        store.database.execute(sa.text(f"UPDATE zrb_run SET lease_expires_at = {2**50} WHERE ended_at IS NULL"))


def test_retention_is_refused_with_a_warning(
    all_tables: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    damage(all_tables, "zrb_session")
    monkeypatch.setenv("ZRB_STORE_RETENTION", "keep=0")
    with caplog.at_level(logging.WARNING), all_tables.session("new").run():
        pass
    assert "the store was not pruned: a row is damaged: zrb_session name=etl-24 (status)" in caplog.text
    assert query(all_tables, "SELECT count(*) FROM zrb_session") == [(4,)]


def test_nothing_is_reclaimed_from_a_damaged_run(store: Store, command: Commands) -> None:
    store.session("inbox").xcom["files"].extend([1, 2])
    with store.session("s").run() as run, run.attempt("load"):
        store.session("inbox").xcom["files"].pop()
        allow_damage(store)
        store.database.execute(sa.text("UPDATE zrb_run SET lease_expires_at = -1"))
        before = all_rows(store, but=("zrb_run",))
        assert "a row is damaged: zrb_run id=" in command("pop", "inbox", "files").err
        assert all_rows(store, but=("zrb_run",)) == before
        store.database.execute(sa.text(f"UPDATE zrb_run SET lease_expires_at = {2**50}"))


@pytest.mark.parametrize("damaged", ["created_at = -5", "path = '5'", "tasks = '[]'", "status = 'done'"])
def test_rm_deletes_a_damaged_session(command: Commands, filled: Store, location: str, damaged: str) -> None:
    allow_damage(filled)
    filled.database.execute(sa.text(f"UPDATE zrb_session SET {damaged} WHERE name = 'etl-24'"))
    assert command.ok("rm", "etl-24", "--dry-run") == "etl-24\n"
    command.ok("rm", "etl-24")
    assert names(filled) == {"etl-25", "inbox"}
    assert doctor_findings(location) == []


# -- contents, which the tables do not check


@pytest.mark.parametrize(
    "data",
    [
        '{"broken',
        '{"$": {"a": 1}}',
        '{"$": "of a later version", "v": 1}',
        '[{"$": "Decimal", "v": "abc"}]',
        '{"$": "dataclass", "type": "a.B", "v": 1}',
    ],
)
def test_a_damaged_value_is_named_and_stays_where_it_is(command: Commands, store: Store, data: str) -> None:
    store.session("inbox").xcom["q"].extend([1, 2])
    store.database.execute(sa.update(value).where(value.c.seq == 1).values(data=data))
    before = all_rows(store)
    refused = command("pop", "inbox", "q")
    assert (refused.code, refused.out) == (1, "")
    assert "inbox/q#1 is damaged, and was left in its place" in refused.err
    shown = command("get", "inbox", "q", "--seq", "1")
    assert shown.code == 0
    assert "damaged: value inbox/q#1 (data)" in shown.err
    assert all_rows(store) == before


@pytest.mark.parametrize(
    "data",
    [
        '{"$": "object", "type": "a.B", "v": 1}',
        '{"$": "enum", "type": "a.B", "name": "C"}',
        '{"$": "set", "v": [{"$": "dataclass", "type": "a.B", "v": {"c": 1}}]}',
        '{"$": "datetime", "v": "2026-01-01", "tz": {"$": "ZoneInfo", "v": "No/Such"}}',
    ],
)
def test_what_only_this_machine_does_not_know_is_taken(command: Commands, store: Store, data: str) -> None:
    store.session("inbox").xcom["q"].push(1)
    store.database.execute(sa.update(value).where(value.c.seq == 1).values(data=data))
    assert json.loads(command.ok("pop", "inbox", "q")) == json.loads(data)
