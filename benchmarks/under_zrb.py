"""How much slower does zrb become?

The `zrb` command runs a chain of tasks that return a small dict, with and without the plugin, and `zrb version`. The
cost of a task is the difference between a long chain and a short one, so that the start of the process does not count.
The first stored task of a process imports what storing needs: that is what the short chain, of three tasks, takes
longer with the plugin, less what `zrb version` takes longer.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

from benchmarks.contest import new_folder
from benchmarks.harness import Contestant, Effort, Race, timed
from benchmarks.report import Answer, Goal, table

STOCK, PLUGIN = "stock zrb", "zrb with the plugin"
_TASKS = """
from zrb import cli, Task, make_task

def chain(name, length):
    before = None
    for number in range(length):
        task = Task(name=f"{name}-{number}", action=lambda ctx, number=number: {"number": number, "text": "x" * 30})
        if before is not None:
            before >> task
        before = task
    return cli.add_task(Task(name=name, action=lambda ctx: None, upstream=[before]))

chain("short", SHORT)
chain("long", LONG)
"""


def turn(zrb: str, folder: Path, plugin: bool) -> Contestant:
    """Return a turn that runs the three commands."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ZRB_")}
    environment |= {"HOME": str(folder), "NO_COLOR": "1"}
    if plugin:
        environment |= {"ZRB_STORE_URL": str(folder / "store.db"), "ZRB_INIT_MODULES": "zrb_store.plugin"}

    def seconds(command: str) -> float:
        arguments = [zrb, *command.split()]
        return timed(lambda: subprocess.run(arguments, check=True, capture_output=True, env=environment, cwd=folder), 1)

    return lambda: {command: seconds(command) for command in ("version", "short", "long")}


def run(effort: Effort) -> Answer:
    """Run one race of processes."""
    answer = Answer()
    zrb = shutil.which("zrb", path=str(Path(sys.executable).parent))
    if zrb is None:
        answer.add("Not measured: zrb is not installed.")
        return answer
    short, long = 2, effort(102, 42)
    with ExitStack() as stack:
        turns = {}
        for name in (STOCK, PLUGIN):
            folder = new_folder(stack)
            (folder / "zrb_init.py").write_text(_TASKS.replace("SHORT", str(short)).replace("LONG", str(long)))
            turns[name] = turn(zrb, folder, name == PLUGIN)
        race = Race(turns, effort(15, 5))
    task = {
        name: statistics.median(race.differences((name, "long"), (name, "short"))) / (long - short) * 1e3
        for name in (STOCK, PLUGIN)
    }
    more = statistics.median(race.differences((PLUGIN, "version"), (STOCK, "version"))) * 1e3
    version = {name: (race.seconds("version", name) or 0) * 1e3 for name in (STOCK, PLUGIN)}
    rows = [[name, f"{task[name]:.2f} ms", f"{version[name]:.0f} ms"] for name in (STOCK, PLUGIN)]
    answer.add(*table(["", "one more task", "`zrb version`"], rows))
    extra = task[PLUGIN] - task[STOCK]
    longer = race.differences((PLUGIN, "short"), (STOCK, "short"))
    first = statistics.median(longer) * 1e3 - more
    answer.goals += [
        Goal("zrb with the plugin, per task", "at most 1 ms more than stock", f"{extra:.2f} ms more", extra <= 1),
        Goal("first stored task of a process", "at most 125 ms more than stock", f"{first:.0f} ms more", first <= 125),
        Goal("`zrb version` with the plugin", "at most 15 ms more", f"{more:.1f} ms more", more <= 15),
    ]
    return answer
