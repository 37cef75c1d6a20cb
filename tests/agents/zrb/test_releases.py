"""Agents over steps on each release of zrb that can store them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.agents.zrb.project import Agents, on_supported, sqlite
from tests.agents.zrb.tasks import rounds
from tests.chosen import RELEASES
from tests.zrb.conftest import Zrb
from tests.zrb.environments import environment
from zrb_store import open_store

pytestmark = [pytest.mark.slow, on_supported, sqlite]

# 2.69 makes the agent that condenses a chat before it knows whether there is anything to condense.
KEY: dict[str, Any] = {"OPENAI_API_KEY": "none"}


@pytest.mark.promise(number=11)
@pytest.mark.oldest
def test_a_tool_that_asks_for_a_retry(agents: Agents) -> None:
    agents.tasks(
        """
def tools_of(ctx):
    async def charge(n: int) -> str:
        log(f"tool {n}", "begin")
        ticket = ctx.xcom["tickets"].pop()
        if n == 10:
            raise ModelRetry("charge less")
        if n == 11:
            raise ValueError("broken")
        if n == 30 and once_here("killed"):
            kill_me()
        ctx.xcom["out"].push(n)
        return f"receipt {n}"
    return [charge]

seed >> agent(tool_factories=[tools_of])
"""
    )
    agents.run("triage", code=-9, ROUNDS="4")
    before = agents.rows("step, number, status, result")
    agents.resume(ROUNDS="4")
    agents.twice("tool 30")
    retry = '{"kind":"retry","message":"charge less","call":{"n":10}}'
    assert ("tool charge c1-0", 2, "completed", retry) in before
    assert [row[:3] for row in before if row[0] == "tool charge c1-1"] == [
        ("tool charge c1-1", 1, "failed"),
        ("tool charge c1-1", 2, "completed"),
    ]
    # What a failed call took is given back, so that each ticket was taken by a call that returned.
    assert len(agents.live("tickets")) == 20 - len(agents.live("out"))
    assert agents.live("tickets")[-1] == 19


# The provider refuses the third request of a turn. zrb sends another one, in which the turn begins anew.
REFUSED = """
from pydantic_ai.exceptions import ModelHTTPError

KIND = os.environ["KIND"]
BODIES = {"collapsed": "no", "corrected": {"message": "unknown tool"}, "shortened": {"message": "prompt too long"}}

async def refusing(messages, info):
    text = str(messages)
    changed = "[SYSTEM]" in text or (KIND == "shortened" and "turn one" not in text)
    number = sum(isinstance(p, ToolReturnPart) for one in messages for p in one.parts)
    log(f"model {number}{' changed' if changed else ''}", "begin")
    if "turn three" not in text:
        yield "I see."
        return
    if number == 2 and not changed and once_here("refused"):
        raise ModelHTTPError(400, "model", BODIES[KIND])
    if number == 1 and changed and once_here("ended"):
        if os.environ["END"] == "kill":
            kill_me()
        raise RuntimeError("broken")
    if number < 3:
        args = json.dumps({"n": number + 10 * changed})
        yield {0: DeltaToolCall(name="charge", json_args=args, tool_call_id=f"c{number}")}
    else:
        yield "all receipts"

task = agent(
    message=os.environ.get("MESSAGE", "turn three"), model=FunctionModel(stream_function=refusing), retries=1,
    retry_period=0, conversation_name="fixed")
task.once_tools = ["charge"]
seed >> task
"""


@pytest.mark.promise(number=11)
@pytest.mark.parametrize(("kind", "end"), [("collapsed", "kill"), ("corrected", "error"), ("shortened", "kill")])
@pytest.mark.oldest
def test_a_refusal_after_which_zrb_sends_another_request_comes_again(agents: Agents, kind: str, end: str) -> None:
    agents.tasks(REFUSED)
    env: dict[str, Any] = {"KIND": kind, "END": end}
    for session in ("turn one", "turn two"):
        agents.run("triage", **env, MESSAGE=session, ZRB_STORE_SESSION=session.replace(" ", "-"))
    agents.project.forget()
    if end == "kill":
        agents.run("triage", code=-9, **env)
        agents.resume(**env)
    else:
        agents.run("triage", **env)
    agents.twice("model 1 changed")
    assert agents.project.begun["model 2"] == 1
    assert agents.live("out") == [0, 1, 10, 11, 12]
    shown = agents.run("xcom", "show", "s", **env, COLUMNS="200")
    assert "model 3: refused: status_code: 400, model_name: model, body: " in shown
    agents.project.forget()
    again = ("--step", "model~5", "--name", "other", "--repeat-once")
    agents.run("xcom", "fork", "s", "--from", "triage", *again, **env)
    agents.session = "other"
    agents.resume(**env)
    agents.twice()
    assert list(agents.project.begun) == ["model 1 changed", "tool 11", "model 2 changed", "tool 12", "model 3 changed"]
    assert agents.live("out") == [0, 1, 10, 11, 12]


@pytest.mark.promise(number=11)
@pytest.mark.oldest
def test_an_overloaded_provider_after_an_approved_call(agents: Agents) -> None:
    """The round that zrb begins anew starts with the calls that were approved."""
    agents.tasks(
        """
from pydantic_ai import ToolApproved
from pydantic_ai.exceptions import ModelHTTPError
from zrb.config.config import CFG
CFG.LLM_API_MAX_WAIT = 0

async def overloaded(messages, info):
    if answers(messages) == 2 and once_here("overloaded"):
        log("model 2", "begin")
        raise ModelHTTPError(503, "model", "overloaded")
    async for part in think(messages, info):
        yield part

agent(
    tools=[kill_at(-1)], tool_factories=[], yolo=False, tool_confirmation=lambda call: ToolApproved(),
    model=FunctionModel(stream_function=overloaded))
"""
    )
    agents.run("triage", ROUNDS="3")
    agents.twice("model 2")
    assert agents.rows(where="status <> 'completed'") == [("model~3", "failed")]


# Only one thread at a time: the second call of a round waits for the first one.
STOPPED = """
import time
from concurrent.futures import ThreadPoolExecutor
from anyio.to_thread import current_default_thread_limiter
from pydantic_ai.toolsets import FunctionToolset
from zrb_store import open_store

inbox = open_store().session("inbox").xcom
loops = []

async def thinking(messages, info):
    loops.append(asyncio.get_running_loop())
    loops[0].set_default_executor(ThreadPoolExecutor(1))
    current_default_thread_limiter().total_tokens = 1
    async for part in think(messages, info):
        yield part

def is_cancelled():
    return any(task.get_name() == "charge" and task.cancelling() for task in asyncio.all_tasks(loops[0]))

def charge(n: int) -> str:
    log(f"tool {n}", "begin")
    inbox["out"].push(n)
    if n >= 10 and once_here("stopped"):
        os.kill(os.getpid(), signal.NAME)
        ends = time.monotonic() + 60
        while IN_THREAD and not is_cancelled():
            assert time.monotonic() < ends
            time.sleep(0.01)
    inbox["out"].push(-n)
    return f"receipt {n}"

async def blocking(n: int) -> str:
    return charge(n)
blocking.__name__ = "charge"

task = agent(
    tool_factories=[], tools=[TOOL] if TOOL else [], toolsets=[] if TOOL else [FunctionToolset([charge])],
    model=FunctionModel(stream_function=thinking))
task.once_tools = ["charge"]
"""


@pytest.mark.promise(number=11)
@pytest.mark.parametrize(
    ("name", "tool"), [("SIGINT", "charge"), ("SIGTERM", "charge"), ("SIGINT", "None"), ("SIGINT", "blocking")]
)
@pytest.mark.oldest
def test_what_has_ended_after_a_signal_is_stored(agents: Agents, name: str, tool: str) -> None:
    """Nothing can stop a thread, or a function that blocks the event loop. The next call does not begin."""
    stopped = STOPPED.replace("NAME", name).replace("IN_THREAD", str(tool != "blocking")).replace("TOOL", tool)
    agents.tasks(stopped)
    _, output = agents.warm.run(agents.project, "triage", ZRB_STORE_SESSION="s", ROUNDS="2")
    assert "session s was interrupted" in output
    assert agents.project.begun.keys() == {"model 0", "tool 0", "model 1", "tool 10"}
    completed = agents.rows("step", where="status = 'completed'")
    assert completed == ["prompt", "model", "tool charge c0-0", "model~2", "tool charge c1-0"]
    assert "3 receipts, 21" in agents.resume(ROUNDS="2")
    agents.twice()
    agents.session = "inbox"
    assert agents.live("out") == [0, 0, 10, -10, 11, -11]


CHAT = """
from zrb import LLMChatTask
chat = cli.add_task(LLMChatTask(
    name="chat", message="Charge them all.", tools=[kill_at(20)], model=MODEL, yolo=True, interactive=False, retries=0,
    conversation_name="talk"))
"""


@pytest.mark.promise(number=11)
@pytest.mark.oldest
def test_a_chat_that_is_not_interactive(agents: Agents) -> None:
    agents.tasks(CHAT)
    agents.run("chat", code=-9, ROUNDS="4", **KEY)
    agents.resume(ROUNDS="4", **KEY)
    agents.twice("tool 20")
    agents.tasks(CHAT + "chat.store_agent = False\n")
    agents.session = "off"
    agents.run("chat", ROUNDS="1", **KEY)
    with open_store(agents.location, read_only=True) as store:
        assert sorted(one.name for one in store.sessions()) == ["off", "s"]


@pytest.mark.oldest
def test_a_chat_of_zrb_is_left_alone(agents: Agents) -> None:
    agents.tasks(
        """
from zrb.builtin.llm.chat import llm_chat
llm_chat._model = MODEL
llm_chat.append_tool(kill_at(-1))
"""
    )
    agents.run("llm", "chat", "--message", "hi", "--interactive", "false", "--yolo", "true", ROUNDS="2", **KEY)
    assert agents.project.begun["model 2"] == 1
    with open_store(agents.location, read_only=True) as store:
        assert store.sessions() == []


ANY_ORDER = """
async def explaining(messages, info):
    if answers(messages) < 4:
        yield "I charge. "
    async for part in one_at_a_time(messages, info):
        yield part

async def charge(n: int):
    log(f"tool {n}", "begin")
    if n in (20, 30) and once_here(f"killed {n}"):
        kill_me()
    return {"receipt": n, "paid by": {"card", "cash", "cheque", "barter", "promise"}}

agent(tools=[charge], tool_factories=[], model=FunctionModel(stream_function=explaining, model_name="teller"))
"""


@pytest.mark.promise(number=11)
@pytest.mark.cold
def test_an_upgrade_and_the_way_back_repeat_nothing(zrb: Zrb, agents: Agents, tmp_path: Path) -> None:
    """Messages have more fields in one release than in the other, and sets are in another order in each process.

    These processes are real ones. Those of the other tests are forks of one that has loaded zrb.
    """
    name = RELEASES[-1] if zrb.release != RELEASES[-1] else "2.69.0"
    (tmp_path / "other").mkdir()
    other = Zrb(name, environment(name), tmp_path / "other")
    other.folder = zrb.folder
    agents.tasks(rounds() + ANY_ORDER)
    env: dict[str, Any] = {"ZRB_STORE_URL": agents.location, "ZRB_STORE_SESSION": "s"}
    other.run("triage", code=-9, **env)
    zrb.run("xcom", "resume", "s", code=-9, **env)
    assert "all receipts" in other.run("xcom", "resume", "s", **env).out
    agents.twice("tool 20", "tool 30")
