"""What agents cost: what was paid, used again and thrown away, and what a person learns of it."""

from __future__ import annotations

import pytest

from tests.sessions import check
from tests.zrb.agent_project import Agents, agents, on_newest, servers
from tests.zrb.agent_tasks import rounds
from zrb_store import open_store
from zrb_store.inspect.log import log
from zrb_store.inspect.show import open_session
from zrb_store.inspect.stats import task_stats
from zrb_store.records import whole

__all__ = ["agents", "servers"]
pytestmark = [pytest.mark.slow, on_newest]

# The second call asks for another try once; in the third the process is killed.
RETRYING = """
async def charge(n: int) -> str:
    log(f"tool {n}", "begin")
    if n == 10:
        raise ModelRetry("charge less")
    if n == 20 and once_here("killed"):
        kill_me()
    return f"receipt {n}"

agent(tools=[charge], tool_factories=[], model=TELLER)
"""


def test_costs(agents: Agents) -> None:
    agents.tasks(rounds() + RETRYING)
    agents.run("triage", code=-9)
    agents.resume()
    agents.run("xcom", "resume", agents.session, "--from", "triage")
    assert agents.project.begun == {
        **{f"model {n}": 2 for n in range(5)},
        "tool 0": 2,
        "tool 10": 2,
        "tool 20": 3,
        "tool 30": 2,
    }
    with open_store(agents.location, read_only=True) as store:
        with open_session(store.database, agents.session) as document:
            shown = check("show", whole(document.to_json()))
            costs = document.costs
        (stats,) = task_stats(store.database)
        with log(store.database, agents.session) as session_log:
            errors = [attempt.record.error for attempt in session_log.attempts if attempt.record.error]
    assert (costs.paid.answers, costs.paid.tool_calls) == (10, 9)
    assert (costs.thrown_away.answers, costs.thrown_away.tool_calls) == (5, 4)
    assert costs.used_again == (0, 0, 0, 0)  # the last attempt has paid for everything
    executions = {step["name"]: step["executions"] for step in shown["tasks"][0]["steps"]}
    assert (executions["tool charge c1"], executions["tool charge c2"]) == (2, 3)
    tokens = check("task_stats", stats.to_json())["tokens"]
    assert tokens["paid"] == {"input": costs.paid.input_tokens, "output": costs.paid.output_tokens}
    assert 0 < tokens["thrown_away"]["input"] < tokens["paid"]["input"]
    assert [(error.type, error.message, error.traceback or None) for error in errors] == [
        ("ModelRetry", "charge less", None)
    ] * 2
