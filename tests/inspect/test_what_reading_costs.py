"""Readers run a fixed number of statements, however much is stored, and each statement uses an index."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from benchmarks import readers
from benchmarks.stuffing import add_sessions
from tests.support.completed import Reader, check_rows, check_steps, with_completed
from tests.support.history import check_statements, fill_with_much
from tests.support.sessions import logged, show
from zrb_store import Store, open_store
from zrb_store.db.transaction import Transaction
from zrb_store.inspect.diff import diff
from zrb_store.inspect.get import get_result, get_value
from zrb_store.inspect.list import list_sessions
from zrb_store.inspect.queues import all_holds
from zrb_store.inspect.session_names import resolve
from zrb_store.queries.fork import copies
from zrb_store.queries.queues import queues_of_open_sessions
from zrb_store.queries.sessions import main_tasks, names_with_prefix
from zrb_store.records import HALTED

READS: dict[str, tuple[int, Callable[[Store], Any]]] = {
    "list": (4, lambda store: list_sessions(store.database, limit=50)),
    "list failed": (5, lambda store: list_sessions(store.database, statuses=["failed"], limit=50)),
    "list running": (4, lambda store: list_sessions(store.database, statuses=["running"], limit=50)),
    "sessions": (4, lambda store: store.sessions(limit=50)),
    "resolve": (1, lambda store: resolve(store.database, "etl-24")),
    "show": (9, lambda store: show(store.database, "etl-24")),
    "show steps": (11, lambda store: show(store.database, "stepping")),
    "show visited": (9, lambda store: show(store.database, "inbox")),
    "show queue": (9, lambda store: show(store.database, "etl-24", "rows", live=True)),
    "show at": (10, lambda store: show(store.database, "etl-24", at="before:load#2")),
    "log": (7, lambda store: logged(store, "etl-24")),
    "log of a step": (8, lambda store: logged(store, "stepping", "load/7")),
    "diff": (9, lambda store: compared(store, "stepping", "etl-24")),
    "get": (6, lambda store: get_value(store.database, "etl-24", "rows", None)),
    "get result": (6, lambda store: get_result(store.database, "etl-25", "load")),
    "result of a step": (6, lambda store: get_result(store.database, "stepping", "load/7")),
    "list holders": (10, lambda store: list_sessions(store.database, limit=50, with_holders=True)),
    "list task": (5, lambda store: list_sessions(store.database, task="load", limit=5)),
    "last": (5, lambda store: resolve(store.database, "@last")),
    "last failed": (6, lambda store: resolve(store.database, "@last-failed")),
    "list holds": (3, lambda store: held(store)),
    "forks": (1, lambda store: copies(store.database, "etl-24", "rows", 1, 0)),
    "complete a session": (1, lambda store: names_with_prefix(store.database, "etl-2", 5)),
    "complete a task": (1, lambda store: main_tasks(store.database)),
}


@pytest.fixture(scope="module", params=["", "ANALYZE"])
def sqlite_store(
    sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Store]:
    """A store with 60 sessions that took values of another session, with and without the statistics of ANALYZE."""
    path = tmp_path_factory.mktemp("read") / "store.db"
    path.write_bytes(sqlite_template.read_bytes())
    with open_store(path) as store:
        fill_with_much(store)
        if request.param:
            store.database.execute(sa.text(request.param))
        yield store


def held(store: Store) -> list[Any]:
    """Return the values that are held."""
    with all_holds(store.database) as (found, _):
        return list(found)


def compared(store: Store, a: str, b: str) -> list[Any]:
    """Return the differences of two sessions."""
    with diff(store.database, a, b) as differences:
        return [each._asdict() for each in differences]


@pytest.mark.parametrize("name", READS)
def test_reads_take_few_statements_each_by_an_index(sqlite_store: Store, name: str) -> None:
    check_statements(sqlite_store, *READS[name])


def test_what_is_shown_of_many_sessions_is_right(sqlite_store: Store) -> None:
    found = list_sessions(sqlite_store.database, limit=50)
    assert [one.session.name for one in found] == [f"etl-{number}" for number in range(59, 9, -1)]
    assert {(one.session.status, one.done, one.tasks) for one in found} == {("failed", 2, 4), ("completed", 4, 4)}
    assert all(len(one.runs) == 1 and one.took is not None for one in found)
    everything, some = (
        [one.session.name for one in list_sessions(sqlite_store.database, limit=limit)] for limit in (None, 100)
    )
    assert len(everything) == 122
    assert some == everything[:100], "those that have not ended count too"


def test_pages_of_computed_statuses_find_all(sqlite_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zrb_store.inspect.list._PAGE", 7)
    assert len(list_sessions(sqlite_store.database)) == 122
    assert len(list_sessions(sqlite_store.database, statuses=["failed", "stale"])) == 30
    assert [
        one.session.name for one in list_sessions(sqlite_store.database, statuses=["failed", "stale"], limit=9)
    ] == [f"etl-{number}" for number in range(58, 40, -2)]


def test_the_sessions_of_a_project(store: Store) -> None:
    for name, project in (("a", "/srv/shop"), ("b", "/srv/mill"), ("c", None)):
        with store.session(name).run(project=project):
            pass
    assert [session.name for session in store.sessions(project="/srv/shop")] == ["a"]


# -- whoever looks for sessions that have not completed does not read those that have


READERS: dict[str, Reader] = {
    "queues": queues_of_open_sessions,
    "failed": lambda database: list_sessions(database, statuses=["failed"], limit=50),
    "halted": lambda database: list_sessions(database, statuses=HALTED, limit=50),
    "open": lambda database: list_sessions(database, statuses=["open"], limit=50),
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("location", ["sqlite"], indirect=True)
def test_reading_takes_no_more_steps_with_more_completed_sessions(filled: Store, reader: str) -> None:
    check_steps(with_completed(filled), READERS[reader])


@pytest.mark.unpooled  # each server process keeps its counts to itself until it reports them
@pytest.mark.parametrize("location", ["postgresql"], indirect=True)
def test_postgresql_reads_no_completed_session(filled: Store) -> None:
    check_rows(with_completed(filled), READERS)


# -- commands read what they print (benchmarks/readers.py)


FEW, MANY = 1000, 6000
ENTRY = 40  # steps for an entry of the index of sessions that have not completed; every fiftieth session has not
EACH = 20  # steps of SQLite's machine that are counted as one


class Steps(readers.Spent):
    """Counts the steps of SQLite's virtual machine instead of seconds: no machine is slow at them."""

    def execute(self, transaction: Transaction, statement: Any, *args: Any) -> list[Any]:
        self._count(transaction)
        return super().execute(transaction, statement, *args)

    def stream(self, transaction: Transaction, statement: Any, *args: Any) -> Iterator[Any]:
        self._count(transaction)
        return super().stream(transaction, statement, *args)

    def _count(self, transaction: Transaction) -> None:
        transaction.driver.set_progress_handler(self._tick, EACH)

    def _tick(self) -> int:
        self.steps += EACH
        return 0

    steps = 0


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two stores that differ in their number of sessions, of which as many run, wait, or need attention."""
    folder = tmp_path_factory.mktemp("readers")
    for count in (FEW, MANY):
        add_sessions(folder / str(count), count)
    return folder


@pytest.mark.on_sqlite
@pytest.mark.slow
@pytest.mark.parametrize("name", readers.commands(""))
def test_a_command_reads_what_it_prints_and_not_the_store(
    folder: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readers, "Spent", Steps)
    few, many = (
        readers.spent_by(readers.commands(f"etl-{count // 2}")[name], str(folder / str(count))) for count in (FEW, MANY)
    )
    assert isinstance(few, Steps)
    assert isinstance(many, Steps)
    assert few.statements
    assert abs(few.rows - many.rows) <= 10
    assert many.steps <= 2 * few.steps + ENTRY * (MANY - FEW) // 50


@pytest.mark.on_sqlite
@pytest.mark.slow
def test_rows_that_are_added_by_sql_are_sound(folder: Path) -> None:
    printed = readers.typed("doctor")(str(folder / str(FEW)))
    assert "requeue inbox files --all-dead" in printed, "it has looked"
    assert [line for line in printed.splitlines() if line.startswith("error")] == []


# -- reading many rows takes as much memory as reading a few


FEW_ROWS, MANY_ROWS = 2_500, 7_500  # a few also fill SQLite's page cache and the batches, whose size is fixed
ALLOWED = 4  # MiB
NEEDS_PROC = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of a process is read from it")
RUN = """
import json, re, sys
from pathlib import Path
from zrb_store.cli import run
from zrb_store.render import printing
if sys.argv[1] == "terminal":
    printing.on_terminal = lambda: True
for command in json.loads(sys.argv[2]):
    run(command)
    print(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1], file=sys.stderr)
"""

NUMBERS = {
    "sqlite": "WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {}) ",
    "postgresql": "WITH numbers (n) AS (SELECT generate_series(1, {})) ",
}
ROWS = [
    "INSERT INTO zrb_value (queue_id, seq, type, size, pushed_at, pushed_tick, data, state, ended_at, ended_tick) "
    "{numbers} SELECT q.id, n, 'str', 402, 1000, 1000, '\"' || {text} || '\"', "
    "CASE n % 3 WHEN 0 THEN 'taken' ELSE 'live' END, CASE n % 3 WHEN 0 THEN 2000 END, CASE n % 3 WHEN 0 THEN 2000 END "
    "FROM numbers CROSS JOIN zrb_queue q WHERE n > 1",
    "INSERT INTO zrb_return (queue_id, seq, taken_at, taken_tick, returned_at, returned_tick, reason) "
    "SELECT queue_id, seq, 1100, 1100, 1200, 1200, 'failed' FROM zrb_value WHERE seq % 3 = 1",
    "INSERT INTO zrb_attempt (session_id, fence, task, number, kind, status, started_at, started_tick, "
    "ended_at, ended_tick, given_back_at, given_back_tick, "
    "error_type, error_traceback) {numbers} SELECT s.id, 0, 'load', n, 'task', 'failed', 1000, 1000, "
    "2000, 2000, 3000, 3000, 'ValueError', {text} FROM numbers CROSS JOIN zrb_session s WHERE s.name = 'a'",
    "INSERT INTO zrb_attempt (session_id, fence, task, number, kind, status, started_at, started_tick, "
    "ended_at, ended_tick, step_of, step, "
    "step_number, arguments, result) {numbers} SELECT s.id, 0, 'load/' || n, 1, 'step', 'completed', 1000, 1000, "
    "2000, 2000, 'load', 'page ' || n, n, '[[],{{}}]', '\"' || {text} || '\"' "
    "FROM numbers CROSS JOIN zrb_session s WHERE s.name = 'a'",
    "INSERT INTO zrb_session (name, status, path, created_at, created_tick) "
    "{numbers} SELECT 's' || n, 'open', '[\"' || {text} || '\"]', 1000 + n, 1000 + n FROM numbers",
    "INSERT INTO zrb_change (at, action, session, host, pid) {numbers} SELECT 1, 'push', 'a', {text}, 1 FROM numbers",
]


def fill(store: Store, count: int) -> None:
    """Fill a store: two sessions with long queues, one of them with many attempts and records, and many small ones."""
    for name in ("a", "b"):
        store.session(name).xcom["q"].push(0)
    name = store.database.dialect_name
    text = "hex(zeroblob(200))" if name == "sqlite" else "repeat('00', 200)"
    for statement in ROWS:
        sql = statement.format(numbers=NUMBERS[name].format(count), text=text)
        store.database.transact(lambda transaction, sql=sql: transaction.driver.execute(sql) and None)  # type: ignore[misc]
    other = "queue_id = (SELECT max(id) FROM zrb_queue)"
    differ = f"UPDATE zrb_value SET data = '\"b' || substr(data, 3) WHERE {other} AND seq > 1"
    store.database.execute(sa.text(differ))


def peaks(url: str, *commands: list[str], output: str = "pipe") -> list[float]:
    """Return the peak memory of a process, in MiB, after each of the commands.

    It is read from /proc, since the kernel's ru_maxrss also counts the memory that the parent had before exec.
    """
    done = subprocess.run(
        [sys.executable, "-c", RUN, output, json.dumps(commands)],
        env={**os.environ, "ZRB_STORE_URL": url, "COLUMNS": "100"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
        check=True,
    )
    assert len(done.stderr.split()) == len(commands), done.stderr
    return [int(kib) / 1024 for kib in done.stderr.split()]


@pytest.fixture
def stores(new_location: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[tuple[str, str]]:
    """The URLs of a store with few rows and of one with many."""
    with contextlib.ExitStack() as stack:
        if "://" not in new_location:
            urls = (str(tmp_path / "few.db"), str(tmp_path / "many.db"))
        else:
            admin, schema = request.getfixturevalue("postgres_admin"), f"{new_location.rpartition('%3D')[2]}_many"
            admin.execute(f"CREATE SCHEMA {schema}")
            stack.callback(lambda: admin.execute(f"DROP SCHEMA {schema} CASCADE"))
            urls = (new_location, f"{new_location}_many")
        for url, count in zip(urls, (FEW_ROWS, MANY_ROWS), strict=True):
            with open_store(url) as store:
                fill(store, count)
        yield urls


FOR_PROGRAMS = [
    ["show", "a", "--format", "json"],
    ["diff", "a", "b", "--format", "json"],
    ["log", "a", "--format", "json"],
    ["list", "--limit", "0", "--format", "json"],
]
FOR_PEOPLE = [  # the same statements, but other output
    ["show", "a"],
    ["show", "a", "--steps"],
    ["show", "a", "--format", "jsonl"],
    ["show", "a", "--live", "--at", "2099-01-01"],
    ["show", "a", "q", "--full"],
    ["get", "a", "q"],
    ["trace", "a/q#4"],
    ["diff", "a", "b"],
    ["diff", "a", "s1"],
    ["log", "a"],
    ["list", "--limit", "0"],
    ["export"],
]


def grown(stores: tuple[str, str], commands: list[list[str]]) -> dict[str, float]:
    """Return the commands that take more memory in the store with many rows, in MiB."""
    few, many = (peaks(url, *commands) for url in stores)
    more = {" ".join(command): much - little for command, little, much in zip(commands, few, many, strict=True)}
    return {command: much for command, much in more.items() if much > ALLOWED}


@pytest.mark.slow
@NEEDS_PROC
@pytest.mark.long_on_postgresql
def test_reading_takes_as_much_memory_for_many_as_for_few(stores: tuple[str, str]) -> None:
    assert grown(stores, FOR_PROGRAMS) == {}


@pytest.mark.slow
@NEEDS_PROC
@pytest.mark.long
@pytest.mark.parametrize("new_location", ["sqlite"], indirect=True)
def test_what_is_printed_for_people_takes_no_more_either(stores: tuple[str, str]) -> None:
    assert grown(stores, FOR_PEOPLE) == {}


@pytest.mark.slow
@NEEDS_PROC
def test_a_terminal_takes_no_more_either(tmp_path: Path) -> None:
    path = str(tmp_path / "store.db")
    with open_store(path) as store:
        for name, count in (("few", 2000), ("many", 6000)):
            store.session(name).xcom["q"].extend(range(count))
    (few,), (many,) = (peaks(path, ["show", name], output="terminal") for name in ("few", "many"))
    assert many - few <= ALLOWED
