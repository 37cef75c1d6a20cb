"""Agents of zrb that wait for a person: for the approval of calls, and for a larger budget."""

from __future__ import annotations

import pytest

from tests.agents.zrb.project import Agents, on_newest, on_supported, sqlite
from tests.agents.zrb.tasks import rounds

pytestmark = [pytest.mark.slow, pytest.mark.promise(number=18)]

TRIAGE = """
task = agent(tools=[kill_at(10)], tool_factories=[], yolo=False, retries=2, retry_period=0)
task.wait_for_approval = True
"""


@pytest.mark.oldest
@on_supported
@sqlite
def test_calls_wait_for_an_approval(agents: Agents) -> None:
    """The calls of an answer wait together; one is denied, another one is killed, and nothing is paid again."""
    agents.tasks(TRIAGE)
    said = agents.run("triage", code=75, ROUNDS="2")
    assert 'session s waits for triage: approval c0-0: charge {"n": 0}; `zrb xcom approve s c0-0` answers' in said
    assert "s" in agents.run("xcom", "list", "--status", "waiting")
    agents.run("xcom", "resume", "--ready", ROUNDS="2")
    assert agents.project.begun == {"model 0": 1}
    assert 'approved: charge {"n": 0}' in agents.run("xcom", "approve", "s")
    agents.resume(code=75, ROUNDS="2")
    assert "c1-0 (charge " in agents.run("xcom", "approve", "s", code=2)
    agents.run("xcom", "approve", "s", "c1-1", "--deny", "--reason", "Not that one.")
    agents.run("xcom", "approve", "s", "c1-0")
    agents.resume(code=-9, ROUNDS="2")
    assert "3 receipts, 10" in agents.resume(ROUNDS="2")
    agents.twice("tool 10")
    shown = agents.run("xcom", "show", "s", "triage", "--conversation", ROUNDS="2")
    assert "Not that one." in shown
    assert agents.rows("count(*)", "step LIKE 'model%' AND status = 'completed'") == [3]


@on_newest
@sqlite
def test_a_call_that_a_policy_asks_about_waits(agents: Agents) -> None:
    """zrb would deny it, because nobody is there; what a function of the user decides stands, if it decides."""
    agents.tasks(
        """
from zrb.llm.permission import ASK, PermissionPolicy, Rule
asked = agent(tools=[kill_at(-1)], tool_factories=[], permissions=PermissionPolicy((Rule("*", ASK),)))
asked.wait_for_approval = True
decided = agent(name="decided", tools=[kill_at(-1)], tool_factories=[], yolo=False, tool_confirmation=lambda call: True)
decided.wait_for_approval = True
unsure = agent(name="unsure", tools=[kill_at(-1)], tool_factories=[], yolo=False, tool_confirmation=lambda call: None)
unsure.wait_for_approval = True
"""
    )
    assert "approval c0-0" in agents.run("triage", code=75, ROUNDS="1")
    agents.run("xcom", "approve", "s")
    assert "1 receipts" in agents.resume(ROUNDS="1")
    assert "1 receipts" in agents.run("decided", ROUNDS="1", ZRB_STORE_SESSION="other")
    assert "approval c0-0" in agents.run("unsure", code=75, ROUNDS="1", ZRB_STORE_SESSION="third")


@pytest.mark.oldest
@on_supported
@sqlite
@pytest.mark.parametrize("waits", [False, True])
def test_a_budget_that_is_used_up(agents: Agents, waits: bool) -> None:
    """Without a wait the task ends, with one line and without a retry."""
    agents.tasks(
        rounds() + f"task = agent(tools=[kill_at(-1)], tool_factories=[], model=TELLER, retries=2, retry_period=0)\n"
        f"task.wait_for_approval = {waits}\n"
    )
    said = agents.run("triage", code=75 if waits else 1, ZRB_STORE_BUDGET="tokens=60")
    assert "tokens are used, and the budget is 60" in said
    assert agents.project.begun == {"model 0": 1, "tool 0": 1, "model 1": 1, "tool 10": 1}, agents.project.begun
    if waits:
        agents.run("xcom", "approve", "s", "--budget", "tokens=100000")
        agents.resume(ZRB_STORE_BUDGET="tokens=60")
    else:
        assert "such as tokens=212 (in ZRB_STORE_BUDGET" in said
        assert "`zrb-store resume s` continues it" in said or "`zrb xcom resume s` continues it" in said
        agents.resume(ZRB_STORE_BUDGET="tokens=100000")
    agents.twice()
    assert agents.project.begun["model 4"] == 1
