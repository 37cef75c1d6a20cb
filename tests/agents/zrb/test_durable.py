"""`durable()`: agents of pydantic-ai in the action of any task."""

from __future__ import annotations

import subprocess

import pytest

from tests.agents.zrb.project import Agents, on_supported, sqlite
from tests.zrb.conftest import Zrb, only
from tests.zrb.environments import environment

pytestmark = pytest.mark.slow


@pytest.mark.promise(number=11)
@on_supported
@sqlite
def test_agents_in_an_action_are_killed_and_resumed(agents: Agents) -> None:
    """Two of them, gathered, are killed in a request and in a call, and stream their answers."""
    agents.tasks(
        """
from pydantic_ai import Agent
from zrb_store.agents import durable

def desk(name):
    async def answer(messages, info):
        number = answers(messages)
        log(f"{name} {number}", "begin")
        if name == "b" and number == 1 and once_here("killed in a request"):
            kill_me()
        yield "done" if number == 2 else {0: DeltaToolCall("charge", '{"n": %d}' % number, tool_call_id=f"c{number}")}

    agent = Agent(FunctionModel(stream_function=answer), name=name, capabilities=[durable()])

    @agent.tool_plain
    async def charge(n: int) -> str:
        log(f"{name} charge {n}", "begin")
        if name == "a" and n == 1 and once_here("killed in a call"):
            kill_me()
        return "receipt"

    return agent

async def work_with(agent):
    async with agent.run_stream("Charge.") as result:
        return await result.get_output()

@make_task(name="triage", retries=0, group=cli)
async def triage(ctx):
    return await asyncio.gather(*(work_with(desk(name)) for name in "ab"))
"""
    )
    agents.run("triage", code=-9)
    agents.resume(code=-9)
    known_later = "triage: whether its agents of `durable()` use their steps again is known when they run"
    assert known_later in agents.run("xcom", "resume", "s", "--plan")
    agents.resume()
    assert agents.live("triage") == [["done", "done"]]
    everything = {f"{name} {what}" for name in "ab" for what in ("0", "charge 0", "1", "charge 1", "2")}
    assert set(agents.project.begun) == everything
    # A kill repeats what ran: one request or call of each agent.
    repeated = {name: count - 1 for name, count in agents.project.begun.items() if count > 1}
    assert {"b 1", "a charge 1"} <= set(repeated)
    assert sum(name.startswith("a") for name in repeated) <= 2
    assert sum(name.startswith("b") for name in repeated) <= 2
    assert sum(repeated.values()) <= 4
    shown = agents.run("xcom", "show", "s", "triage", "--conversation")
    assert shown.rindex("a: ") < shown.index("b: ")


@only(lambda version: version < (2, 69))
@pytest.mark.oldest
@pytest.mark.oldest
def test_an_older_pydantic_ai_is_named(zrb: Zrb) -> None:
    done = subprocess.run(
        [environment(zrb.release) / "bin" / "python", "-c", "from zrb_store.agents import durable\ndurable()"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "durable() needs pydantic-ai 2.36 or later (1." in done.stderr.splitlines()[-1]
