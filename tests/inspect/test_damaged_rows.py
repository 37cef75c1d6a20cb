"""A damaged row is named. Readers show the rest, and nothing acts on a store without it."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence

import pytest
import sqlalchemy as sa

from tests.support.commands import Commands, Result
from tests.support.damage import DAMAGE, FAR, damage, fill_all_tables
from tests.support.findings import doctor_findings
from tests.support.pruning import names
from tests.support.rows import all_rows, allow_damage, query
from tests.support.sessions import parse
from zrb_store import Store, ZrbStoreError
from zrb_store.cli.command_table import COMMANDS
from zrb_store.db.tables import value


def is_here(words: Sequence[str]) -> bool:
    """Whether there is this command: a wing may be taken off."""
    return words[0] in COMMANDS


READS = [
    words
    for words in (
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
    )
    if is_here(words)
]

# `diff` compares the values that are live or taken. A text whose beginning is missing is shown as undecodable.
UNNAMED = {"zrb_value": ["diff"], "zrb_chunk": ["show", "diff", "trace"]}


@pytest.fixture
def all_tables(filled: Store, small_chunks: None) -> Store:
    """A store with rows of the session etl-24 in each table."""
    fill_all_tables(filled)
    return filled


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


@pytest.mark.slow
@pytest.mark.parametrize(("table", "column"), [("zrb_attempt", "started_at"), ("zrb_run", "started_at")])
def test_a_time_that_there_is_not_stops_no_reader(command: Commands, filled: Store, table: str, column: str) -> None:
    with filled.session("live").run(task="load") as run, run.attempt("load"):
        allow_damage(filled)
        filled.database.execute(sa.text(f"UPDATE {table} SET {column} = {FAR}"))
        for args in filter(is_here, (["stats"], ["stats", "--format", "json"], ["show", "live"])):
            assert f"damaged, and left out: {table} " in command(*args).err
        for args in filter(is_here, (["check"], ["list"])):
            assert "internal error" not in command(*args).err
        filled.database.execute(sa.text(f"UPDATE {table} SET {column} = 1"))


def test_many_are_counted_and_few_named(command: Commands, filled: Store) -> None:
    for number in range(20):
        filled.session(f"s{number}").xcom["q"].push(1)
    allow_damage(filled)
    filled.database.execute(sa.text("UPDATE zrb_session SET path = '5'"))
    err = command("list").err
    assert err.count("(path)") == 3
    assert "and 20 more; `zrb-store doctor`" in err


# -- what acts on rows


@pytest.mark.slow
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


@pytest.mark.slow
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
