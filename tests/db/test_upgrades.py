"""A store of this release is upgraded by the next one: real processes of both, on both databases."""

from __future__ import annotations

import json
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from tests.support import next_release
from tests.support.next_release import COMMAND, NEXT, Release
from tests.support.tables import engine_of, revision_of, scalar
from zrb_store import Store
from zrb_store.db import REVISION
from zrb_store.db.tables import metadata

pytestmark = [pytest.mark.slow, pytest.mark.unpooled]

THIS = Release()
ENDLESS = "WITH RECURSIVE x(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM x) SELECT max(n) FROM x"
# It keeps the store open, and pushes each line of its stdin.
PUSHER = """
import sys
from zrb_store import SchemaAhead, open_store
with open_store() as store:
    queue = store.session("inbox").xcom["files"]
    for line in iter(sys.stdin.readline, ""):
        try:
            queue.push(line.strip())
            print("pushed", flush=True)
        except SchemaAhead as error:
            print(error, flush=True)
"""


@pytest.fixture(scope="module")
def following(tmp_path_factory: pytest.TempPathFactory) -> Release:
    """The next release."""
    return next_release.make(tmp_path_factory.mktemp("next") / "zrb-store")


@pytest.fixture
def old(filled: Store, location: str) -> str:
    """The location of a store of this release, which also has steps."""
    with filled.session("steps").run(task="load") as run, run.attempt("load") as attempt:
        assert attempt.step("page", len, "abc") == 3
        attempt.complete("loaded")
    filled.close()
    return location


def is_file(location: str) -> bool:
    return "://" not in location


def answer(process: subprocess.Popen[str], line: str = "") -> str:
    """Write a line to a process, and return the next one of its stdout."""
    assert process.stdin
    assert process.stdout
    if line:
        process.stdin.write(f"{line}\n")
        process.stdin.flush()
    return process.stdout.readline().strip()


def end(process: subprocess.Popen[str]) -> str:
    """Close the stdin of a process, which must succeed, and return what else it prints."""
    out, err = process.communicate(timeout=600)
    assert process.returncode == 0, err
    return out


def upgrade_somehow(following: Release, location: str) -> None:
    """Upgrade a store as the next release does it: by its first writer, or by hand on PostgreSQL."""
    following.ok(location, *(["push", "other", "q", "1"] if is_file(location) else ["db", "upgrade"]))
    assert revision_of(engine_of(location)) == NEXT


def columns_of(location: str, table: str) -> list[str]:
    return [column["name"] for column in sa.inspect(engine_of(location)).get_columns(table)]


def rows_of(location: str, table: str, names: list[str]) -> list[Any]:
    """Return the rows of a table, with these columns."""
    listed = ", ".join(f'"{name}"' for name in names)
    with engine_of(location).connect() as connection:
        return sorted(map(tuple, connection.exec_driver_sql(f"SELECT {listed} FROM {table}")), key=repr)


# -- what an upgrade makes


@pytest.mark.promise(number=3)
def test_a_store_is_upgraded_and_used(old: str, following: Release) -> None:
    engine = engine_of(old)
    tick = "SELECT tick FROM zrb_clock" if is_file(old) else "SELECT last_value FROM zrb_tick"
    THIS.ok(old, "run", "forgotten", "--", "true")
    last = "SELECT last_value FROM zrb_attempt_id_seq"
    if is_file(old):
        last = "SELECT seq FROM sqlite_sequence WHERE name = 'zrb_attempt'"
    highest = scalar(engine, last)
    THIS.ok(old, "rm", "forgotten")
    columns = {table: columns_of(old, table) for table in metadata.tables}
    before = {table: rows_of(old, table, columns[table]) for table in columns}
    clock = scalar(engine, tick)

    assert following.ok(old, "db", "upgrade") == f"upgraded from {REVISION} to {NEXT}\n"
    assert following.ok(old, "db", "status", "--format", "value") == f"{NEXT}\n"
    assert {table: rows_of(old, table, columns[table]) for table in columns} == before
    assert columns_of(old, "zrb_attempt") == [*columns["zrb_attempt"], "cost"]
    assert rows_of(old, "zrb_attempt", ["cost"]) == sorted(
        ((number * 10,) for (number,) in rows_of(old, "zrb_attempt", ["number"])), key=repr
    )
    assert columns_of(old, "zrb_xcom_attempts")[-1] == "cost"

    # Rules, numbers and ticks go on where they were.
    for change in (
        "cost = -1" if is_file(old) else "cost = 2.5e30",
        "cost = 13",
        "cost = 'text'",
        *["status = 'x'", "given_back_tick = 1", "attributes = '[]'"] * is_file(old),
    ):
        with (
            pytest.raises(sa.exc.DBAPIError, match=r"(?i)constraint|cannot store|invalid|out of range"),
            engine.begin() as connection,
        ):
            connection.exec_driver_sql(f"UPDATE zrb_attempt SET {change}")
    assert scalar(engine, last) == highest, "the number of a deleted attempt is forgotten"
    following.ok(old, "run", "new", "--", "true")
    assert scalar(engine, tick) > clock
    assert following.ok(old, "show", "steps", "--format", "json")
    findings = json.loads(following(old, "doctor", "--format", "json")[1])
    assert {finding["check"] for finding in findings} <= {"sqlite-release"}


@pytest.mark.long_on_postgresql
@pytest.mark.promise(number=15)
def test_views_of_users_last(old: str, following: Release) -> None:
    engine = engine_of(old)
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE VIEW mine AS SELECT session, value FROM zrb_xcom_values")
        connection.exec_driver_sql("CREATE VIEW bare AS SELECT id FROM zrb_attempt")
    before = [rows_of(old, "mine", ["session", "value"]), rows_of(old, "bare", ["id"])]
    following.ok(old, "db", "upgrade")
    assert [rows_of(old, "mine", ["session", "value"]), rows_of(old, "bare", ["id"])] == before


@pytest.mark.long_on_postgresql
def test_the_printed_statements_do_the_same(old: str, following: Release) -> None:
    sql = following.ok(old, "db", "upgrade", "--sql")
    assert THIS.ok(old, "db", "status", "--format", "value") == f"{REVISION}\n", "--sql must change nothing"
    with engine_of(old).connect() as connection:
        driver: Any = connection.connection.driver_connection
        (driver.executescript if is_file(old) else driver.execute)(sql)
    assert rows_of(old, "zrb_attempt", ["cost"])
    if is_file(old):
        with closing(sqlite3.connect(old)) as driver:
            made = {sql for (sql,) in driver.execute("SELECT sql FROM sqlite_master WHERE sql > ''")}
        stored = json.loads((following.folder / "zrb_store/db/sqlite_schema.json").read_text())
        assert made - {"CREATE TABLE sqlite_sequence(name,seq)"} <= set(stored[NEXT])
    following.ok(old, "push", "inbox", "files", "1")


def test_its_migrations_make_what_its_tables_say(following: Release) -> None:
    """The tests of this release hold for the next one, too: its schema is the same by migrations and by `tables.py`."""
    equal = "tables_py or migrated_or_created or without_them or statements_alone"
    command = ["-m", "pytest", "-q", "-n", "0", "-k", equal, "tests/db/test_migrations.py"]
    testing = following.start("", *command)
    out, err = testing.communicate(timeout=600)
    assert testing.returncode == 0, out + err
    assert "7 passed" in out


# -- who upgrades, and when


def test_the_first_writer_upgrades_a_file(old: str, following: Release) -> None:
    refusal = f"has the older revision {REVISION}: run `zrb-store db upgrade`"
    code, _, err = following(old, "list")
    assert (code, refusal in err) == (69, True)
    if not is_file(old):
        code, _, err = following(old, "push", "inbox", "files", "1")
        assert (code, refusal in err) == (69, True)
        return
    content = THIS.ok(old, "export")
    following.ok(old, "push", "inbox", "files", "1")
    copy = Path(f"{old}.{REVISION}.bak")
    assert copy.stat().st_mode & 0o777 == 0o600
    assert THIS.ok(str(copy), "export") == content
    assert ("1",) in rows_of(old, "zrb_value", ["data"])


def test_first_writers_at_the_same_moment(old: str, following: Release) -> None:
    words = [["push", "inbox", "new", str(number)] if is_file(old) else ["db", "upgrade"] for number in range(4)]
    for process in [following.start(old, "-c", COMMAND, *each) for each in words]:
        end(process)
    assert revision_of(engine_of(old)) == NEXT
    assert scalar(engine_of(old), "SELECT count(*) FROM zrb_version") == 1
    if is_file(old):
        assert {("0",), ("1",), ("2",), ("3",)} <= set(rows_of(old, "zrb_value", ["data"]))


def test_nobody_upgrades_while_a_session_runs(old: str, following: Release, tmp_path: Path) -> None:
    until = "echo runs; until [ -e end ]; do sleep 0.1; done"
    running = THIS.start(old, "-c", COMMAND, "run", "flow", "--", "sh", "-c", f"cd {tmp_path} && {until}")
    assert answer(running) == "runs"
    code, _, err = following(old, "db", "upgrade")
    assert (code, "while session flow is run by pid" in err) == (69, True)
    code, _, err = following(old, "push", "inbox", "files", "1")
    assert (code, "run `zrb-store db upgrade`" in err) == (69, True)
    (tmp_path / "end").touch()
    end(running)
    upgrade_somehow(following, old)
    assert "completed" in following.ok(old, "show", "flow")


@pytest.mark.long_on_postgresql
def test_by_hand_no_file_that_a_process_has_open(old: str, following: Release) -> None:
    holding = THIS.start(old, "-c", PUSHER)
    assert answer(holding, "mine") == "pushed"
    code, out, err = following(old, "db", "upgrade")
    if is_file(old):
        assert (code, "while another program has it open" in err) == (69, True)
        assert answer(holding, "more") == "pushed"
    else:
        assert (code, out) == (0, f"upgraded from {REVISION} to {NEXT}\n")
        assert "end every older zrb-store that has this store open" in err
    holding.kill()
    holding.communicate()


# -- what becomes of those that do not know it


@pytest.mark.long_on_postgresql
@pytest.mark.promise(number=8)
def test_a_process_of_this_release_is_refused_after_the_upgrade(old: str, following: Release) -> None:
    holding = THIS.start(old, "-c", PUSHER)
    assert answer(holding, "mine") == "pushed"
    upgrade_somehow(following, old)
    before = rows_of(old, "zrb_value", ["queue_id", "seq", "state"])
    assert f"was changed to revision {NEXT}" in answer(holding, "late")
    end(holding)
    for words in (["list"], ["push", "inbox", "files", "1"], ["db", "upgrade"], ["db", "upgrade", "--sql"]):
        code, _, err = THIS(old, *words)
        assert (code, f"has revision {NEXT}, unknown to this version: upgrade zrb-store" in err) == (69, True)
    assert f"{NEXT} (this version needs {REVISION})" in THIS.ok(old, "db", "status")
    assert rows_of(old, "zrb_value", ["queue_id", "seq", "state"]) == before


@pytest.mark.promise(number=8)
def test_a_kill_in_the_middle_leaves_the_store_as_it_was(old: str, following: Release) -> None:
    words = ["push", "inbox", "files", "1"] if is_file(old) else ["db", "upgrade"]
    content = THIS.ok(old, "export")
    upgrading = following.start(old, "-c", COMMAND, *words, HALTS="1")
    assert answer(upgrading) == "half"
    upgrading.kill()
    upgrading.communicate()
    assert THIS.ok(old, "db", "status", "--format", "value") == f"{REVISION}\n"
    assert THIS.ok(old, "export") == content
    THIS.ok(old, "push", "inbox", "files", "2")
    upgrade_somehow(following, old)
    assert ("2",) in rows_of(old, "zrb_value", ["data"])


@pytest.mark.long_on_postgresql
def test_the_next_release_imports_our_exports_and_we_refuse_its(old: str, following: Release, tmp_path: Path) -> None:
    """The next release imports those of this one, but not the other way round."""
    ours = THIS.ok(old, "export")
    upgrade_somehow(following, old)
    theirs = following.ok(old, "export", "etl-24", "steps")
    new = str(tmp_path / "new.db")
    following.ok(new, "import", stdin=ours)
    costs = ["task", "number", "cost"]
    assert rows_of(new, "zrb_attempt", costs) == rows_of(old, "zrb_attempt", costs)
    code, _, err = THIS(str(tmp_path / "newer.db"), "import", stdin=theirs)
    assert (code, "format 2" in err) == (1, True)


# -- triggers


@pytest.mark.on_sqlite
@pytest.mark.promise(number=6)
def test_triggers_of_others_are_refused_before_and_after(old: str, following: Release) -> None:
    """Those of this revision, one of which the next revision changes, are not taken for them."""
    trigger = f"CREATE TRIGGER mine AFTER UPDATE ON zrb_attempt BEGIN UPDATE zrb_queue SET high = ({ENDLESS}); END"
    writers = {REVISION: [["push", "inbox", "files", "1"], ["db", "upgrade"]], NEXT: [["pin", "inbox"]]}
    for revision, commands in writers.items():
        with engine_of(old).begin() as connection:
            connection.exec_driver_sql(trigger)
        for words in commands:
            code, _, err = following(old, *words)
            assert (code, "trigger mine" in err) == (69, True)
        assert revision_of(engine_of(old)) == revision
        with engine_of(old).begin() as connection:
            connection.exec_driver_sql("DROP TRIGGER mine")
        following.ok(old, "push", "inbox", "files", "1")
