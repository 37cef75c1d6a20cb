"""What does a step cost?

`run.step` with a small result checks whether the step has completed before, begins an attempt, calls the function, and
completes the attempt with its result in a queue. The raw driver writes the same rows in two transactions, without that
check. DBOS writes one row per step. It ships with a rollback journal and synchronous=FULL, and so it is compared with
our FULL.

With FULL every contestant waits for the disk: our step syncs it twice (when it begins and when it completes), a DBOS
step 4.4 times, as strace shows. The slower the disk, the closer their ratio is to that of the syncs, 2.2.
"""

from __future__ import annotations

import itertools
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest import mock

from benchmarks import peers
from benchmarks.contest import new_folder
from benchmarks.harness import Contestant, Effort, Race
from benchmarks.queues import API, RAW, SMALL
from benchmarks.raw import RawSQLite
from benchmarks.report import Answer, at_least, at_most, ratios
from zrb_store import open_store

DBOS = "DBOS step"
OPERATIONS = {"step": "step"}


def work(number: int) -> dict[str, object]:
    """Do the work of one step."""
    return SMALL


def zrb_store_steps(stack: ExitStack, times: int) -> Contestant:
    """Return a turn of `times` steps of one run."""
    store = stack.enter_context(open_store(new_folder(stack) / "store.db"))
    run = stack.enter_context(store.session("benchmark").run())
    numbers = itertools.count()
    return _timed(
        lambda: [run.step(f"task {number}", work, number) for number in itertools.islice(numbers, times)], times
    )


def raw_steps(stack: ExitStack, times: int, synchronous: str) -> Contestant:
    """Return a turn that writes the same rows with hand-written SQL."""
    path = new_folder(stack) / "store.db"
    store = stack.enter_context(open_store(path))
    run = stack.enter_context(store.session("benchmark").run())
    raw = RawSQLite(path, run.begin("other"), synchronous=synchronous)
    stack.callback(raw.connection.close)
    numbers = itertools.count()

    def steps() -> None:
        for number in itertools.islice(numbers, times):
            result = work(number)
            raw.step(run.session_id, run.id, run.number, f"task {number}", f"[[{number}],{{}}]", result)

    return _timed(steps, times)


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
    return lambda: {"step": workflow() / times}


def _timed(steps: Callable[[], Any], times: int) -> Contestant:
    def take_turn() -> dict[str, float]:
        began = time.perf_counter()
        steps()
        return {"step": (time.perf_counter() - began) / times}

    return take_turn


def race(synchronous: str, effort: Effort) -> Race:
    """Run a race with the same durability for all."""
    times = 10
    with ExitStack() as stack:
        stack.enter_context(mock.patch.dict("os.environ", ZRB_STORE_DURABILITY=synchronous.lower()))
        contestants = {RAW: raw_steps(stack, times, synchronous), API: zrb_store_steps(stack, times)}
        if peers.installed("dbos"):
            pragmas = ["journal_mode=WAL", "synchronous=NORMAL"] if synchronous == "NORMAL" else []
            contestants[DBOS] = dbos_steps(stack, times, pragmas)
        return Race(contestants, effort(25, 5), effort(8, 3))


def run(effort: Effort) -> Answer:
    """Run two races."""
    answer = Answer()
    normal, full = race("NORMAL", effort), race("FULL", effort)
    answer.add("WAL, synchronous=NORMAL for all:", "", *ratios(normal, OPERATIONS, RAW))
    answer.add("synchronous=FULL for all, DBOS as shipped:", "", *ratios(full, OPERATIONS, RAW))
    answer.goals.append(at_most("`run.step` with a small result", 2, normal.ratio("step", API, RAW)))
    for synchronous, result in (("NORMAL", normal), ("FULL, DBOS as shipped", full)):
        faster = result.ratio("step", DBOS, API) if DBOS in result.contestants else None
        answer.goals.append(at_least(f"`run.step` faster than a DBOS step, {synchronous}", 6, faster))
    return answer
