"""Calls whose results are not made by the tool: each is handled as without a store, and what came of it is replayed."""

from __future__ import annotations

import pytest

from tests.agents.zrb.project import Agents, on_newest, sqlite
from tests.agents.zrb.tasks import rounds

pytestmark = [pytest.mark.slow, sqlite, on_newest]

DEFERRED = """
from pydantic_ai import CallDeferred

def tools_of(ctx):
    async def charge(n: int) -> str:
        log(f"tool {n}", "begin")
        ctx.xcom["out"].push(n)
        if n == 10:
            raise CallDeferred({"job": n})
        if n == 20 and once_here("killed"):
            kill_me()
        return f"receipt {n}"
    return [charge]

agent(tool_factories=[tools_of], model=TELLER)
"""


def test_a_tool_that_defers_its_call_is_told_as_an_error_again(agents: Agents) -> None:
    """zrb makes a text for the model of `CallDeferred`: the call has failed, and is not made again."""
    agents.tasks(rounds() + DEFERRED)
    agents.run("triage", code=-9)
    told = 'all receipts: ["receipt 0", "Error executing tool charge: ", "receipt 20", "receipt 30"]'
    assert told in agents.resume()
    agents.twice("tool 20")
    assert agents.live("out") == [0, 20, 30]  # what the failed call did is undone


EXTERNAL = """
from pydantic_ai.tools import ToolDefinition
from pydantic_ai.toolsets import ExternalToolset

schema = {"type": "object", "properties": {"n": {"type": "integer"}}}
bank = ExternalToolset([ToolDefinition(name="charge", description="Charge.", parameters_json_schema=schema)])
"""


def test_an_external_tool_that_nobody_handles(agents: Agents) -> None:
    """zrb approves it as any call, and pydantic-ai cannot call it. A resume comes to the same end without a request."""
    agents.tasks(rounds() + EXTERNAL + "agent(toolsets=[bank], tool_factories=[], model=TELLER)\n")
    assert "External tools cannot be called" in agents.run("triage", code=1)
    assert "External tools cannot be called" in agents.resume(code=1)
    assert agents.project.begun == {"model 0": 1}


HANDLED = """
from pydantic_ai import DeferredToolResults
from pydantic_ai.capabilities import HandleDeferredToolCalls

def tools_of(ctx):
    global out
    out = ctx.xcom["out"]
    return []

async def handle(ctx, requests):
    (call,) = requests.calls
    n = json.loads(call.args)["n"]
    log(f"tool {n}", "begin")
    out.push(n)
    if n == 20 and once_here("killed"):
        kill_me()
    return DeferredToolResults(calls={call.tool_call_id: f"receipt {n}"})

handler = HandleDeferredToolCalls(handler=handle)
triage = agent(toolsets=[bank], tool_factories=[tools_of], model=TELLER, capabilities=[handler])
"""


@pytest.mark.promise(number=11)
@pytest.mark.parametrize("policy", [None, "tell", "stop"])
def test_an_external_tool_with_a_handler(agents: Agents, policy: str | None) -> None:
    """A handler is asked for the result of a call once, and like a tool once more if it was killed."""
    once = f"triage.once_tools = {{'charge': {policy!r}}}\n" if policy else ""
    agents.tasks(rounds() + EXTERNAL + HANDLED + once)
    agents.run("triage", code=-9)
    if policy == "stop":
        assert "--step 'deferred c2' completed --result" in agents.resume(code=1)
        agents.run("xcom", "mark", "s", "triage", "--step", "deferred c2", "completed", "--result", '"receipt 20"')
    output = agents.resume()
    if policy == "tell":
        assert "It is unknown whether this call took effect" in output
        agents.twice()
    else:
        assert 'all receipts: ["receipt 0", "receipt 10", "receipt 20", "receipt 30"]' in output
        agents.twice(*([] if policy else ["tool 20"]))
    assert agents.live("out") == ([0, 10, 30] if policy else [0, 10, 20, 30])
    assert "deferred: c1 -> receipt 10" in agents.run("xcom", "show", "s", COLUMNS="200")


@pytest.mark.promise(number=11)
def test_a_picture_that_a_handler_gives(agents: Agents) -> None:
    """It comes back as a picture, also from a list."""
    picture = 'BinaryContent(b"\\x89PNG", media_type="image/png")'
    given = f"{{call.tool_call_id: [{picture}] if n else {picture}}}"
    handled = HANDLED.replace('{call.tool_call_id: f"receipt {n}"}', given)
    agents.tasks(rounds() + "from pydantic_ai import BinaryContent\n" + EXTERNAL + handled)
    agents.run("triage", code=-9)
    assert agents.resume().count("BinaryContent(data=b'\\\\x89PNG', media_type='image/png'") == 8
    agents.twice("tool 20")
