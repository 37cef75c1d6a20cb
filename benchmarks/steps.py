"""What does a step cost?

`attempt.step` with a small result begins a step of a task, calls the function, and completes the step with its result.
The raw driver writes the same rows in two transactions. If the task already had steps before this attempt, it is
resumed, and each new step is first looked for. `run.task` makes a task of the function: it looks whether the task has
completed before, and pushes the result to a new queue. DBOS writes one row for each step. It ships with a rollback
journal and synchronous=FULL, and so it is compared with our FULL.

With FULL every contestant waits for the disk. A step syncs it twice, as the raw driver does, and a DBOS step 4.4 times,
as strace shows. The slower the disk, the closer their ratio is to that of the syncs, 2.2.

A task of 10,000 steps that failed at its end is resumed: the next run starts, and its attempt calls all steps again. It
gets their stored results and runs none.
"""

from __future__ import annotations

import contextlib
import itertools
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest import mock

from benchmarks import peers
from benchmarks.contest import new_folder
from benchmarks.harness import Contestant, Effort, Race, time_text
from benchmarks.queues import API, RAW, SMALL
from benchmarks.raw import RawSQLite
from benchmarks.report import Answer, Goal, at_least, at_most, ratios
from zrb_store import open_store
from zrb_store.run import Run

DBOS = "DBOS step"
STEP, RESUMED, TASK = "step", "resumed", "task"
OPERATIONS = {STEP: "`attempt.step`", RESUMED: "`attempt.step`, resumed", TASK: "`run.task`"}

Operation = Callable[[int], Any]
"""Runs one step, which is given its number."""


def work(number: int) -> dict[str, object]:
    """Do the work of one step."""
    return SMALL


def new_run(stack: ExitStack) -> tuple[Path, Run]:
    """Return a run of a session in a new store, and the path of the store."""
    path = new_folder(stack) / "store.db"
    store = stack.enter_context(open_store(path))
    return path, stack.enter_context(store.session("benchmark").run())


def our_operations(stack: ExitStack) -> dict[str, Operation]:
    """Return a step of a task's first attempt, a new step of its second attempt, and a step of a run."""
    _, first_run = new_run(stack)
    _, second_run = new_run(stack)
    _, run = new_run(stack)
    first = first_run.begin("work")
    failed = second_run.begin("work")
    failed.step("step 0", work, 0)
    failed.fail()
    second = second_run.begin("work")
    return {
        STEP: lambda number: first.step(f"step {number}", work, number),
        RESUMED: lambda number: second.step(f"step {number}", work, number),
        TASK: lambda number: run.task(f"task {number}", work, number),
    }


def raw_operations(stack: ExitStack, synchronous: str) -> dict[str, Operation]:
    """Return operations that write the same rows with hand-written SQL."""

    def new_driver() -> tuple[Run, RawSQLite]:
        path, run = new_run(stack)
        raw = RawSQLite(path, run.begin("work"), synchronous=synchronous)
        stack.callback(raw.connection.close)
        return run, raw

    def new_step() -> Operation:
        _, raw = new_driver()
        return lambda number: raw.step("work", number, f"step {number}", f"[[{number}],{{}}]", work(number))

    run, for_tasks = new_driver()
    ids = (run.session_id, run.id, run.number)
    return {
        STEP: new_step(),
        RESUMED: new_step(),
        TASK: lambda number: for_tasks.task(*ids, f"task {number}", f"[[{number}],{{}}]", work(number)),
    }


def turns(operations: dict[str, Operation], times: int) -> Contestant:
    """Return turns that run each operation so many times, with a new number each time."""
    numbers = itertools.count(1)

    def seconds(operation: Operation) -> float:
        began = time.perf_counter()
        for number in itertools.islice(numbers, times):
            operation(number)
        return (time.perf_counter() - began) / times

    return lambda: {name: seconds(operation) for name, operation in operations.items()}


def dbos_steps(stack: ExitStack, times: int, pragmas: list[str]) -> Contestant:
    """Return a turn of `times` steps of one DBOS workflow.

    They are timed inside the workflow, so that the workflow's own record does not count.
    """
    import sqlalchemy as sa
    from dbos import DBOS as Dbos

    def prepare(connection: Any, _: Any) -> None:
        if type(connection).__module__ == "sqlite3":
            for pragma in pragmas:
                connection.execute(f"PRAGMA {pragma}")

    sa.event.listen(sa.Engine, "connect", prepare)
    stack.callback(sa.event.remove, sa.Engine, "connect", prepare)
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True)))
    Dbos(
        config={
            "name": "benchmark",
            "system_database_url": f"sqlite:///{folder}/dbos.sqlite",
            "log_level": "ERROR",
        }
    )
    step = Dbos.step()(work)

    def steps() -> float:
        began = time.perf_counter()
        for number in range(times):
            step(number)
        return time.perf_counter() - began

    workflow = Dbos.workflow()(steps)
    Dbos.launch()
    stack.callback(Dbos.destroy)

    def take_turn() -> dict[str, float]:
        return dict.fromkeys(OPERATIONS, workflow() / times)  # it has one kind of step

    return take_turn


def race(synchronous: str, effort: Effort) -> Race:
    """Run a race with the same durability for all."""
    times = 10
    with ExitStack() as stack:
        stack.enter_context(mock.patch.dict("os.environ", ZRB_STORE_DURABILITY=synchronous.lower()))
        contestants = {
            RAW: turns(raw_operations(stack, synchronous), times),
            API: turns(our_operations(stack), times),
        }
        if peers.installed("dbos"):
            pragmas = ["journal_mode=WAL", "synchronous=NORMAL"] if synchronous == "NORMAL" else []
            contestants[DBOS] = dbos_steps(stack, times, pragmas)
        return Race(contestants, effort(25, 5), effort(8, 3))


def resume(many: int, rounds: int) -> float:
    """Return the median of the seconds in which a task of so many completed steps is resumed."""

    def attempt_all(run: Run, function: Operation) -> None:
        with contextlib.suppress(InterruptedError), run, run.attempt("work") as attempt:
            for number in range(many):
                attempt.step(f"step {number}", function, number)
            raise InterruptedError

    def not_again(number: int) -> None:
        raise AssertionError(f"step {number} ran again")

    def seconds(function: Operation) -> float:
        began = time.perf_counter()
        attempt_all(session.run(), function)
        return time.perf_counter() - began

    with ExitStack() as stack:
        session = stack.enter_context(open_store(new_folder(stack) / "store.db")).session("benchmark")
        seconds(work)
        return statistics.median(seconds(not_again) for _ in range(rounds))


def run(effort: Effort) -> Answer:
    """Run two races, and resume a long task."""
    answer = Answer()
    normal, full = race("NORMAL", effort), race("FULL", effort)
    answer.add("WAL, synchronous=NORMAL for all:", "", *ratios(normal, OPERATIONS, RAW))
    answer.add("synchronous=FULL for all, DBOS as shipped:", "", *ratios(full, OPERATIONS, RAW))
    for operation, name in OPERATIONS.items():
        answer.goals.append(at_most(f"{name}, small result", 2, normal.ratio(operation, API, RAW)))
    for operation, least, synchronous, result in (
        (STEP, 5, "NORMAL", normal),
        (TASK, 6, "NORMAL", normal),
        (STEP, 2.2, "FULL, DBOS as shipped", full),
        (TASK, 6, "FULL, DBOS as shipped", full),
    ):
        faster = result.ratio(operation, DBOS, API) if DBOS in result.contestants else None
        answer.goals.append(at_least(f"{OPERATIONS[operation]} faster than a DBOS step, {synchronous}", least, faster))
    many = 10_000
    resumed = resume(many, effort(5, 1))
    answer.add(f"Resuming a task of {many:,} steps takes {time_text(resumed)}.")
    answer.goals.append(Goal(f"resume of a task of {many:,} steps", "under 1 s", time_text(resumed), resumed < 1))
    return answer
