"""What does noting cost which inputs a task has read, and what it ran?

A chain of tasks, each of which reads three inputs. Five tasks of which this is noted take turns with five of which it
is not, in the same process, and only their processor time counts, without that of the garbage collector.
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

NOTED, NOT_NOTED = "noted", "not noted"
OPERATIONS = {"chain": "a task that reads three inputs"}
TASKS, TURN = 110, 5  # the first two turns do not count
_TASKS = """
import gc
import time
from pathlib import Path
from zrb import StrInput, Task, cli
from zrb.context.context import Context
from zrb.context.shared_context import SharedContext
from zrb_store.plugin import recorder

noting, spent, began = True, {True: 0.0, False: 0.0}, 0.0

def switched(noted, without):
    return lambda *args: noted(*args) if noting else without(*args)

recorder.read_by = switched(recorder.read_by, lambda *_: None)
recorder.code_of = switched(recorder.code_of, lambda *_: None)
Context.input = property(switched(Context.input.fget, lambda self: self._shared_ctx.input))
SharedContext.input = property(switched(SharedContext.input.fget, lambda self: self._input))

def turn(number):
    global noting, began
    if number > 2 * TURN:
        spent[noting] += time.process_time() - began
    noting = number // TURN % 4 in (0, 1)  # twice the one, then twice the other: the tasks of a chain get slower
    gc.collect()
    gc.disable()
    began = time.process_time()

INPUTS = [StrInput(name=f"input-{number}", default="text") for number in range(10)]
before = None
for number in range(TASKS + 1):
    def action(ctx, number=number):
        if number % TURN == 0:
            turn(number)
        if number == TASKS:
            (Path(__file__).parent / "times").write_text(f"{spent[True]} {spent[False]}")
        return {"day": ctx.input.input_1, "size": ctx.input["input-2"], "region": ctx.input.input_3}

    task = Task(name=f"chain-{number}", action=action, input=INPUTS, retries=0)
    if before is not None:
        before >> task
    before = task
cli.add_task(Task(name="chain", action=lambda ctx: None, upstream=[before], input=INPUTS))
"""


def turns(zrb: str, folder: Path) -> dict[str, Contestant]:
    """Return the two turns, of which the first one in a round runs the chain for both."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ZRB_")}
    environment |= {"HOME": str(folder), "NO_COLOR": "1", "ZRB_STORE_URL": str(folder / "store.db")}
    environment["ZRB_INIT_MODULES"] = "zrb_store.plugin"
    measured: dict[str, float] = {}

    def seconds(name: str) -> float:
        if name not in measured:
            nowhere = subprocess.DEVNULL
            subprocess.run([zrb, "chain"], check=True, stdout=nowhere, stderr=nowhere, env=environment, cwd=folder)
            times = map(float, (folder / "times").read_text().split())
            measured.update(
                (kind, time / (TASKS / 2 - TURN)) for kind, time in zip((NOTED, NOT_NOTED), times, strict=True)
            )
        return measured.pop(name)

    return {NOT_NOTED: lambda: {"chain": seconds(NOT_NOTED)}, NOTED: lambda: {"chain": seconds(NOTED)}}


def run(effort: Effort) -> Answer:
    """Run one race of processes."""
    answer = Answer()
    zrb = shutil.which("zrb", path=str(Path(sys.executable).parent))
    if zrb is None:
        answer.add("Not measured: zrb is not installed.")
        return answer
    with ExitStack() as stack:
        folder = new_folder(stack)
        source = _TASKS.replace("TASKS", str(TASKS)).replace("TURN", str(TURN))
        (folder / "zrb_init.py").write_text(source)
        race = Race(turns(zrb, folder), effort(41, 9))
    answer.add(*ratios(race, OPERATIONS, NOT_NOTED))
    answer.goals.append(at_most("noting which inputs a task has read", 1.03, race.ratio("chain", NOTED, NOT_NOTED)))
    return answer
