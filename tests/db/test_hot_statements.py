"""Frequent operations find their rows by an index, and the history of a queue does not slow them down.

Nothing is timed. SQLite explains how it executes a statement, and counts the steps of its virtual machine.
"""

from __future__ import annotations

import itertools
import re
import shutil
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.support import rows
from tests.support.attempts import Broken, acting_as
from zrb_store import Attempt, Run, open_store
from zrb_store.queries import deliveries
from zrb_store.queries import lease as lease_queries
from zrb_store.testing import expire_lease

BY_KEY = "PRIMARY KEY (queue_id=? AND seq=?)"
BY_LIVE = "INDEX ix_zrb_value_live (queue_id=?)"
BY_LIVE_ALONE = "COVERING INDEX ix_zrb_value_live (queue_id=?)"
HIGHEST = "PRIMARY KEY (queue_id=?)"  # the first or the last row of a queue: one step, without other conditions

# How the most frequent operations may look up values.
WAYS: dict[str, set[str]] = {
    "push": {HIGHEST},
    "appendleft": {HIGHEST},
    "extend": {HIGHEST},
    "pop": {BY_KEY, BY_LIVE_ALONE},
    "popright": {BY_KEY, BY_LIVE_ALONE},
    "pop_many": {BY_KEY, BY_LIVE, HIGHEST},
    "wait": {BY_LIVE_ALONE},
    "wait for holders": {BY_LIVE_ALONE, "COVERING INDEX ix_zrb_value_taken_by (taken_by=? AND queue_id=?)"},
    "peek": {BY_LIVE},
    "get": {BY_LIVE},
    "len": {BY_LIVE_ALONE, "INDEX ix_zrb_value_delayed (queue_id=? AND due_at>?)"},  # all, less the delayed ones
    "first": {BY_KEY, BY_LIVE_ALONE},
    "last": {BY_KEY, BY_LIVE_ALONE},
    "iterate": {BY_LIVE},
    "set": {BY_KEY, BY_LIVE, HIGHEST},
    "complete": {HIGHEST},
    "completed": set(),
    "in": set(),
    "note tasks": set(),
    "renew": set(),
}
# What SQLite looks up itself, to check foreign keys.
ONE_ROW = ("SCAN zrb_version", "SCAN zrb_clock")
CHILDREN = ("zrb_return", "INDEX ix_zrb_value_taken_by (taken_by=?)", "INDEX ix_zrb_value_pushed_by (pushed_by=?)")

# All operations that workflows use. Each leaves some values in the queue, and an open attempt.
OPERATIONS: dict[str, Callable[[Any, Run], object]] = {
    "push": lambda q, run: q.push(1),
    "appendleft": lambda q, run: q.appendleft(1),
    "pop": lambda q, run: q.pop(),
    "popright": lambda q, run: q.popright(),
    "pop_many": lambda q, run: (q.extend([8, 9]), q.pop_many(2)),
    "wait": lambda q, run: deliveries.has_value(run.database, "shared", "q")(),
    "wait for holders": lambda q, run: deliveries.may_get_value(run.database, "shared", "q")(),
    "peek": lambda q, run: q.peek(),
    "get": lambda q, run: q.get(),
    "len": lambda q, run: len(q),
    "first": lambda q, run: q[0],
    "last": lambda q, run: q[-1],
    "iterate": lambda q, run: [*iter(q)],
    "extend": lambda q, run: q.extend([1, 2]),
    "extendleft": lambda q, run: q.extendleft([1, 2]),
    "set": lambda q, run: q.set(5),
    "remove": lambda q, run: (q.push(6), q.remove(6)),
    "rotate": lambda q, run: q.rotate(),
    "insert": lambda q, run: q.insert(1, 7),
    "assign": lambda q, run: q.__setitem__(0, 7),
    "del": lambda q, run: q.__delitem__(-1),
    "in": lambda q, run: "q" in run._xcoms,
    "complete": lambda q, run: run.begin("one").complete(5, queue="q"),
    "begin once": lambda q, run: run.begin("four", once=True).complete(),
    "completed": lambda q, run: run.completed("one"),
    "fail and begin again": lambda q, run: fail_and_begin_again(run, "two", "task"),
    "check": lambda q, run: fail_and_begin_again(run, "up?", "check"),
    "give back": lambda q, run: complete_and_give_back(run, "three"),
    "note tasks": lambda q, run: run.note_tasks({"one": "not started"}),
    "renew": lambda q, run: lease_queries.renew(run.database, run.id, 60_000_000),
    "clear": lambda q, run: (q.clear(), q.extend([1, 2, 3])),
}


def fail_and_begin_again(run: Run, task: str, kind: str) -> None:
    run.begin(task, kind=kind).fail(Broken())
    run.begin(task, kind=kind)


def complete_and_give_back(run: Run, task: str) -> None:
    run.begin(task).complete()
    done = run.completed(task)
    assert done is not None
    run.give_back(done, "again")


# For each value, one that an attempt of another session took from the queue, pushed to it and returned to it.
HISTORY = """
    INSERT INTO zrb_session (id, name, status, created_at, created_tick, ended_at, ended_tick)
        SELECT seq + 9, 'old-' || seq, 'completed', 1, 1, 2, 2 FROM zrb_value;
    INSERT INTO zrb_queue (session_id, name) SELECT seq + 9, 'q' FROM zrb_value;
    INSERT INTO zrb_run (session_id, number, host, origin, pid, started_at, started_tick, lease_expires_at,
        ended_at, ended_tick, status)
        SELECT seq + 9, 1, 'host', 'cli', 1, 1, 1, 2, 2, 2, 'completed' FROM zrb_value;
    INSERT INTO zrb_attempt
        (id, session_id, run_id, fence, task, number, kind, status, started_at, started_tick, ended_at, ended_tick)
        SELECT seq, session_id, r.id, 1, 'task', 1, 'task', 'completed', 1, 1, 2, 2
        FROM zrb_value JOIN zrb_run r ON session_id = seq + 9;
    UPDATE zrb_value SET state = 'taken', ended_at = pushed_at + 1, ended_tick = pushed_tick + 1, taken_by = seq,
        pushed_by = max(1, seq - 5);
    INSERT INTO zrb_return (queue_id, seq, taken_by, taken_at, taken_tick, returned_at, returned_tick, reason)
        SELECT queue_id, seq, taken_by, pushed_at, pushed_tick, pushed_at + 1, pushed_tick + 1, 'failed' FROM zrb_value;
"""


@pytest.fixture(scope="module")
def folder(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two stores: one with a long history, one with a short history."""
    folder = tmp_path_factory.mktemp("plans")
    for name, count in (("short", 50), ("long", 5000)):
        (folder / name).write_bytes(sqlite_template.read_bytes())
        with open_store(folder / name) as store:
            store.session("shared").xcom["q"].extend(range(count))
            store.database.transact(lambda t: [t.driver.execute(sql) for sql in HISTORY.split(";")])
    return folder


@contextmanager
def working(path: Path) -> Iterator[tuple[sqlite3.Connection, dict[str, Callable[[], object]]]]:
    """Open a store and an attempt in it; yield the SQLite connection and all operations."""
    with open_store(path) as store:
        session = store.session("flow")
        run = session.run().start()
        queue = store.session("shared").xcom["q"]

        def take_over() -> None:
            expire_lease(session)
            session.run().start()

        with acting_as(run.begin("main")):
            queue.set(1)
            queue.extend([2, 3, 4])
            todo = {name: partial(operation, queue, run) for name, operation in OPERATIONS.items()}
            yield store.database.transact(lambda t: t.driver), {**todo, "take over": take_over}


def tick(count: Iterator[int]) -> int:
    """Count a step, and tell SQLite to continue."""
    next(count)
    return 0


def plan(driver: sqlite3.Connection, sql: str) -> list[str]:
    """Return the steps of SQLite's query plan."""
    return [row[3] for row in driver.execute(f"EXPLAIN QUERY PLAN {sql}")]


@pytest.mark.slow
@pytest.mark.parametrize("analyzed", [False, True], ids=["without ANALYZE", "with ANALYZE"])
def test_every_hot_statement_finds_its_rows_by_an_index(folder: Path, tmp_path: Path, analyzed: bool) -> None:
    path = Path(shutil.copy(folder / "long", tmp_path))
    if analyzed:
        with open_store(path) as store:
            store.database.transact(lambda t: t.driver.execute("ANALYZE"))
    plans: dict[str, dict[str, list[str]]] = {}
    with working(path) as (driver, operations):
        for name, operation in operations.items():
            seen: list[str] = []
            driver.set_trace_callback(seen.append)
            operation()
            driver.set_trace_callback(None)
            plans[name] = {sql: plan(driver, sql) for sql in seen if re.match("SELECT|INSERT|UPDATE|DELETE", sql)}
    assert all(plans.values())
    scans = [
        (name, sql, step)
        for name, statements in plans.items()
        for sql, steps in statements.items()
        for step in steps
        # The version has one row, and this index only the attempts that run.
        if step.startswith("SCAN zrb_") and step not in ONE_ROW and "ix_zrb_attempt_running" not in step
    ]
    assert scans == []
    hottest = {name: {step for steps in plans[name].values() for step in steps} for name in WAYS}
    assert {name: ways_to_values(steps) for name, steps in hottest.items()} == WAYS
    assert not any("TEMP B-TREE" in step for steps in hottest.values() for step in steps)


def ways_to_values(steps: set[str]) -> set[str]:
    """Return how the steps of a query plan look up values."""
    search = "SEARCH zrb_value USING "
    return {step.removeprefix(search) for step in steps if step.startswith(search) and not step.endswith(CHILDREN)}


def test_nothing_grows_with_the_history(folder: Path, tmp_path: Path) -> None:
    """Steps of SQLite's virtual machine are counted, since they are the same on every computer."""
    steps = {}
    for name in ("short", "long"):
        with working(Path(shutil.copy(folder / name, tmp_path))) as (driver, operations):
            for what, operation in operations.items():
                count = itertools.count()
                driver.set_progress_handler(partial(tick, count), 1)
                operation()
                driver.set_progress_handler(None, 1)
                steps[what, name] = next(count)
    grown = {
        what: (steps[what, "short"], steps[what, "long"])
        for what in operations
        if steps[what, "long"] > steps[what, "short"] * 1.1
    }
    assert grown == {}


@pytest.mark.slow
def test_a_step_costs_as_much_after_many_steps_as_after_few(tmp_path: Path) -> None:
    with open_store(tmp_path / "store.db") as store, store.session("flow").run() as run:
        driver = store.database.transact(lambda transaction: transaction.driver)

        def cost(attempt: Attempt, name: str) -> int:
            count = itertools.count()
            driver.set_progress_handler(partial(tick, count), 1)
            attempt.step(name, int)
            driver.set_progress_handler(None, 1)
            return next(count)

        # In the first attempt nobody looks for steps that are done; in the second one the task has some.
        for number in (1, 2):
            with suppress(Broken), run.attempt("many") as attempt:
                costs = [cost(attempt, f"step {number} {each}") for each in range(1000)]
                assert max(costs[-100:]) <= 1.1 * min(costs[100:200])
                raise Broken


def test_a_step_calls_few_functions(tmp_path: Path) -> None:
    """Most of what a step costs beside its SQL: a benchmark shows it only on a quiet machine."""
    calls = itertools.count()

    def work() -> dict[str, int]:
        return {"rows": 12}

    def note(frame: object, event: str, arg: object) -> None:
        if event == "call":
            next(calls)

    with open_store(tmp_path / "store.db") as store, store.session("flow").run() as run, run.attempt("many") as attempt:
        attempt.step("first", work)
        before = sys.getprofile()
        sys.setprofile(note)
        try:
            for number in range(100):
                attempt.step(f"step {number}", work)
        finally:
            sys.setprofile(before)
    assert next(calls) < 100 * 110


def test_a_store_keeps_no_statistics_of_when_it_was_small(tmp_path: Path) -> None:
    with open_store(tmp_path / "store.db") as store, store.session("first").run() as run:
        run.task("one", int)
    with open_store(tmp_path / "store.db") as store:
        assert rows.query(store, "SELECT name FROM sqlite_master WHERE name LIKE 'sqlite_stat%'") == []
