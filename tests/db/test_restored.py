"""A store that is restored from a copy while a process has it open: ids that are given again are not mistaken."""

from __future__ import annotations

import json
import re
import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.support.consumers import hold_a_delivery, taken
from tests.support.postgres import Server, programs
from tests.support.processes import Child
from tests.support.rows import faults
from tests.support.runners import begin_a_step_and_hang
from zrb_store import AttemptClosed, LeaseLost, SessionNotFound, StepUncertain, Store, open_store
from zrb_store.db import core
from zrb_store.inspect.list import list_sessions
from zrb_store.queries import lease

MakeCopy = Callable[[], Callable[[], None]]


@pytest.fixture
def copy(location: str, tmp_path: Path, request: pytest.FixtureRequest) -> MakeCopy:
    """A function that copies the store, and returns a function that restores the copy in place."""
    if not location.startswith("postgresql"):
        return lambda: copy_sqlite(location, tmp_path / "copy.db")
    server: Server = request.getfixturevalue("postgres_server")
    return lambda: copy_postgresql(server, location.rpartition("%3D")[2], tmp_path)


def copy_sqlite(location: str, copy: Path) -> Callable[[], None]:
    copy_pages(location, copy)
    return lambda: copy_pages(copy, location)


def copy_pages(source: str | Path, target: str | Path) -> None:
    with closing(sqlite3.connect(source)) as reading, closing(sqlite3.connect(target)) as writing:
        reading.backup(writing)  # as `.restore` and `.backup` of the program sqlite3


def vacuum_into(location: str, copy: Path) -> Callable[[], None]:
    with closing(sqlite3.connect(location)) as database:
        database.execute("VACUUM INTO ?", [str(copy)])
    return lambda: copy_pages(copy, location)


def copy_postgresql(server: Server, schema: str, folder: Path) -> Callable[[], None]:
    def run(program: str, *args: str) -> None:
        where = ("-h", str(server.folder), "-U", "postgres", "-d", "postgres")
        subprocess.run([programs(server.folder) / program, *where, *args], check=True, capture_output=True)

    dump = str(folder / "dump")
    run("pg_dump", "-Fc", "-n", schema, "-f", dump)
    return lambda: run("pg_restore", "-c", "--if-exists", dump)


def theirs(location: str) -> None:
    """Work as another process does after the restore: its rows come after those that the copy has."""
    with open_store(location) as store:
        store.session("theirs").xcom["q"].extend(["x", "y"])


OPERATIONS: dict[str, Callable[[Any], object]] = {
    "push": lambda queue: queue.push("b"),
    "pop": lambda queue: queue.pop_many(1),
    "peek": lambda queue: queue.get(),
    "list": list,
    "edit": lambda queue: queue.rotate(1),
    "clear": lambda queue: queue.clear(),
}


@pytest.mark.promise(number=8)
@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.unpooled
def test_a_queue_that_is_gone_is_not_taken_for_another(
    store: Store, location: str, copy: MakeCopy, operation: str
) -> None:
    store.session("first").xcom["q"].push(1)
    restore = copy()
    mine = store.session("mine").xcom["q"]
    mine.push("a")
    restore()
    theirs(location)
    assert OPERATIONS[operation](mine) in (None, [])
    assert list(store.session("theirs").xcom["q"]) == ["x", "y"]
    assert list(store.session("first").xcom["q"]) == [1]
    mine.push("c")
    assert mine[-1] == "c"
    assert store.session("mine").xcom["q"][-1] == "c"


@pytest.mark.promise(number=8)
@pytest.mark.unpooled
def test_a_run_that_is_gone_is_not_taken_for_another(store: Store, location: str, copy: MakeCopy) -> None:
    shared = store.session("inbox").xcom["q"]
    shared.extend([1, 2])
    restore = copy()
    mine = store.session("mine").run().start()
    attempt = mine.begin("task")
    restore()
    with open_store(location) as other:
        run = other.session("theirs").run().start()
        working = run.begin("task")
        with pytest.raises(AttemptClosed, match="was removed"):
            attempt.xcom["q"].push("b")
        with pytest.raises(AttemptClosed, match="was removed"):
            attempt.complete("done")
        with pytest.raises(LeaseLost):
            mine.begin("next")
        assert not lease.renew(store.database, mine.id, 60_000_000)
        with pytest.raises(LeaseLost):
            mine.end("completed")
        working.complete("theirs")
        run.end("completed")
        assert list(other.session("theirs").xcom) == ["task"]
    assert list(shared) == [1, 2]
    assert "mine" not in [record.name for record in store.sessions()]


@pytest.mark.promise(number=8)
@pytest.mark.unpooled
def test_who_was_there_when_the_copy_was_made_goes_on(store: Store, location: str, copy: MakeCopy) -> None:
    queue = store.session("inbox").xcom["q"]
    queue.push(1)
    run = store.session("mine").run().start()
    attempt = run.begin("task")
    restore = copy()
    queue.push(2)
    attempt.xcom["q"].push("a")
    restore()
    theirs(location)
    queue.push(3)
    attempt.xcom["q"].push("b")
    attempt.complete("done")
    run.end("completed")
    assert [list(queue), list(store.session("mine").xcom["q"])] == [[1, 3], ["b"]]


def do_again(*_: object) -> None:
    pytest.fail("the step is done a second time")


@pytest.mark.slow
@pytest.mark.promise(number=8)
@pytest.mark.unpooled
@pytest.mark.parametrize("vacuum", [False, True], ids=["copy", "VACUUM INTO"])
def test_a_copy_of_a_store_at_work_is_restored_and_work_continues(
    store: Store, location: str, copy: MakeCopy, tmp_path: Path, vacuum: bool
) -> None:
    """Nothing is done twice that the copy knows of."""
    if vacuum and location.startswith("postgresql"):
        pytest.skip("VACUUM INTO is a statement of SQLite")
    files = store.session("inbox").xcom["files"]
    files.extend(["a", "b", "c"])
    store.session("night").xcom["in"].extend([1, 2])
    with (
        Child(hold_a_delivery, location, "worker") as consumer,
        Child(begin_a_step_and_hang, location, "night", "charge") as workflow,
    ):
        assert consumer.receive() == "a"
        consumer.send("go on")
        assert (consumer.receive(), workflow.receive()) == ("b", 7)
        restore = vacuum_into(location, tmp_path / "vacuumed.db") if vacuum else copy()
        consumer.send("go on")
        assert consumer.receive() == "c"
        consumer.kill()
        workflow.kill()
    restore()
    statuses = {each.session.name: each.session.status for each in list_sessions(store.database)}
    assert statuses == {"inbox": "open", "done": "open", "night": "stale", "worker": "stale"}
    assert faults(store) == []
    with store.session("night").run() as run, run.attempt("pay") as attempt:
        assert attempt.step("before", do_again) == "done before"
        assert list(attempt.xcom["in"]) == [1, 2]
        with pytest.raises(StepUncertain):
            attempt.step("charge", do_again, 7, once=True)
        attempt.fail(None)
    with store.session("worker").run(again=True) as run:
        assert taken(run, files) == ["b", "c"]
    assert list(store.session("done").xcom["files"]) == ["a"]
    assert faults(store) == []


@pytest.mark.unpooled
def test_a_fork_that_is_gone_is_not_taken_for_another(store: Store, location: str, copy: MakeCopy) -> None:
    for name in ("one", "two"):
        with store.session(name).run(task="load") as run, run.attempt("load") as attempt:
            attempt.xcom["q"].push(name)
        store.session(name).xcom["q"].push(name)
    restore = copy()
    mine = store.fork("one", from_task="load").xcom["q"]
    mine.push("a")
    restore()
    with open_store(location) as other:
        theirs = other.fork("two", from_task="load", name="theirs").xcom["q"]
        theirs.push("b")
        with suppress(SessionNotFound):
            mine.push("c")
        assert list(theirs) == ["b"]


def test_no_new_row_gets_the_next_id() -> None:
    statements = [json.loads(line.rstrip(","))[0] for line in core._lines(core.PATH).values()]
    inserts = [sql for sql in statements if re.match("INSERT INTO zrb_(session|run|queue|attempt) ", sql)]
    assert len(inserts) > 10
    assert [sql for sql in inserts if "random()" not in sql] == []
