"""A row that another program or a failing disk has damaged hides no other row, and is named."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path

import pytest
import sqlalchemy as sa

from tests.commands import Commands, Result
from tests.rows import all_rows, allow_damage
from tests.sessions import parse, parse_lines
from tests.test_doctor import doctor_findings
from tests.test_prune import names
from tests.transfer.test_transfer import imported
from zrb_store import SessionNotFound, Store, ZrbStoreError, codec, open_store
from zrb_store.db.tables import value
from zrb_store.operations.sessions import remove_sessions
from zrb_store.operations.values import push

pytestmark = pytest.mark.long_on_postgresql

FAR = 2**62
NO_TEXT = "CAST(x'ff00' AS TEXT)"
OF_SESSION = "WHERE name = 'etl-24'"
OF_RUN = "WHERE session_id = (SELECT id FROM zrb_session WHERE name = 'etl-24')"
OF_VALUE = (
    "WHERE seq = 1 AND queue_id = (SELECT q.id FROM zrb_queue q JOIN zrb_session s ON s.id = q.session_id "
    "WHERE s.name = 'etl-24' AND q.name = 'rows')"
)
SESSION = [
    "path = '[[['",
    "path = '5'",
    "path = '[5]'",
    "tasks = '[]'",
    """tasks = '{"load": "done"}'""",
    "inputs = '5'",
    "inputs = '{'",
    "status = 'done'",
    f"created_at = {FAR}",
    f"created_at = {-FAR}",
    f"ended_at = {FAR}",
    "fence = -1",
]
RUN = [
    "command = 'zrb load'",
    "command = '5'",
    "origin = 'cron'",
    "status = 'done'",
    f"started_at = {FAR}",
    f"lease_expires_at = {FAR}, ended_at = NULL, status = NULL",
    f"ended_at = {-FAR}",
    "pid = -5",
]
ATTEMPT = [
    "status = 'skipped'",
    f"started_at = {FAR}",
    f"ended_at = {-FAR}",
    f"given_back_at = {FAR}",
    "number = -number",
]
VALUE = ["state = 'lost'", f"pushed_at = {FAR}", f"ended_at = {-FAR}", "size = -1", "size = 0"]
PLANTED = [
    *(f"UPDATE zrb_session SET {damage} {OF_SESSION}" for damage in SESSION),
    *(f"UPDATE zrb_run SET {damage} {OF_RUN}" for damage in RUN),
    *(f"UPDATE zrb_attempt SET {damage} {OF_RUN}" for damage in ATTEMPT),
    *(f"UPDATE zrb_value SET {damage} {OF_VALUE}" for damage in VALUE),
    f"UPDATE zrb_return SET taken_at = {FAR} {OF_VALUE}",
    f"UPDATE zrb_change SET at = {-FAR} WHERE session = 'etl-24'",
]
# Damage that only SQLite accepts: bytes that are no text in UTF-8, and numbers for flags.
PLANTED_ON_SQLITE = [
    f"UPDATE zrb_session SET path = {NO_TEXT} {OF_SESSION}",
    f"UPDATE zrb_value SET orphaned = 7 {OF_VALUE}",
    f"UPDATE zrb_value SET data = {NO_TEXT} {OF_VALUE}",
]
READS = [
    ["list"],
    ["list", "--status", "failed"],
    ["list", "--status", "stale"],
    ["show", "etl-24"],
    ["show", "etl-24", "rows", "--live"],
    ["show", "etl-24", "--at", "2099-01-01"],
    ["get", "etl-24", "rows"],
    ["get", "etl-24", "rows", "--seq", "1"],
    ["get", "etl-25", "load", "--result"],
    ["log", "etl-24"],
    ["trace", "etl-24/rows#1"],
    ["last", "load", "--any-project"],
    ["diff", "etl-24", "etl-25"],
    ["show", "inbox"],
]
SHAPES = {"list": ("list", "header"), "show": ("show", "value"), "get": ("value", "value"), "last": ("value", "value")}
SHAPES |= {"log": ("log", "attempt"), "trace": ("trace", "event"), "diff": ("diff", "difference")}


def read(command: Commands, *args: str) -> Result:
    """Run a command that reads. Its exit code must be the usual one."""
    result = command(*args)
    assert result.code == (1 if args[0] == "diff" else 0), (args, result)
    assert "internal error" not in result.err
    return result


@pytest.fixture
def damaged(request: pytest.FixtureRequest, filled: Store) -> Store:
    """A store with one damaged row, which belongs to the session etl-24."""
    push(filled.database, "etl-24", "by hand", codec.encode(1), None)
    planted: str = request.param
    allow_damage(filled)
    filled.database.execute(sa.text(planted.replace(":", "\\:")))
    return filled


@pytest.mark.on_sqlite
@pytest.mark.promise(number=14)
@pytest.mark.parametrize("damaged", [*PLANTED, *PLANTED_ON_SQLITE], indirect=True, ids=lambda text: text[7:70])
@pytest.mark.slow
def test_everything_else_is_shown_and_exported_and_the_damage_is_named(
    command: Commands, damaged: Store, location: str, tmp_path: Path, sqlite_template: Path
) -> None:
    check_reads(command, damaged, location)
    check_export(command, damaged, tmp_path, sqlite_template)


@pytest.mark.on_sqlite
@pytest.mark.parametrize("damaged", PLANTED_ON_SQLITE, indirect=True, ids=lambda text: text[7:70])
def test_other_forms_hide_nothing_either(command: Commands, damaged: Store) -> None:
    for args in READS:
        read(command, *args, "--format", "value")
        parse_lines(SHAPES[args[0]][1], read(command, *args, "--format", "jsonl").out)


def check_reads(command: Commands, damaged: Store, location: str) -> None:
    notes = set()
    for args in READS:
        parse(SHAPES[args[0]][0], read(command, *args, "--format", "json").out)
        notes.add(read(command, *args, "--format", "table").err)
    notes.add(read(command, "report", "etl-24").err)
    listed = command("list", "--format", "value").out.split()
    assert set(listed) == {"etl-24", "etl-25", "inbox"}
    assert command.ok("show", "etl-25", "--format", "value")
    assert any(finding.level == "error" for finding in doctor_findings(location)), "doctor must find the damage"
    notes.discard("")
    assert notes, "a reading command must report the damage"
    assert all("damaged: " in note and "zrb-store doctor" in note for note in notes), notes


def check_export(command: Commands, damaged: Store, tmp_path: Path, sqlite_template: Path) -> None:
    for name in ("export.db", "new.db"):
        shutil.copy(sqlite_template, tmp_path / name)
    result = command("export")
    if damaged.database.execute(sa.text("SELECT 1 FROM zrb_change WHERE at < 0")):
        assert "session etl-24 (sessions that have an unreadable record of a change by hand)" in result.err
    assert result.code == 1
    assert result.err.startswith("zrb-store: left out, because they are damaged: session etl-24 (")
    kept = [line["name"] for line in map(json.loads, result.out.splitlines()) if line["record"] == "session"]
    assert sorted(kept) == ["etl-25", "inbox"]
    with open_store(tmp_path / "export.db") as new:
        assert imported(new, result.out.encode()) == 2
    command("copy", str(damaged.database.url.render_as_string(hide_password=False)), str(tmp_path / "new.db"))
    with open_store(tmp_path / "new.db") as new:
        assert names(new) == {"etl-25", "inbox"}


DECISIVE = [damage for damage in SESSION if damage.split()[0] not in ("path", "inputs")]


@pytest.mark.parametrize(
    "damaged", [f"UPDATE zrb_session SET {damage} {OF_SESSION}" for damage in DECISIVE], indirect=True
)
def test_prune_leaves_it_alone_and_rm_deletes_it(command: Commands, damaged: Store, location: str) -> None:
    result = command("prune", "--keep-last", "0")
    assert (result.code, "left alone, because they are damaged: session etl-24 (" in result.err) == (0, True)
    assert names(damaged) == {"etl-24", "inbox"}
    command.ok("pin", "etl-24")
    command.ok("unpin", "etl-24")
    command.ok("rm", "etl-24")
    assert names(damaged) == {"inbox"}
    assert doctor_findings(location) == []


@pytest.mark.parametrize("damaged", [f"UPDATE zrb_session SET path = '5' {OF_SESSION}"], indirect=True)
def test_prune_takes_what_can_be_judged(command: Commands, damaged: Store) -> None:
    command.ok("prune", "--keep-last", "0")
    assert names(damaged) == {"inbox"}


def test_a_session_whose_run_is_damaged_is_not_pruned(command: Commands, store: Store) -> None:
    with store.session("s").run() as run:
        run.task("a", lambda: 1)
        allow_damage(store)
        store.database.execute(sa.text(f"UPDATE zrb_run SET lease_expires_at = {FAR}"))
        result = command("prune", "--older-than", "0s")
        assert "session s (lease_expires_at)" in result.err
        assert names(store) == {"s"}


@pytest.mark.parametrize("damaged", [f"UPDATE zrb_session SET tasks = '5' {OF_SESSION}"], indirect=True)
def test_changes_of_a_damaged_session_are_refused(command: Commands, damaged: Store) -> None:
    with pytest.raises(ZrbStoreError, match=r"session etl-24 is damaged \(tasks\).*zrb-store rm etl-24"):
        damaged.session("etl-24").run().start()
    for args in (["mark", "etl-24", "load", "completed"], ["fork", "etl-24", "--from", "load"]):
        result = command(*args)
        assert (result.code, "is damaged (tasks)" in result.err) == (1, True)
    assert command.ok("push", "etl-24", "q", "1") == "", "its queues must still be usable"
    remove_sessions(damaged.database, "etl-24")
    with pytest.raises(SessionNotFound):
        damaged.session("etl-24").record()


@pytest.mark.parametrize("damaged", [f"UPDATE zrb_session SET tasks = '5' {OF_SESSION}"], indirect=True)
def test_retention_says_what_it_leaves_alone(
    damaged: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("ZRB_STORE_RETENTION", "keep=0")
    with caplog.at_level(logging.WARNING), damaged.session("new").run():
        pass
    assert "not pruned, because they are damaged: session etl-24 (tasks)" in caplog.text


def test_many_are_counted_and_few_named(command: Commands, filled: Store) -> None:
    allow_damage(filled)
    filled.database.execute(sa.text("UPDATE zrb_session SET path = '5'"))
    for number in range(20):
        filled.session(f"s{number}").xcom["q"].push(1)
    filled.database.execute(sa.text("UPDATE zrb_session SET path = '5'"))
    err = command("list").err
    assert err.count("(path)") == 3
    assert "and 20 more; `zrb-store doctor`" in err


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
