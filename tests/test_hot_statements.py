"""What is done all the time finds its rows by an index, and takes no more work where much was taken before.

Nothing here is timed: SQLite says how it carries a statement out, and counts the steps of its machine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import rows
from zrb_store import Store, open_store
from zrb_store.attempt import Attempt
from zrb_store.queries import sessions
from zrb_store.run import Run

TAKEN, LIVE, TASKS = 3000, 20, 50
BY_KEY = "PRIMARY KEY (queue_id=? AND seq=?)"
BY_LIVE = "INDEX ix_zrb_value_live (queue_id=?)"
BY_LIVE_ALONE = "COVERING INDEX ix_zrb_value_live (queue_id=?)"
HIGHEST = "PRIMARY KEY (queue_id=?)"  # the first or the last row of a queue: one step, where nothing else is asked

Operation = Callable[[Run, Attempt, str], Any]

# Each with the ways by which it may look for values.
OPERATIONS: dict[str, tuple[Operation, set[str]]] = {
    "push": (lambda run, attempt, queue: attempt.xcom[queue].push(1), {HIGHEST}),
    "appendleft": (lambda run, attempt, queue: attempt.xcom[queue].appendleft(1), {HIGHEST}),
    "extend": (lambda run, attempt, queue: attempt.xcom[queue].extend([1, 2]), {HIGHEST}),
    "pop": (lambda run, attempt, queue: attempt.xcom[queue].pop(), {BY_KEY, BY_LIVE_ALONE}),
    "popright": (lambda run, attempt, queue: attempt.xcom[queue].popright(), {BY_KEY, BY_LIVE_ALONE}),
    "peek": (lambda run, attempt, queue: attempt.xcom[queue].peek(), {BY_LIVE}),
    "get": (lambda run, attempt, queue: attempt.xcom[queue].get(), {BY_LIVE}),
    "len": (lambda run, attempt, queue: len(attempt.xcom[queue]), {BY_LIVE_ALONE}),
    "index": (lambda run, attempt, queue: attempt.xcom[queue][3], {BY_LIVE}),
    "iterate": (lambda run, attempt, queue: [*iter(attempt.xcom[queue])], {BY_LIVE}),
    "in": (lambda run, attempt, queue: queue in attempt.xcom, set()),
    "set": (lambda run, attempt, queue: attempt.xcom[queue].set(1), {BY_KEY, BY_LIVE, HIGHEST}),
    "complete": (lambda run, attempt, queue: attempt.complete(1, queue=queue), {HIGHEST}),
    "fail": (lambda run, attempt, queue: attempt.fail(), set()),
    "completed": (lambda run, attempt, queue: run.completed("work"), set()),
    "begin": (lambda run, attempt, queue: run.begin(f"next to {queue}"), set()),
    "renew": (lambda run, attempt, queue: sessions.renew(run.database, run.id, 60_000_000), set()),
}
# What SQLite looks up by itself, for foreign keys.
CHILDREN = ("zrb_return", "INDEX ix_zrb_value_taken_by (taken_by=?)", "INDEX ix_zrb_value_pushed_by (pushed_by=?)")


class Scene:
    """An attempt of a live run, a queue that had much taken from it, and one that had nothing."""

    def __init__(self, store: Store) -> None:
        self.store = store
        for number in range(TASKS):
            with store.session(f"session-{number}").run() as run, run.attempt("work") as attempt:
                attempt.xcom["queue"].push(number)
        self.run = store.session("hot").run().start()
        for number in range(TASKS):
            with self.run.attempt(f"task {number}") as attempt:
                attempt.xcom["old"].extend(range(TAKEN // TASKS))
                attempt.xcom["old"].clear()
        self.attempt = self.run.begin("work")
        for queue in ("old", "new"):
            self.attempt.xcom[queue].extend(range(LIVE))

    @property
    def driver(self) -> Any:
        """The driver connection in use."""
        with self.store.database.snapshot() as transaction:
            return transaction.driver

    def statements(self, operation: Operation) -> list[str]:
        """What an operation sends to SQLite."""
        seen: list[str] = []
        driver = self.driver
        driver.set_trace_callback(seen.append)
        operation(self.run, self.attempt, "old")
        driver.set_trace_callback(None)
        return [sql for sql in seen if sql.startswith(("SELECT", "INSERT", "UPDATE", "WITH", "DELETE"))]

    def steps(self, operation: Operation, queue: str) -> int:
        """How many steps of SQLite's machine an operation takes."""
        count = 0

        def step() -> int:
            nonlocal count
            count += 1
            return 0

        driver = self.driver
        driver.set_progress_handler(step, 1)
        operation(self.run, self.attempt, queue)
        driver.set_progress_handler(None, 1)
        return count


@pytest.fixture(params=[False, True], ids=["never analyzed", "analyzed"])
def scene(request: pytest.FixtureRequest, sqlite_template: Path, tmp_path: Path) -> Iterator[Scene]:
    path = tmp_path / "store.db"
    path.write_bytes(sqlite_template.read_bytes())
    with open_store(path) as store:
        scene = Scene(store)
        if request.param:
            scene.driver.execute("ANALYZE")
        yield scene
        scene.run.end("failed")


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_hot_statement_finds_its_rows_by_an_index(scene: Scene, name: str) -> None:
    operation, ways = OPERATIONS[name]
    found = scene.statements(operation)
    assert found
    used = set()
    for sql in found:
        for *_, step in scene.driver.execute(f"EXPLAIN QUERY PLAN {sql}"):
            assert not step.startswith("SCAN zrb_"), (sql, step)
            assert "TEMP B-TREE" not in step, (sql, step)
            if step.startswith("SEARCH zrb_value USING ") and not step.endswith(CHILDREN):
                used.add(step.removeprefix("SEARCH zrb_value USING "))
    assert used == ways


@pytest.mark.parametrize("name", OPERATIONS)
def test_what_was_taken_before_takes_no_work(scene: Scene, name: str) -> None:
    operation, _ = OPERATIONS[name]
    with_little = scene.steps(operation, "new")
    if name in ("complete", "fail"):
        scene.attempt = scene.run.begin("other")
    assert scene.steps(operation, "old") <= 1.2 * with_little + 20


def test_a_store_keeps_no_statistics_of_when_it_was_small(tmp_path: Path) -> None:
    with open_store(tmp_path / "store.db") as store, store.session("first").run() as run:
        run.step("one", int)
    with open_store(tmp_path / "store.db") as store:
        assert rows.query(store, "SELECT name FROM sqlite_master WHERE name LIKE 'sqlite_stat%'") == []
