"""What does a round of an agent cost beside the model's time?

An `LLMTask` of zrb calls a tool in each of a hundred rounds; its model is a function that answers at once. A round has
two steps: an answer and a call. It is compared with the same agent under `ZRB_STORE_AGENTS=off`, where zrb writes its
own checkpoint: the whole conversation, again and again. What remains without both is the time of pydantic-ai and zrb,
which look at the whole conversation in each round. What the values themselves take is measured with a bare table, into
which the agent writes each answer and each result, with a commit for each. The time of a round is the median of its
half: Python's collector of garbage looks at all that zrb has imported in one of the rounds, for a tenth of a second.
The file grows by rows and indexes beside the arguments and results of the steps.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import statistics
import subprocess
import sys
from contextlib import ExitStack, closing
from pathlib import Path

from benchmarks.contest import new_folder
from benchmarks.harness import Contestant, Effort, Race
from benchmarks.report import Answer, Goal, table
from zrb_store.agents.kinds import MODEL_REQUEST, TOOL_CALL

EARLY, LATE = ("rounds 1 to 50", "processor time"), ("rounds 51 to 100", "processor time of these")
STEPS, CHECKPOINTS, NEITHER = "stored as steps", "zrb's own checkpoints", "nothing stored"
VALUES = "only its values, in a bare table"
_TASKS = """
import json, os, sqlite3, time
from pathlib import Path
from statistics import median
from pydantic_ai.messages import ModelMessagesTypeAdapter, ModelResponse
from pydantic_ai.models.function import DeltaToolCall, FunctionModel
from zrb import LLMTask, cli
from zrb.llm.task import llm_task

if os.environ.get("CHECKPOINTS") == "off":
    run_agent = llm_task.run_agent
    llm_task.run_agent = lambda **kwargs: run_agent(**{**kwargs, "checkpoint_fn": None})

bare = os.environ.get("BARE") and sqlite3.connect("bare.db", isolation_level=None)
if bare:
    bare.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; CREATE TABLE IF NOT EXISTS step (value)")

times = []

async def answer(messages, info):
    if bare:
        for message in messages[-2:]:
            bare.execute("INSERT INTO step VALUES (?)", (ModelMessagesTypeAdapter.dump_json([message]),))
    times.append((time.perf_counter(), time.process_time()))
    number = sum(isinstance(message, ModelResponse) for message in messages)
    if number < ROUNDS:
        yield {0: DeltaToolCall(name="charge", json_args='{"customer": %d}' % number, tool_call_id=f"call-{number}")}
    else:
        rounds = [[end - begin for begin, end in zip(*two)] for two in zip(times, times[1:])]
        halves = rounds[: ROUNDS // 2], rounds[ROUNDS // 2 :]
        Path("seconds").write_text(json.dumps([median(one) for half in halves for one in zip(*half)]))
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
        return dict(zip((*EARLY, *LATE), json.loads((folder / "seconds").read_text()), strict=True))

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
    contestants[VALUES] = {**contestants[NEITHER], "BARE": "on"}
    rounds = 100
    with ExitStack() as stack:
        turns = {}
        for name, settings in contestants.items():
            folder = new_folder(stack)
            (folder / "zrb_init.py").write_text(_TASKS.replace("ROUNDS", str(rounds)))
            turns[name] = turn(zrb, folder, settings)
            if name == STEPS:
                store = folder / "store.db"
                turns[name]()
                before = store.stat().st_size
                turns[name]()
                grown = (store.stat().st_size - before) / rounds - values_of_a_round(store, rounds)
        race = Race(turns, effort(15, 5))
    columns = (*EARLY, *LATE)
    rows = [[name, *(f"{(race.seconds(one, name) or 0) * 1e3:.2f} ms" for one in columns)] for name in contestants]
    answer.add(*table(["a round of an agent", *columns], rows))

    def more(than: str, rounds: tuple[str, str]) -> float:
        return statistics.median(race.differences((STEPS, rounds[0]), (than, rounds[0]))) * 1e3

    under_zrb, beside = more(CHECKPOINTS, EARLY), more(VALUES, EARLY)
    early, late = more(NEITHER, EARLY), more(NEITHER, LATE)
    answer.goals += [
        Goal("a round of an agent", "at most 1 ms beside its values", f"{beside:+.2f} ms", beside <= 1),
        Goal("the same", "at most 1 ms more than zrb's checkpoints", f"{under_zrb:+.2f} ms", under_zrb <= 1),
        Goal("a round after 50", "at most 0.1 ms more", f"{late - early:+.2f} ms", late - early <= 0.1),
        Goal("a round in the file", "at most 5 KB beside its values", f"{grown / 1e3:.1f} KB", grown <= 5000),
    ]
    return answer


def values_of_a_round(store: Path, rounds: int) -> float:
    """Return how many bytes the arguments and results of a round have, on average."""
    with closing(sqlite3.connect(store)) as connection:
        sizes = "sum(length(CAST(arguments AS BLOB)) + length(CAST(result AS BLOB)))"
        ((total, sessions),) = connection.execute(
            f"SELECT {sizes}, count(DISTINCT session_id) FROM zrb_attempt WHERE kind IN (?, ?)",
            (MODEL_REQUEST, TOOL_CALL),
        )
    found: float = total / sessions / rounds
    return found
