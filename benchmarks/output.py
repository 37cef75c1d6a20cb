"""What does keeping the output of tasks cost?

A chatty task prints 10,000 lines: the command of a CmdTask, or a Python task by `ctx.print`. It takes turns with the
same task while no output is kept (`ZRB_STORE_OUTPUT_LIMIT=0`). zrb's own output goes nowhere, so that printing it costs
as little as it can. The time is the processor time of zrb's process, all its threads together, between the task before
and the task after: nothing is waited for, and a busy machine does not matter. The garbage of zrb's start is collected
before: that takes 20 ms, and would fall into the time of one of the two by chance. A silent command is timed too: it
starts no thread and sends no statement.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

from benchmarks.contest import new_folder
from benchmarks.harness import Contestant, Effort, Race
from benchmarks.report import Answer, at_most, ratios

KEPT, NONE = "output is kept", "no output is kept"
LINES = 10_000
OPERATIONS = {
    "command": f"a command that prints {LINES:,} lines",
    "python": f"`ctx.print` of {LINES:,} lines",
    "silent": "a silent command",
}
_TASKS = """
import gc
import time
from pathlib import Path
from zrb import CmdTask, Task, cli

HERE = Path(__file__).parent

def talk(ctx):
    for number in range(LINES):
        ctx.print(f"line {number} of what a task says while it works, as long as such lines are")

def first_stamp(ctx):
    gc.collect()
    stamp(ctx)

def stamp(ctx):
    with (HERE / "times").open("a") as file:
        print(time.process_time(), file=file)

script = "seq -f 'line %g of what a command says while it works, as long as such lines are' LINES"
for name, task in {
    "command": CmdTask(name="command", cmd=script, max_output_line=10, retries=0),
    "python": Task(name="python", action=talk, retries=0),
    "silent": CmdTask(name="silent", cmd="true", retries=0),
}.items():
    begin, end = Task(name=f"begin-{name}", action=first_stamp), Task(name=f"time-{name}", action=stamp)
    begin >> task >> end
    cli.add_task(end)
"""


def turn(zrb: str, folder: Path, output: str) -> Contestant:
    """Return a turn that runs each task in a process of its own, and on a store of its own.

    Args:
        zrb: The program.
        folder: The project.
        output: The value of ZRB_STORE_OUTPUT_LIMIT.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ZRB_")}
    environment |= {"HOME": str(folder), "NO_COLOR": "1", "ZRB_STORE_OUTPUT_LIMIT": output}
    environment["ZRB_INIT_MODULES"] = "zrb_store.plugin"
    times = folder / "times"

    def seconds(name: str) -> float:
        times.unlink(missing_ok=True)
        nowhere = subprocess.DEVNULL
        command = [zrb, f"time-{name}"]
        store = {"ZRB_STORE_URL": str(folder / f"{name}.db")}
        subprocess.run(command, check=True, stdout=nowhere, stderr=nowhere, env=environment | store, cwd=folder)
        began, ended = map(float, times.read_text().split())
        return ended - began

    return lambda: {name: seconds(name) for name in OPERATIONS}


def run(effort: Effort) -> Answer:
    """Run one race of processes."""
    answer = Answer()
    zrb = shutil.which("zrb", path=str(Path(sys.executable).parent))
    if zrb is None:
        answer.add("Not measured: zrb is not installed.")
        return answer
    with ExitStack() as stack:
        turns = {}
        for name, output in ((NONE, "0"), (KEPT, "")):
            folder = new_folder(stack)
            (folder / "zrb_init.py").write_text(_TASKS.replace("LINES", str(LINES)))
            turns[name] = turn(zrb, folder, output)
        race = Race(turns, effort(25, 9))
    answer.add(*ratios(race, OPERATIONS, NONE))
    answer.goals += [
        at_most(f"keeping the output of {OPERATIONS[name]}", 1.05, race.ratio(name, KEPT, NONE))
        for name in ("command", "python")
    ]
    return answer
