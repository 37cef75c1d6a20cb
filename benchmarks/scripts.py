"""What does a step of a shell script cost?

A script that resumes asks for each of its completed steps. Each answer is a new process, `zrb-store step`, which is
compared with one that imports click and does nothing. A new step runs `true`; its processor time includes that of the
processes it starts. A script with 1,000 completed steps is timed as a whole.
"""

from __future__ import annotations

import itertools
import os
import resource
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

from benchmarks.contest import new_folder
from benchmarks.harness import Contestant, Effort, Race, Sample, time_text, timed
from benchmarks.report import Answer, at_most, ratios
from zrb_store import open_store
from zrb_store.codec.arguments import stored_arguments

CLICK, AGAIN, NEW = 'python -c "import click"', "a completed step", "a new step"
_CODE = "import sys; from zrb_store.cli import main; main()"
_LOOP = 'i=0; while [ $i -lt "$1" ]; do "$2" -c "$3" step "page $i" -- true || exit 1; i=$((i + 1)); done'


def fill(path: Path, many: int, stack: ExitStack) -> dict[str, str]:
    """Make a store with a running attempt that has so many completed steps, and return the environment inside it."""
    store = stack.enter_context(open_store(path))
    attempt = stack.enter_context(store.session("night").run(task="backup")).begin("backup")
    arguments = stored_arguments(["true"], {})
    for number in range(many):
        attempt.step(f"page {number}", str)
    store.database.transact(
        lambda transaction: transaction.driver.execute(
            "UPDATE zrb_attempt SET arguments = ? WHERE step IS NOT NULL", (arguments,)
        )
    )
    return {**os.environ, "ZRB_STORE_URL": str(path), "ZRB_STORE_ATTEMPT": attempt.token}


def processor_time() -> float:
    """Return the seconds of processor time that the processes started here, and theirs, have used until they ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def run(effort: Effort) -> Answer:
    """Run a race of processes, and a script of 1,000 steps."""
    answer = Answer()
    many = effort(1000, 20)
    numbers = itertools.count()
    with ExitStack() as stack:
        environment = fill(new_folder(stack) / "store.db", many, stack)

        def turn(code: str, *words: str, new: bool = False) -> Contestant:
            def start() -> Sample:
                name = [f"new {next(numbers)}"] if new else ["page 1"]
                command = [
                    sys.executable,
                    "-c",
                    code,
                    *words,
                    *(name if words else []),
                    *(["--", "true"] if words else []),
                ]
                used = processor_time()
                seconds = timed(lambda: subprocess.run(command, check=True, capture_output=True, env=environment), 1)
                return {"start": seconds, "processor": processor_time() - used}

            return start

        turns = {CLICK: turn("import click"), AGAIN: turn(_CODE, "step"), NEW: turn(_CODE, "step", new=True)}
        race = Race(turns, effort(25, 7))
        loop = ["sh", "-c", _LOOP, "sh", str(many), sys.executable, _CODE]
        seconds = timed(lambda: subprocess.run(loop, check=True, capture_output=True, env=environment), 1)
    answer.add(*ratios(race, {"start": "start to end", "processor": "processor time"}, CLICK))
    answer.add("", f"A loop of {many:,} completed steps takes {time_text(seconds)}, {time_text(seconds / many)} each.")
    answer.goals.append(
        at_most(
            "`zrb-store step`, completed, process start to end, x importing click",
            1.5,
            race.ratio("start", AGAIN, CLICK),
        )
    )
    return answer
