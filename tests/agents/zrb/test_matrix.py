"""What a resume pays after a change: the table of the page about agents, with the plan that says so before."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.agents.zrb.project import Agents, on_supported
from tests.support.sessions import parse

pytestmark = [pytest.mark.slow, on_supported]

TABLE = (Path(__file__).parents[3] / "docs/how-to/agents.md").read_text()
ROWS = {
    row[1]: dict(zip(("rerun", "reuse", "stop"), row.groups()[1:], strict=True))
    for row in re.finditer(r"^\| ([^|]+?) \| (\d \+ \d|ends) \| (\d \+ \d|ends) \| (\d \+ \d|ends) \|$", TABLE, re.M)
}
TASK = '''
import dataclasses
try:
    from pydantic_ai.capabilities import ProcessHistory
except ImportError:
    ProcessHistory = None
from pydantic_ai.messages import UserPromptPart

async def charge(n: int) -> str:
    """Charge a customer."""
    log(f"tool {n}", "begin")
    if n == 3 and once_here(f"killed {os.environ['ZRB_STORE_SESSION']}"):
        kill_me()
    return f"receipt {n}"

async def look() -> str:
    """Look."""

async def one_at_a_time(messages, info):
    number = 1 + answers(messages)
    log(f"model {number}", "begin")
    if number <= 4 and "charge" in [tool.name for tool in info.function_tools]:
        yield {0: DeltaToolCall(name="charge", json_args=json.dumps({"n": number}), tool_call_id=f"c{number}")}
    else:
        yield "done"

def stamp(messages):
    now = UserPromptPart(f"It is {random.random()}.")
    return [*messages[:-1], dataclasses.replace(messages[-1], parts=[*messages[-1].parts, now])]

agent(tools=[charge, look], tool_factories=[], model=FunctionModel(stream_function=one_at_a_time, model_name="a"))
'''


def given(more: str) -> tuple[str, str]:
    """Return a replacement that gives the task more."""
    return "tool_factories=[],", f"tool_factories=[], {more},"


# What is replaced in the tasks: before the kill and after it, or only after it.
SAME = [
    given('system_prompt=lambda ctx: f"It is {random.random()}."'),
    given("capabilities=[ProcessHistory(stamp)]"),
]
CHANGES: dict[str, tuple[tuple[str, str], str]] = {
    "nothing": (("", ""), ""),
    "the time that a function puts into the system prompt": (SAME[0], ""),
    "the time that a capability stamps on messages": (SAME[1], ""),
    "the docstring of a tool": (("Charge a customer.", "Charge one."), "tool charge has changed"),
    "the name of the model": (('model_name="a"', 'model_name="b"'), "model function:a became function:b"),
    "the temperature": (given('model_settings={"temperature": 0}'), "setting temperature is new"),
    "the system prompt": (given('system_prompt="Be kind."'), "the system prompt has changed"),
    "the time in your message": (given('message=lambda ctx: f"It is {random.random()}."'), "the message has changed"),
    "a tool without calls is removed": (("[charge, look]", "[charge]"), "tool look is gone"),
    "a tool with stored calls is removed": (("[charge, look]", "[look]"), "tool charge is gone"),
}


@pytest.mark.promise(number=11)
@pytest.mark.oldest
@pytest.mark.parametrize("change", CHANGES)
def test_what_a_resume_pays_after_a_change(agents: Agents, change: str) -> None:
    assert list(ROWS) == list(CHANGES)
    (old, new), words = CHANGES[change]
    before = TASK.replace(old, new) if change in list(CHANGES)[:3] else TASK
    for policy, cell in reversed(ROWS[change].items()):
        env: dict[str, Any] = {"ZRB_STORE_CHANGED_REQUEST": policy}
        if policy != "reuse" or ROWS[change]["stop"] != "ends":  # what has stopped goes on
            agents.session = policy
            agents.tasks(before)
            agents.run("triage", code=-9)
        agents.tasks(TASK.replace(old, new))
        agents.project.forget()
        shown = agents.run("xcom", "resume", agents.session, "--plan", "--format", "json", **env)
        (task,) = parse("plan", shown[shown.index("{") :])["tasks"]
        planned = {one["step"]: (one["action"], one["reason"]) for one in task["agent_steps"]}
        assert not agents.project.calls
        output = agents.resume(code=int(cell == "ends"), **env)
        begun = agents.project.begun
        paid = [sum(name.startswith(kind) for name in begun) for kind in ("model", "tool")]
        assert (cell if cell == "ends" else f"{paid[0]} + {paid[1]}") == cell, output
        assert set(begun.values()) <= {1}
        # The plan is what then happens.
        action = "stops" if cell == "ends" else "made-again" if "model 1" in begun else "reused"
        assert {planned[step][0] for step in ("model", "tool charge c1", "model~2", "model~3")} == {action}
        if words and policy != "reuse":
            assert words in output
            assert words in [reason for _, reason in planned.values()]
