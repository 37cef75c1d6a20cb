"""What agents cost: what was paid, used again and thrown away, and what a person learns of it."""

from __future__ import annotations

import html
import re

import pytest

from tests.agents.zrb.project import Agents, on_newest, sqlite
from tests.agents.zrb.tasks import rounds
from tests.support.sessions import check
from zrb_store import open_store
from zrb_store.agents.conversation import conversation
from zrb_store.agents.notes import AgentCosts, Spent
from zrb_store.inspect.log import log
from zrb_store.inspect.show import open_session
from zrb_store.records import whole
from zrb_store.watch.stats import task_stats

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


def test_show_has_the_costs_of_all_attempts(agents: Agents) -> None:
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
            assert isinstance(costs, AgentCosts)
        (stats,) = task_stats(store.database)
        with log(store.database, agents.session) as session_log:
            errors = [attempt.record.error for attempt in session_log.attempts if attempt.record.error]
    assert (costs.paid.answers, costs.paid.tool_calls) == (10, 9)
    assert (costs.thrown_away.answers, costs.thrown_away.tool_calls) == (5, 4)
    assert costs.used_again == Spent()  # the last attempt has paid for everything
    executions = {step["name"]: step["executions"] for step in shown["tasks"][0]["steps"]}
    assert (executions["tool charge c1"], executions["tool charge c2"]) == (2, 3)
    tokens = check("task_stats", stats.to_json())["tokens"]
    of_money = {"answers": 10, "usd": "0", "priced_answers": 0, "unpriced_models": ["function::one_at_a_time"]}
    assert tokens["paid"] == {"input": costs.paid.input_tokens, "output": costs.paid.output_tokens, **of_money}
    assert 0 < tokens["thrown_away"]["input"] < tokens["paid"]["input"]
    told = html.unescape(agents.run("xcom", "report", agents.session))
    counts = [2, 2, 3, 2]  # executions, not attempts, of which there are more
    assert re.findall(r">tool charge \{\"n\": (\d+)\} -> .* \((\d) executions\)<", told) == [
        (str(10 * number), str(count)) for number, count in enumerate(counts)
    ]
    assert [(error.type, error.message, error.traceback or None) for error in errors] == [
        ("ModelRetry", "charge less", None)
    ] * 2


READ = """
import base64, uuid
from pydantic_ai.messages import BinaryContent

async def charge(n: int) -> object:
    if n == 20 and once_here("killed"):
        kill_me()
    return [f"receipt {n}", BinaryContent(b"PNG" * 10, media_type="image/png")] if n == 10 else f"receipt {n}"

agent(tools=[charge], tool_factories=[], model=TELLER)
"""


@sqlite
def test_the_conversation_can_be_read_and_compared(agents: Agents) -> None:
    source = rounds('f"c{number}-{uuid.uuid4()}"').replace("json.dumps(texts)", "str(len(texts))") + READ
    agents.tasks(source)
    agents.run("triage", code=-9)
    agents.resume()
    shown = agents.run("xcom", "show", "s", "--conversation")
    text = re.sub(r"[\d:]+(Z| UTC)|\S+, [\d,]+ in / \d+ out", "...", shown)
    assert "system\n[12 characters]\n\nuser\nCharge them all." in text
    assert 'tool call charge, ..., ... tokens, from the store\n{"n": 10}\n' in text
    assert "tool result charge, ..., from the store\nreceipt 10\n[image/png, 30 bytes]\n" in text
    markdown = agents.run("xcom", "show", "s", "triage", "--conversation", "--format", "markdown")
    assert "> receipt 10" in markdown.partition("### tool result charge")[2]
    with open_store(agents.location, read_only=True) as store, open_session(store.database, "s") as document:
        task, turns = conversation(document, None)
        assert task == "triage"
        assert [check("turn", turn.to_json())["role"] for turn in turns[:4]] == [
            "system",
            "user",
            "tool call",
            "tool result",
        ]
    page = agents.run("xcom", "report", "s")
    assert "> receipt 10" not in page
    told = page.partition('<h2 id="conversation-title">')[2].partition("</section>")[0]
    assert "receipt 10\n[image/png, 30 bytes]</pre>" in told
    assert "traceback" not in told  # which would be as red as an error
    agents.session = "same"
    agents.run("triage")
    assert "Their values are equal." in agents.run("xcom", "diff", "s", "same")
    agents.tasks(source.replace('else f"receipt', 'else f"a receipt'))
    agents.session = "other"
    agents.run("triage")
    differences = agents.run("xcom", "diff", "s", "other", "--format", "value", code=1).splitlines()
    assert next(line for line in differences if "conversation" in line) == "$.triage.conversation[3].text"


PRICED = """
TELLER = FunctionModel(stream_function=one_at_a_time, model_name="gpt-4o")
agent(tools=[kill_at(20)], tool_factories=[], model=TELLER)
"""


@sqlite
def test_a_plan_says_what_a_resume_pays_at_least(agents: Agents) -> None:
    """As show says afterwards of the answers that were thrown away."""
    agents.tasks(rounds() + PRICED)
    agents.run("triage", code=-9)
    agents.tasks(rounds() + PRICED.replace("tools=[", "model_settings={'temperature': 0}, tools=["))
    plan = agents.run("xcom", "resume", agents.session, "--plan")
    (again,) = re.findall(r"triage: a resume repeats (.*)", plan)
    assert re.fullmatch(r"3 answers \([\d,]+ in / [\d,]+ out tokens, \$0\.\d+\) and 2 tool calls", again), plan
    assert "a resume repeats" not in agents.run(
        "xcom", "resume", agents.session, "--plan", ZRB_STORE_CHANGED_REQUEST="reuse"
    )
    agents.resume()
    shown = " ".join(agents.run("xcom", "show", agents.session).split())
    assert f"thrown away {again}" in shown


@sqlite
def test_a_budget_in_dollars_is_a_setting_or_of_the_task(agents: Agents) -> None:
    source = rounds() + PRICED.replace("kill_at(20)", "kill_at(-1)").rstrip()
    agents.tasks(source)
    small = "usd=0.0000001"
    used = "is used, and the budget is $0.000000100"
    assert used in agents.run("triage", code=1, ZRB_STORE_BUDGET=small)
    agents.tasks(f'{source}.budget = "{small}"\n')
    assert used in agents.resume(code=1, ZRB_STORE_BUDGET="usd=2.50")
    assert agents.project.begun == {"model 0": 1, "tool 0": 1}
    agents.tasks(f'{source}.budget = "usd=2.50"\n')
    assert "all receipts" in agents.resume(ZRB_STORE_BUDGET=small)
    agents.twice()
