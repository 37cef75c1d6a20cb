"""What does it cost to give an attempt back?

An attempt took 10,000 values and pushed 10,000 others, then failed. When the next attempt of its task begins, it first
gives all of that back.
"""

from __future__ import annotations

import statistics
import time
from contextlib import ExitStack

from benchmarks.contest import new_folder
from benchmarks.harness import Effort, figure, time_text
from benchmarks.queues import SMALL
from benchmarks.report import Answer, Goal, table
from zrb_store import open_store
from zrb_store.run import Run


def give_back(run: Run, task: str, many: int) -> float:
    """Let an attempt fail, and return the seconds that the next attempt needs to begin."""
    attempt = run.begin(task)
    attempt.xcom[task].extend([SMALL] * many)
    attempt.complete()
    attempt = run.begin(task)
    for _ in range(many):
        attempt.xcom[task].pop()
    attempt.xcom["output"].extend([SMALL] * many)
    attempt.fail()
    began = time.perf_counter()
    run.begin(task)
    return time.perf_counter() - began


def run(effort: Effort) -> Answer:
    """Measure several sizes."""
    answer = Answer()
    sizes = [2_500, 5_000, 10_000]
    rounds = effort(5, 1)
    with ExitStack() as stack:
        store = stack.enter_context(open_store(new_folder(stack) / "store.db"))
        run = stack.enter_context(store.session("benchmark").run())
        times = {
            many: statistics.median(give_back(run, f"task {many} {turn}", many) for turn in range(rounds))
            for many in sizes
        }
    each = {many: seconds / (2 * many) for many, seconds in times.items()}
    rows = [[f"{many:,} taken, {many:,} pushed", time_text(times[many]), time_text(each[many])] for many in sizes]
    answer.add(*table(["attempt", "give-back", "per value"], rows))
    growth = each[sizes[-1]] / each[sizes[0]]
    measured = f"{time_text(times[sizes[-1]])}; per value {figure(growth)}x of that for {sizes[0]:,}"
    met = times[sizes[-1]] < 1 and growth < 1.5
    answer.goals.append(Goal("give-back of 10,000 taken and 10,000 pushed", "linear, under 1 s", measured, met))
    return answer
