"""Stored answers that no longer fit: a line says what is paid again, unless a policy keeps them."""

from __future__ import annotations

import json
import re
import sqlite3
from typing import Any

import pytest

from tests.zrb.agent_project import ONCE_TOOL, Agents, agents, on_newest, servers, sqlite

__all__ = ["agents", "servers"]
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
    stopped = f"triage: {words}: `ZRB_STORE_CHANGED_REQUEST=rerun zrb xcom resume s` makes {MADE} again"
    assert re.search(stopped, output), output
    assert not agents.project.calls
    output = agents.resume(ROUNDS="4", ZRB_STORE_CHANGED_REQUEST="reuse")
    (line,) = [line for line in output.splitlines() if "used all the same" in line]
    assert re.search(f"triage: {words}: {MADE} are used all the same$", line)
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
    assert "but an answer calls tool charge, which is gone, so they cannot be used again" in output
    assert '`triage.changed_request = "rerun"` before `zrb xcom resume s` makes 3 answers' in output
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
    assert planned(agents, ZRB_STORE_AGENTS="private")["prompt"] == "made again: private"
    assert planned(agents, ZRB_STORE_CHANGED_REQUEST="reuse")["model"] == "reused: setting temperature is new"
    assert not agents.project.calls
