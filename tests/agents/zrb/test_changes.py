"""Stored answers that no longer fit: a line says what is paid again, unless a policy keeps them."""

from __future__ import annotations

import json
import re
import sqlite3
from typing import Any

import pytest

from tests.agents.zrb.project import ONCE_TOOL, Agents, on_newest, sqlite
from zrb_store.codec.raised import encode_error

pytestmark = [pytest.mark.slow, on_newest, sqlite]

PLAIN = "agent(tools=[{tool}], tool_factories=[]{more})\n"
DESCRIBED = """
async def charge(n: int) -> str:
    "Charge well."
    log(f"tool {n}", "begin")
    return f"receipt {n}"

""" + PLAIN.format(tool="charge", more="")
GONE = PLAIN.format(tool="", more="").replace("agent(", "agent(yolo=True, ")


def plain(more: str = "") -> str:
    return PLAIN.format(tool="kill_at(20)", more=f", {more}" if more else "")


CHANGES = {
    "docstring": (DESCRIBED, "tool charge has changed"),
    "prompt": (plain('system_prompt="Be kind."'), "the system prompt has changed"),
}
MADE = r"3 answers \([\d,]+ in / [\d,]+ out tokens\) and 3 tool calls"


@pytest.mark.promise(number=11)
@pytest.mark.parametrize("change", CHANGES)
def test_nothing_is_paid_again_without_a_word(agents: Agents, change: str) -> None:
    source, words = CHANGES[change]
    agents.tasks(plain())
    agents.run("triage", code=-9, ROUNDS="4")
    agents.tasks(source)
    agents.project.forget()
    output = agents.resume(code=1, ROUNDS="4", ZRB_STORE_CHANGED_REQUEST="stop")
    stopped = f"triage: {words}: `ZRB_STORE_CHANGED_REQUEST=rerun zrb xcom resume s` repeats {MADE}"
    assert re.search(stopped, output), output
    assert not agents.project.calls
    output = agents.resume(ROUNDS="4", ZRB_STORE_CHANGED_REQUEST="reuse")
    (line,) = [line for line in output.splitlines() if "used anyway" in line]
    assert re.search(f"triage: {words}: {MADE} are used anyway$", line)
    begun = {
        **dict.fromkeys((f"tool {n}" for n in (20, 21, 22, 30, 31, 32, 33)), 1),
        "model 3": 1,
        "model 4": 1,
    }
    assert agents.project.begun == begun


def test_a_missing_tool_and_what_is_made_again(agents: Agents) -> None:
    agents.tasks(plain())
    agents.run("triage", code=-9, ROUNDS="4")
    agents.tasks(plain().replace("tools=[kill_at(20)]", "tools=[work]").rstrip() + '.changed_request = "reuse"\n')
    output = agents.resume(code=1)
    assert "but an answer calls tool charge, which is gone, so they cannot be used" in output
    assert '`triage.changed_request = "rerun"` before `zrb xcom resume s` repeats 3 answers' in output
    agents.tasks(plain('system_prompt="Be kind."'))
    agents.project.forget()
    output = agents.resume(ROUNDS="4")
    (line,) = [line for line in output.splitlines() if "made again" in line]
    assert re.search(f"triage: the system prompt has changed: {MADE} are made again$", line)
    assert '"changed":"request changed: instructions"' in agents.rows("result", where="step = 'prompt'")[-1]
    tools = [f"tool {10 * n + i}" for n in range(4) for i in range(n + 1)]
    assert agents.project.begun == dict.fromkeys([f"model {n}" for n in range(5)] + tools, 1)


@pytest.mark.promise(number=11)
def test_nothing_is_made_again_after_an_upgrade(agents: Agents) -> None:
    """Version 1 compared the text of instructions, whatever they were made by."""
    agents.tasks(plain('system_prompt="Be kind."'))
    agents.run("triage", code=-9, ROUNDS="4")
    with sqlite3.connect(agents.location.removeprefix("sqlite:///")) as rows:
        (arguments,) = rows.execute("SELECT arguments FROM zrb_attempt WHERE step = 'prompt'").fetchone()
        positional, named = json.loads(arguments)
        old = json.dumps([positional, {**named, "instructions": {"text": "5dc4b51a5f2c"}}])
        rows.execute("UPDATE zrb_attempt SET arguments = ? WHERE step = 'prompt'", [old])
    agents.project.forget()
    assert {action for step, action in planned(agents).items() if step != "tool charge c2-0"} == {"reused"}
    assert "made again" not in agents.resume(ROUNDS="4")
    assert "model 0" not in agents.project.begun


ONCE = f"{ONCE_TOOL}seed >> agent(tools=[charge], tool_factories=[]{{more}})\n"


def planned(agents: Agents, *args: str, **env: Any) -> dict[str, str]:
    """Return the actions of the plan, by step, each with its reason."""
    output = agents.run("xcom", "resume", "s", "--plan", *args, **env)
    rows = re.findall(r"^  triage/\d+  (\w[a-z ]+\w)  +(.+?)(?:: (.*))?$", output, re.MULTILINE)
    assert rows, output
    return {
        step: action if reason in ("", "lost", "follows") else f"{action}: {reason}" for action, step, reason in rows
    }


@pytest.mark.promise(number=20)
def test_a_plan_says_which_failure_is_raised_again(agents: Agents) -> None:
    """Not that its call is made again."""
    agents.tasks(plain())
    agents.run("triage", code=-9, ROUNDS="4")
    failed = "status = 'failed', result = NULL, error_type = 'ValueError', error_data = :raised"
    with sqlite3.connect(agents.location.removeprefix("sqlite:///")) as rows:
        where = "step = 'tool charge c1-0'"
        rows.execute(f"UPDATE zrb_attempt SET {failed} WHERE {where}", {"raised": encode_error(ValueError("no"))})
    assert planned(agents)["tool charge c1-0"] == "raised again: survived"


@pytest.mark.promise(number=11)
def test_a_plan_says_what_it_cannot_know(agents: Agents) -> None:
    def tasks(policy: str = "", more: str = "", named: str = "") -> None:
        agents.tasks(ONCE.format(policy=policy, more=f", {more}" if more else "", named=named))

    queue = "message=lambda ctx: f\"Charge {ctx.xcom['tickets'][0]}.\""
    tasks(more=queue)
    agents.run("triage", code=-9, ROUNDS="3")
    agents.project.forget()
    lost = "tool charge c2-0"
    assert planned(agents)["model"] == "known when it runs: the message (it looks into queues)"
    assert planned(agents)[lost] == "stops: unknown"
    tasks('(unknown="tell")', queue)
    assert planned(agents)[lost] == "not repeated: unknown"
    # No key for a model, but a change that is known all the same.
    tasks(more=f"model='openai:gpt-5.2', {queue}")
    assert "OPENAI_API_KEY" in planned(agents, OPENAI_API_KEY="")["model"]
    # A completed `once` step is not made again.
    tasks(more=f"model_settings={{'temperature': 0}}, {queue}")
    assert planned(agents)["model~2"] == "stops: setting temperature is new"
    assert set(planned(agents, "--from", "triage", "--repeat-once").values()) == {"made again: forced"}
    assert planned(agents, ZRB_STORE_CHANGED_REQUEST="reuse")["model"] == "reused: setting temperature is new"
    assert not agents.project.calls


CACHE = """
from pydantic_ai.capabilities import AbstractCapability
from pydantic_ai.messages import ToolCallPart

class Cache(AbstractCapability):
    async def wrap_model_request(self, ctx, *, request_context, handler):
        log("cache", "begin")
        if answers(request_context.messages) == 0:
            return ModelResponse([ToolCallPart("charge", {"n": 0}, "cached")])
        return await handler(request_context)

agent(tools=[kill_at(11)], tool_factories=[], capabilities=[Cache()], retries=0)
"""


def test_a_plan_calls_neither_what_answers_requests_nor_tools(agents: Agents) -> None:
    agents.tasks(CACHE)
    agents.run("triage", code=-9, ROUNDS="2")
    agents.project.forget()
    planned(agents)
    assert not agents.project.begun


TOOLSET = """
from pydantic_ai import Tool
from pydantic_ai.toolsets import FunctionToolset

async def charge(n: int) -> str:
    "Charge."
    if n == 2 and once_here("killed"):
        kill_me()
    return f"receipt {n}"

async def later(ctx, tool):
    return tool if ctx.run_step > 1 else None

async def in_turn(messages, info):
    number = answers(messages)
    log(f"model {number}", "begin")
    names = ["charge", "refund", "charge"]
    if number < 3:
        yield {0: DeltaToolCall(names[number], json_args=f'{{"n": {number}}}', tool_call_id=f"c{number}")}
    else:
        yield "done"

agent(
    toolsets=[FunctionToolset(tools=[charge, Tool(charge, name="refund", prepare=later)])],
    tool_factories=[],
    model=FunctionModel(stream_function=in_turn),
)
"""


@pytest.mark.promise(number=11)
def test_a_plan_knows_toolsets_and_that_tools_may_come_later(agents: Agents) -> None:
    agents.tasks(TOOLSET)
    agents.run("triage", code=-9)
    agents.project.forget()
    kept = ("prompt", "model", "tool charge c0", "model~2", "tool refund c1", "model~3")
    assert planned(agents) == {**dict.fromkeys(kept, "reused"), "tool charge c2": "made again"}
    agents.tasks(TOOLSET.replace('"Charge."', '"Charge well."'))
    assert planned(agents)["model"] == "made again: tool charge has changed"
    described = "reused: tool charge has changed"
    assert planned(agents, ZRB_STORE_CHANGED_REQUEST="reuse")["model~3"] == described
    agents.tasks(TOOLSET.replace("ctx.run_step > 1", "False").replace('"Charge."', '"Charge well."'))
    # What a function decides at a later request is known when it runs.
    assert planned(agents, ZRB_STORE_CHANGED_REQUEST="reuse")["model~2"] == described
    agents.tasks(TOOLSET.replace('Tool(charge, name="refund", prepare=later)', 'Tool(charge, name="look")'))
    plan = planned(agents, ZRB_STORE_CHANGED_REQUEST="reuse")
    assert plan["model~2"] == "reused: tool look is new"
    agents.tasks(TOOLSET.replace("tools=[charge, ", "tools=["))
    plan = planned(agents, ZRB_STORE_CHANGED_REQUEST="reuse")
    gone = "tool charge is gone, but an answer calls tool charge, which is gone"
    assert (plan["prompt"], plan["model"]) == ("reused", f"stops: {gone}")
    assert f"{gone}, so they cannot be used" in agents.resume(code=1, ZRB_STORE_CHANGED_REQUEST="reuse")
    assert not agents.project.calls


@pytest.mark.promise(number=11)
@pytest.mark.parametrize("policy", ["reuse", "stop"])
def test_a_plan_of_answers_that_are_not_stored(agents: Agents, policy: str) -> None:
    agents.tasks(plain())
    agents.run("triage", code=-9, ROUNDS="4", ZRB_STORE_AGENTS="private")
    agents.project.forget()
    action = {"reuse": "made again", "stop": "stops"}[policy]
    assert planned(agents, ZRB_STORE_CHANGED_REQUEST=policy)["prompt"] == f"{action}: an answer is not stored"
    output = agents.resume(code=int(policy == "stop"), ROUNDS="4", ZRB_STORE_CHANGED_REQUEST=policy)
    assert "triage: an answer is not stored: " in output
    assert agents.project.begun["model 0"] == (policy == "reuse")
