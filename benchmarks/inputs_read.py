"""What does noting cost which inputs a task has read, and what it ran?

A chain of tasks, each of which reads three inputs of ten. The functions that note this are timed, in processor time,
and so is the whole: the rest is what a task would take without them. The reading itself counts as noting.
"""

from __future__ import annotations

import functools
import json
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
OPERATIONS = {"read": "the inputs that a task has read", "code": "a digest of what it ran"}
TASKS = 100
_TASKS = """
import gc
import json
import time
from pathlib import Path
from zrb import StrInput, Task, cli
from zrb.context.context import Context
from zrb.context.shared_context import SharedContext
from zrb_store.plugin import recorder

spent, began, inside = {"read": 0.0, "code": 0.0}, 0.0, False

def timed(noting, what="read"):
    def call(*args):
        global inside
        if inside:
            return noting(*args)
        inside, start = True, time.process_time()
        try:
            return noting(*args)
        finally:
            spent[what] += time.process_time() - start
            inside = False
    return call

recorder.read_by, recorder.code_of = timed(recorder.read_by), timed(recorder.code_of, "code")
for kind in (Context, SharedContext):
    kind.input = property(timed(kind.input.fget))

@timed
def read(ctx):
    return {"day": ctx.input.input_1, "size": ctx.input["input-2"], "region": ctx.input.input_3}

INPUTS = [StrInput(name=f"input-{number}", default="text") for number in range(10)]
before = None
for number in range(TASKS + 1):
    def action(ctx, number=number):
        global began
        if number == 0:
            gc.collect()
            spent.update(read=0.0, code=0.0)
            began = time.process_time()
        if number == TASKS:
            (Path(__file__).parent / "times").write_text(json.dumps({"whole": time.process_time() - began, **spent}))
        return read(ctx)

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
    measured: dict[str, dict[str, float]] = {}

    def seconds(name: str) -> dict[str, float]:
        if name not in measured:
            nowhere = subprocess.DEVNULL
            subprocess.run([zrb, "chain"], check=True, stdout=nowhere, stderr=nowhere, env=environment, cwd=folder)
            times = json.loads((folder / "times").read_text())
            measured[NOTED] = dict.fromkeys(OPERATIONS, times["whole"] / TASKS)
            measured[NOT_NOTED] = {one: (times["whole"] - times[one]) / TASKS for one in OPERATIONS}
        return measured.pop(name)

    return {name: functools.partial(seconds, name) for name in (NOT_NOTED, NOTED)}


def run(effort: Effort) -> Answer:
    """Run one race of processes."""
    answer = Answer()
    zrb = shutil.which("zrb", path=str(Path(sys.executable).parent))
    if zrb is None:
        answer.add("Not measured: zrb is not installed.")
        return answer
    with ExitStack() as stack:
        folder = new_folder(stack)
        (folder / "zrb_init.py").write_text(_TASKS.replace("TASKS", str(TASKS)))
        race = Race(turns(zrb, folder), effort(15, 5))
    answer.add(*ratios(race, OPERATIONS, NOT_NOTED))
    answer.goals.append(at_most("noting which inputs a task has read", 1.03, race.ratio("read", NOTED, NOT_NOTED)))
    return answer
