"""Kill a zrb workflow whose task has fifty steps, again and again, until it is done: nothing is done twice inside it.

`make crash` kills a thousand times on each database, `make test` five times. A third of the steps are concurrent.
Each function appends a line to a file outside the store. A step that had completed, by the store's record, at any kill
never appends another one; and at the end the queues equal those of an undisturbed run.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import select
import signal
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from zrb import Task

import zrb_store.plugin  # noqa: F401 - makes the sessions of zrb durable
from tests.support.forks import fork
from tests.support.places import Files, Places, Schemas
from tests.support.rows import faults, query
from zrb_store import Store, Xcom, open_store, step
from zrb_store.db import transaction
from zrb_store.testing import crash_at

DEADLINE = 600.0
STEPS = 50
GROUPS = {8: range(33, 39), 17: range(39, 45), 29: range(45, 50)}
"""The steps that run concurrently, by the step after which they do."""

_FILE = "CRASH_STEPS_FILE"


class Broken(Exception):
    """The error with which the first attempt in each process fails."""


def note(number: int) -> None:
    """Append a line to the file outside the store, which not even a kill can undo."""
    file = os.open(os.environ[_FILE], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, f"{number}\n".encode())
    os.close(file)


def fill(ctx: Any) -> None:
    ctx.xcom["todo"].extend(range(100, 100 + STEPS))
    ctx.xcom["ring"].extend(range(5))


async def convert(ctx: Any) -> str:
    with open_store() as store:
        inbox = store.session("inbox").xcom
        for number in range(33):
            step(f"page {number}", fetch, number, ctx.xcom, inbox)
            ctx.xcom["log"].push(ctx.xcom["todo"].pop())
            if number in GROUPS:
                await asyncio.gather(*(concurrent(each, ctx.xcom, inbox) for each in GROUPS[number]))
            if number == 20 and ctx.attempt == 1:
                raise Broken
    return "done"


def fetch(number: int, own: Any, inbox: Any) -> list[int]:
    """Move values: within the session, from another session, to another session, and around."""
    note(number)
    if number % 3 == 0:
        own["done"].push([number, own["ring"].pop()])
        own["ring"].push(number)
    elif number % 3 == 1:
        own["done"].extend([number, *inbox["files"].pop_many(2)])
    else:
        own["ring"].rotate(2)
        inbox["out"].push([number, inbox["files"].pop()])
    return [number]


def concurrent(number: int, own: Any, inbox: Any) -> Any:
    """Return an awaitable: of a coroutine that is a step, or of a thread that runs one."""
    if number % 3:
        return step(f"page {number}", fetch_later, number, own, inbox)
    return asyncio.to_thread(step, f"page {number}", fetch_own, number, own)


async def fetch_later(number: int, own: Any, inbox: Any) -> int:
    note(number)
    await asyncio.sleep(0)
    value: int = inbox["files"].pop()
    await asyncio.sleep(0)
    own["gathered"].push([number, value])
    return value


def fetch_own(number: int, own: Any) -> None:
    note(number)
    own[f"own {number}"].push(number)
    own["gathered"].push([number, own[f"own {number}"].pop()])


main_task = Task(name="convert", action=convert, retries=1, retry_period=0, upstream=[Task(name="fill", action=fill)])


def prepare(location: str) -> None:
    """Fill the inbox."""
    with open_store(location) as store:
        store.session("inbox").xcom["files"].extend(range(1000, 1100))


@dataclass
class Found:
    """What the store and the file say after a kill.

    Attributes:
        completed: The attempt that completed, by the name of its step.
        begun: How many attempts of each step there were.
        runs: How often the function of each step ran.
    """

    completed: dict[str, int]
    begun: Counter[str]
    runs: Counter[str]


def look(store: Store, file: Path) -> Found:
    """Read the store and the file, and check what must hold at any time."""
    assert faults(store) == []
    rows = query(store, "SELECT id, step, status, given_back_at FROM zrb_attempt WHERE step_of IS NOT NULL ORDER BY id")
    standing = [(name, row_id) for row_id, name, status, given_back in rows if status == "completed" and not given_back]
    lines = file.read_text().split() if file.exists() else []
    found = Found(dict(standing), Counter(row[1] for row in rows), Counter(f"page {line}" for line in lines))
    assert len(found.completed) == len(standing)
    assert found.runs <= found.begun
    return found


def contents(store: Store) -> dict[str, list[Any]]:
    """Return the contents of all queues. Concurrent steps push in any order."""
    queues: dict[str, Xcom] = {**store.session("flow").xcom, **store.session("inbox").xcom}
    return {name: sorted(queue) if name == "gathered" else list(queue) for name, queue in queues.items()}


class Workflow:
    """One session in a store of its own, which is started again and again."""

    def __init__(self, location: str, folder: Path) -> None:
        self.location = location
        self.file, self.output = folder / "ran", folder / "output"
        for path in (self.file, self.output):
            path.unlink(missing_ok=True)
        self.completed: dict[str, int] = {}
        self.runs: Counter[str] = Counter()

    def start(
        self, around: Callable[[], contextlib.AbstractContextManager[None]] = contextlib.nullcontext, *, patience: float
    ) -> int:
        """Run it in a child process, which is killed after `patience` seconds, and return how that ended."""
        alive, ours = os.pipe()

        def work() -> None:
            os.close(alive)
            os.chdir(self.file.parent)  # without a zrb_init.py, it is the project
            output = os.open(self.output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(output, 1)
            os.dup2(output, 2)
            os.environ |= {"ZRB_STORE_URL": self.location, "ZRB_STORE_SESSION": "flow", _FILE: str(self.file)}
            with around():
                main_task.run()

        child = fork(work)
        os.close(ours)
        if not select.select([alive], [], [], patience)[0]:
            os.kill(child, signal.SIGKILL)
        os.close(alive)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    def check(self, *, ended: bool = False) -> None:
        """Check that no step that had completed ran again, or is no longer done."""
        with open_store(self.location) as store:
            found = look(store, self.file)
        for name, attempt_id in self.completed.items():
            assert found.completed.get(name) == attempt_id, f"{name} stands no longer"
            assert found.runs[name] == self.runs[name], f"{name} had completed and ran again"
        self.completed, self.runs = found.completed, found.runs
        if ended:
            assert sorted(found.completed) == sorted(f"page {number}" for number in range(STEPS))
            assert set(found.runs) == set(found.completed)


def run_undisturbed(workflow: Workflow) -> tuple[list[tuple[str, int]], float, dict[str, list[Any]]]:
    """Run it undisturbed: return every visit of every point, how long it took, and the contents of its queues."""
    visits = workflow.file.with_name("visits")

    @contextlib.contextmanager
    def watching() -> Any:
        with visits.open("w") as file:
            transaction.set_callback(lambda point: print(point, file=file))
            yield

    began = time.monotonic()
    assert workflow.start(watching, patience=DEADLINE) == 0, workflow.output.read_text()
    seconds = time.monotonic() - began
    workflow.check(ended=True)
    assert set(workflow.runs.values()) == {1}
    counts: Counter[str] = Counter()
    reached = []
    for point in visits.read_text().split():
        counts[point] += 1
        reached.append((point, counts[point]))
    with open_store(workflow.location) as store:
        return reached, seconds, contents(store)


def kill_steps(folder: Path, url: str | None, count: int, seed: int) -> str:
    """Kill the workflow `count` times, half of them at named points. It may end after every two to eight kills.

    Args:
        folder: A folder to be made, where it runs.
        url: A PostgreSQL server; None for SQLite files in the folder.
        count: How often it is killed at least.
        seed: Of the choices that are random.
    """
    (folder / "stores").mkdir(parents=True)
    places: Places = Schemas(url, f"steps_{os.getpid()}", prepare) if url else Files(folder / "stores", prepare)
    generator = random.Random(seed)
    began = time.monotonic()
    visits, usual, expected = run_undisturbed(Workflow(places.new(), folder))
    kills: Counter[str] = Counter()
    workflows = again = 0
    while kills.total() < count:
        workflow = Workflow(places.new(), folder)
        for _ in range(generator.choice((2, 4, 8))):
            kind = generator.choice(("at a point", "at random"))
            left = 1 - 0.9 * len(workflow.completed) / STEPS  # else it would often end before it is killed
            point, visit = generator.choice(visits[: int(left * len(visits))])
            status = (
                workflow.start(partial(crash_at, point, visit=visit, kill=True), patience=DEADLINE)
                if kind == "at a point"
                else workflow.start(patience=generator.uniform(0, left * usual))
            )
            if status == 0:  # it ended before it could be killed
                break
            assert status == -signal.SIGKILL, workflow.output.read_text()
            kills[kind] += 1
            workflow.check()
        assert workflow.start(patience=DEADLINE) == 0, workflow.output.read_text()
        workflow.check(ended=True)
        with open_store(workflow.location) as store:
            assert contents(store) == expected
            assert store.session("flow").status == "completed"
        workflows += 1
        again += workflow.runs.total() - STEPS
    return (
        f"{kills.total()} kills of {workflows} zrb workflows of {STEPS} steps in {time.monotonic() - began:.0f} s: "
        f"{kills['at a point']} at points, {kills['at random']} at random moments; {again} functions ran again because "
        "they had been killed; completed steps that ran again: 0"
    )


def kill_steps_on_one_database(pipe: Connection, folder: Path, url: str | None, count: int, seed: int) -> None:
    """Call `kill_steps` and send its figures, or the error.

    This is the function of a child process without threads, since only such a process may safely fork.
    """
    try:
        pipe.send(kill_steps(folder, url, count, seed))
    except BaseException:
        pipe.send(traceback.format_exc())
        raise
