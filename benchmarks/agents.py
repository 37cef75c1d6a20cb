"""What does a step of an agent cost beside the model's time?

An `LLMTask` of zrb calls a tool in each round; its model is a function that answers at once. The time from the second
request to the last is divided by the steps in between: one answer and one call in each round. It is compared with the
same agent under `ZRB_STORE_AGENTS=off`, where zrb writes its own checkpoint: the whole conversation, again and again.
What remains without both is the time of pydantic-ai and zrb.
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
from benchmarks.harness import Contestant, Effort, Race
from benchmarks.report import Answer, Goal, table

STEPS, CHECKPOINTS, NEITHER = "stored as steps", "zrb's own checkpoints", "nothing stored"
_TASKS = """
import os, time
from pathlib import Path
from pydantic_ai.messages import ModelResponse
from pydantic_ai.models.function import DeltaToolCall, FunctionModel
from zrb import LLMTask, cli
from zrb.llm.task import llm_task

if os.environ.get("CHECKPOINTS") == "off":
    run_agent = llm_task.run_agent
    llm_task.run_agent = lambda **kwargs: run_agent(**{**kwargs, "checkpoint_fn": None})

times = []

async def answer(messages, info):
    times.append(time.perf_counter())
    number = sum(isinstance(message, ModelResponse) for message in messages)
    if number < ROUNDS:
        yield {0: DeltaToolCall(name="charge", json_args='{"customer": %d}' % number, tool_call_id=f"call-{number}")}
    else:
        Path("seconds").write_text(str((times[-1] - times[1]) / (2 * (ROUNDS - 1))))
        yield "done"

async def charge(customer: int) -> str:
    return f"receipt {customer}"

cli.add_task(LLMTask(name="triage", message="Charge.", system_prompt="You charge.", tools=[charge], yolo=True,
                     model=FunctionModel(stream_function=answer), retries=0))
"""


def turn(zrb: str, folder: Path, settings: dict[str, str]) -> Contestant:
    """Return a turn that runs the agent once, in a process of its own."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ZRB_")}
    environment |= {"HOME": str(folder), "NO_COLOR": "1", "ZRB_INIT_MODULES": "zrb_store.plugin", **settings}
    environment["ZRB_STORE_URL"] = str(folder / "store.db")

    def run_agent() -> dict[str, float]:
        subprocess.run([zrb, "triage"], check=True, capture_output=True, env=environment, cwd=folder)
        return {"step": float((folder / "seconds").read_text())}

    return run_agent


def run(effort: Effort) -> Answer:
    """Run a race of processes."""
    answer = Answer()
    zrb = shutil.which("zrb", path=str(Path(sys.executable).parent))
    if zrb is None:
        answer.add("Not measured: zrb is not installed.")
        return answer
    off = {"ZRB_STORE_AGENTS": "off"}
    contestants = {STEPS: {}, CHECKPOINTS: off, NEITHER: {**off, "CHECKPOINTS": "off"}}
    rounds = effort(50, 30)
    with ExitStack() as stack:
        turns = {}
        for name, settings in contestants.items():
            folder = new_folder(stack)
            (folder / "zrb_init.py").write_text(_TASKS.replace("ROUNDS", str(rounds)))
            turns[name] = turn(zrb, folder, settings)
        race = Race(turns, effort(15, 5))
    rows = [[name, f"{(race.seconds('step', name) or 0) * 1e3:.2f} ms"] for name in contestants]
    answer.add(*table([f"an agent of {rounds} rounds", "one step"], rows))
    extra = statistics.median(race.differences((STEPS, "step"), (NEITHER, "step"))) * 1e3
    answer.goals.append(
        Goal("a step of an agent", "at most 1 ms beside the model's time", f"{extra:.2f} ms", extra <= 1)
    )
    return answer
