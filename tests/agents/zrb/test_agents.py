"""Agents over steps: an agent that is killed goes on where it was, and nothing that it has done is done again."""

from __future__ import annotations

import random
import re
from typing import Any

import pytest

from tests.agents.zrb.fire import ONE_AT_A_TIME, done_as, fire, rewind, undisturbed
from tests.agents.zrb.kinds import KINDS
from tests.agents.zrb.project import Agents, on_newest, sqlite
from zrb_store import open_store

pytestmark = [pytest.mark.slow, on_newest]

KILLS = 3


@pytest.mark.long_on_postgresql
@pytest.mark.promise(number=11)
def test_random_kills_repeat_no_completed_call(agents: Agents) -> None:
    """`make crash` kills two hundred agents."""
    agents.tasks("seed >> agent()\n")
    figures: list[Any] = []
    expected = undisturbed(agents.warm, agents.project, agents.location, "undisturbed")
    while sum(one.kills for one in figures) < KILLS:
        session = f"agent{len(figures)}"
        figures.append(fire(agents.warm, agents.project, agents.location, session, expected, KILLS, random.Random()))


HOSTILE = r"nul \x00 half a pair \ud800 red \x1b[31m"


@pytest.mark.promise(number=11)
def test_hostile_texts_come_back_and_reach_no_terminal(agents: Agents) -> None:
    """They come back as they are, on both databases, and nothing of them reaches a terminal."""
    agents.tasks(
        f'BAD = "{HOSTILE}"\n'
        + """
async def charge(n: int) -> str:
    log(f"tool {n}", "begin")
    if n == 10:
        raise ValueError(BAD)
    if n == 20 and once_here("killed"):
        kill_me()
    return f"receipt {n} {BAD}"

async def bad(messages, info):
    number = answers(messages)
    log(f"model {number}", "begin")
    texts = [str(p.content) for one in messages for p in one.parts if isinstance(p, ToolReturnPart)]
    if number < 4:
        ended = [f"receipt {n} {BAD}" if n != 10 else f"Error executing tool charge: {BAD}" for n in (0, 10, 20, 30)]
        assert texts == ended[:number]
        yield BAD
        yield {0: DeltaToolCall(name="charge", json_args=json.dumps({"n": number * 10}), tool_call_id=f"{BAD}{number}")}
    else:
        yield "done"

agent(
    tools=[charge], tool_factories=[], message=BAD, system_prompt=BAD, conversation_name="fixed",
    model=FunctionModel(stream_function=bad))
"""
    )
    agents.run("triage", code=-9)
    agents.resume()
    agents.twice("tool 20")
    shown = agents.run("xcom", "show", "s", COLUMNS="200")
    assert "receipt 20" in shown
    assert not re.search("[\x00\x1b\ud800]", shown)


LONG = "with the tools of an MCP server"  # as those that give pictures


@pytest.mark.promise(number=11)
@sqlite
@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=pytest.mark.long) if kind == LONG else kind for kind in KINDS if kind != "plain"]
)
def test_kills_of_each_kind(agents: Agents, kind: str) -> None:
    """`make crash` kills them more often."""
    agents.tasks(KINDS[kind])
    few: Any = {"ROUNDS": "5"}
    expected = undisturbed(agents.warm, agents.project, agents.location, "undisturbed", **few)
    kills = sessions = 0
    while kills < 2:
        sessions += 1
        where = (agents.project, agents.location, f"agent{sessions}")
        kills += fire(agents.warm, *where, expected, 2, random.Random(), **few).kills


@pytest.mark.promise(number=11)
@sqlite
def test_a_conversation_with_a_fixed_name_resumes_from_its_steps(agents: Agents) -> None:
    """zrb's own checkpoint would be ahead of the steps, and its history would hold a call that was undone."""
    agents.tasks(
        """
async def slow(messages, info):
    if answers(messages) == 3 and once_here("killed"):  # the checkpoint of the round before may be written by now
        await asyncio.sleep(1)
        kill_me()
    async for part in think(messages, info):
        yield part

agent(tools=[kill_at(-1)], tool_factories=[], conversation_name="fixed", model=FunctionModel(stream_function=slow))
"""
    )
    agents.run("triage", code=-9, ROUNDS="5")
    histories = agents.project.folder.parent / "home" / ".zrb" / "llm-history"
    assert not (histories / "fixed.json").exists()
    assert "15 receipts, 420" in agents.resume(ROUNDS="5")
    agents.twice()
    first = (histories / "fixed.json").read_text()
    # The conversation goes on in another session, and the resumed agent's turn is part of it.
    agents.session = "later"
    agents.run("triage", ROUNDS="6")
    assert len((histories / "fixed.json").read_text()) > len(first)


@sqlite
def test_a_turn_that_is_added_before_the_resume_is_overwritten(agents: Agents) -> None:
    """A documented limit: the resumed agent goes on with the conversation that it started from."""
    agents.tasks(
        """
agent(tools=[kill_at(20)], tool_factories=[], conversation_name="fixed")
agent(name="remark", message="A remark.", tool_factories=[], conversation_name="fixed")
"""
    )
    agents.run("triage", code=-9, ROUNDS="4")
    history = agents.project.folder.parent / "home" / ".zrb" / "llm-history" / "fixed.json"
    agents.run("remark", ROUNDS="0", ZRB_STORE_SESSION="between")
    assert "A remark." in history.read_text()
    agents.resume(ROUNDS="4")
    assert "Charge them all." in history.read_text()
    assert "A remark." not in history.read_text()


@sqlite
def test_a_kill_between_the_saved_conversation_and_the_completion(agents: Agents) -> None:
    agents.tasks(
        """
class Dying(LLMTask):
    def post_process_output(self, output):
        if once_here("killed"):
            kill_me()
        return super().post_process_output(output)

agent(cls=Dying, tools=[kill_at(-1)], tool_factories=[], conversation_name="fixed")
"""
    )
    agents.run("triage", code=-9, ROUNDS="3")
    history = agents.project.folder.parent / "home" / ".zrb" / "llm-history" / "fixed.json"
    before = history.read_text().count("tool-call")
    assert "6 receipts" in agents.resume(ROUNDS="3")
    agents.twice()
    assert history.read_text().count("tool-call") == before


@pytest.mark.promise(number=11)
@sqlite
def test_a_structured_result_survives_a_kill_anywhere(agents: Agents) -> None:
    """The agent is killed amid each request, amid each call, and when it has its result."""
    agents.tasks(
        """
from pydantic import BaseModel
from zrb.llm.agent import create_agent

class Report(BaseModel):
    total: int

class Typed(LLMTask):
    def _create_agent(self, ctx, system_prompt=None, toolsets=None):
        return create_agent(
            model=self.get_model(ctx), system_prompt=system_prompt, tools=self.get_all_tools(ctx), output_type=Report,
            yolo=True, resolve_model=False)

    def post_process_output(self, output):
        here("result")
        return {"total": output.total}

def here(name):
    log(name, "begin")
    if once_here(name):
        kill_me()

async def charge(n: int) -> str:
    here(f"tool {n}")
    return f"receipt {n}"

async def report(messages, info):
    number = answers(messages)
    here(f"model {number}")
    if number == 0:
        yield {0: DeltaToolCall(name="charge", json_args='{"n": 1}', tool_call_id="a")}
    elif number == 1:
        yield {0: DeltaToolCall(name=info.output_tools[0].name, json_args='{"total": "much"}', tool_call_id="b")}
    elif number == 2:
        yield {0: DeltaToolCall(name="charge", json_args='{"n": 2}', tool_call_id="c")}
    else:
        yield {0: DeltaToolCall(name=info.output_tools[0].name, json_args='{"total": 7}', tool_call_id="d")}

agent(cls=Typed, tools=[charge], tool_factories=[], model=FunctionModel(stream_function=report))
"""
    )
    agents.run("triage", code=-9)
    for _ in range(6):
        agents.resume(code=-9)
    assert "{'total': 7}" in agents.resume()
    agents.twice("model 0", "tool 1", "model 1", "model 2", "tool 2", "model 3", "result")
    assert agents.live("triage") == [{"total": 7}]


@sqlite
def test_mark_settles_a_lost_call_and_show_has_its_result(agents: Agents) -> None:
    agents.tasks("agent(tools=[kill_at(20)], tool_factories=[]).once_tools = ['charge']\n")
    agents.run("triage", code=-9, ROUNDS="4")
    agents.resume(code=1, ROUNDS="4")
    agents.run(
        "xcom", "mark", "s", "triage", "--step", "tool charge c2-0", "completed", "--result", '"receipt 20"', ROUNDS="4"
    )
    agents.resume(ROUNDS="4")
    agents.twice()
    shown = agents.run("xcom", "show", "s", COLUMNS="200")
    assert "prompt: Charge them all." in shown
    assert re.search(r"model 2: function::think, \d+ in / \d+ out tokens", shown)
    assert 'tool charge {"n": 10} -> receipt 10' in shown
    paid, used_again = r"paid 5 answers \(.* tokens\) and 10 tool calls", r"used again 3 answers \(.* tokens\)"
    assert re.search(f"{paid}; {used_again}", shown)


@pytest.mark.promise(number=11)
@sqlite
def test_a_rewind_keeps_what_was_before(agents: Agents) -> None:
    agents.tasks("seed >> agent(tool_factories=[tools_of])\n")
    agents.run("triage", ROUNDS="4")
    moments = agents.rows("step, started_at, ended_at")
    before = agents.rows("step, status, arguments, result")
    for step, begun, _ in moments[1:]:
        agents.project.forget()
        name = f"before-{step.replace(' ', '-').replace('~', '-')}"
        agents.session = "s"
        agents.run("xcom", "fork", "s", "--from", "triage", "--step", step, "--name", name)
        agents.session = name
        assert "10 receipts, 210" in agents.resume(ROUNDS="4")
        # Parallel calls that had not completed when the step began are run again.
        kept = {done_as(one) for one, _, ended in moments if ended <= begun}
        assert not kept & set(agents.project.begun), step
        assert sorted(agents.live("out")) == [0, 10, 11, 20, 21, 22, 30, 31, 32, 33]
    with open_store(agents.location, read_only=True) as store:
        session = store.session("s").record().id
    assert agents.rows("step, status, arguments, result", where=f"session_id = {session}") == before


@sqlite
def test_a_rewind_to_another_model(agents: Agents) -> None:
    """What a fork has copied is kept, although the model is another one now."""
    agents.tasks("agent(tools=[kill_at(-1)], tool_factories=[])\n")
    agents.run("triage", ROUNDS="4")
    agents.run("xcom", "fork", "s", "--from", "triage", "--step", "model~3", "--name", "other")
    agents.project.forget()
    agents.tasks(
        """
async def short(messages, info):
    log(f"model {answers(messages)}", "begin")
    yield f"{info.instructions.strip()} {len(messages)} receipts"

agent(tools=[kill_at(-1)], tool_factories=[], model=FunctionModel(stream_function=short), system_prompt="Be short.")
"""
    )
    agents.session = "other"
    assert agents.run("xcom", "resume", "other", "--plan").count("reused") == 6
    assert "Be short. 5 receipts" in agents.resume(ROUNDS="4")
    assert agents.project.begun == {"model 2": 1}


@pytest.mark.promise(number=11)
@sqlite
def test_a_rewind_at_any_step(agents: Agents) -> None:
    """`make crash` rewinds at each of fifty."""
    agents.tasks(ONE_AT_A_TIME)
    assert rewind(agents.warm, agents.project, agents.location, 6, slice(None, None, 3)) == 5
