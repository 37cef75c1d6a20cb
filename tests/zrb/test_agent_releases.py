"""Agents over steps on each release of zrb that can store them."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from tests.zrb.agent_project import Agents, agents, on_supported, servers, sqlite
from tests.zrb.conftest import Zrb
from zrb_store import open_store

__all__ = ["agents", "servers"]
pytestmark = [pytest.mark.slow, pytest.mark.every_release, on_supported, sqlite]

# 2.69 makes the agent that condenses a chat before it knows whether there is anything to condense.
KEY: dict[str, Any] = {"OPENAI_API_KEY": "none"}


@pytest.mark.cold
def test_two_real_processes(zrb: Zrb, agents: Agents) -> None:
    """The other tests fork a process that has loaded zrb."""
    agents.tasks(
        """
async def charge(n: int) -> str:
    log(f"tool {n}", "begin")
    if n == 20 and once_here("killed"):
        kill_me()
    return f"receipt {n}"

agent(tools=[charge], tool_factories=[])
"""
    )
    zrb.run("triage", code=-9, ROUNDS="4", ZRB_STORE_URL=agents.location, ZRB_STORE_SESSION="s")
    done = zrb.run("xcom", "resume", "s", ROUNDS="4", ZRB_STORE_URL=agents.location)
    assert done.out.strip() == "10 receipts, 210"
    agents.twice("tool 20")
    assert Counter(agents.rows("status")) == {"completed": 16, "lost": 1}


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


CHAT = """
from zrb import LLMChatTask
chat = cli.add_task(LLMChatTask(
    name="chat", message="Charge them all.", tools=[kill_at(20)], model=MODEL, yolo=True, interactive=False, retries=0,
    conversation_name="talk"))
"""


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
