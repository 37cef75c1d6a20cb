"""Reading many rows takes as much memory as reading a few."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from zrb_store import Store, open_store

pytestmark = pytest.mark.slow

FEW, MANY = 2_500, 7_500  # a few also fill SQLite's page cache and the batches, whose size is fixed
ALLOWED = 4  # MiB
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
        for url, count in zip(urls, (FEW, MANY), strict=True):
            with open_store(url) as store:
                fill(store, count)
        yield urls


ON_BOTH = [
    ["show", "a", "--format", "json"],
    ["diff", "a", "b", "--format", "json"],
    ["log", "a", "--format", "json"],
    ["list", "--limit", "0", "--format", "json"],
]
ON_SQLITE = [  # the same statements, but other output
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


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of a process is read from /proc")
@pytest.mark.long_on_postgresql
def test_reading_takes_as_much_memory_for_many_as_for_few(stores: tuple[str, str]) -> None:
    commands = ON_BOTH + (ON_SQLITE if "://" not in stores[0] else [])
    few, many = (peaks(url, *commands) for url in stores)
    grown = {" ".join(command): more - less for command, less, more in zip(commands, few, many, strict=True)}
    assert {command: more for command, more in grown.items() if more > ALLOWED} == {}


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of a process is read from /proc")
def test_a_terminal_takes_no_more_either(tmp_path: Path) -> None:
    path = str(tmp_path / "store.db")
    with open_store(path) as store:
        for name, count in (("few", 2000), ("many", 6000)):
            store.session(name).xcom["q"].extend(range(count))
    (few,), (many,) = (peaks(path, ["show", name], output="terminal") for name in ("few", "many"))
    assert many - few <= ALLOWED
