"""What makes an agent's steps stand or not: changed requests, calls that must not be repeated, approvals, switches."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.agents.zrb.project import ONCE_TOOL, Agents, on_newest, sqlite

pytestmark = [pytest.mark.slow, on_newest, sqlite]

PLAIN = "agent(tools=[kill_at({kill})], tool_factories=[]{more})\n"


def plain(kill: int = 20, more: str = "") -> str:
    return PLAIN.format(kill=kill, more=", " + more if more else "")


def test_a_changed_answer_of_a_tool_is_seen_where_it_matters(agents: Agents) -> None:
    """A tool that was killed may answer otherwise: nothing rests on it yet. Another tool set is another request."""
    agents.tasks(plain())
    agents.run("triage", code=-9, ROUNDS="4")
    agents.tasks(
        """
async def charge(n: int) -> str:
    "A better description."
    log(f"tool {n}", "begin")
    return f"receipt {n}"

agent(tools=[charge], tool_factories=[])
"""
    )
    agents.project.forget()
    agents.resume(ROUNDS="4")
    assert "model 0" in agents.project.begun
    assert any("request changed: tool charge" in (result or "") for result in agents.rows("result"))


MANAGER = """
from zrb.llm.prompt.manager import PromptManager
more = PromptManager(prompts=["Charge."], include_sections=["system_context"])
more.add_live_context("files", lambda ctx: str(sorted(HERE.iterdir())) + str(random.random()))
more = {"prompt_manager": more}
"""
PROMPT = 'more = {"system_prompt": lambda ctx: f"Charge. {random.random()}"}\n'
STAMP = """
from pydantic_ai.capabilities import ProcessHistory
from pydantic_ai.messages import UserPromptPart

def stamp(messages):
    now = UserPromptPart(f"It is {random.random()}.")
    return [*messages[:-1], dataclasses.replace(messages[-1], parts=[*messages[-1].parts, now])]

more = {"capabilities": [ProcessHistory(stamp)]}
"""
# It changes a message in place, and has a function for instructions.
HOOKS = """
from pydantic_ai.capabilities import AbstractCapability
from pydantic_ai.messages import UserPromptPart

class Stamping(AbstractCapability):
    async def before_model_request(self, ctx, request):
        request.messages[-1].parts.append(UserPromptPart(f"It is {random.random()}."))
        return request

    def get_instructions(self):
        return lambda ctx: f"It is {random.random()}."

more = {"capabilities": [Stamping()]}
"""


@pytest.mark.promise(number=11)
@pytest.mark.parametrize("declared", [MANAGER, PROMPT, STAMP, HOOKS], ids=["sections", "prompt", "stamp", "hooks"])
def test_what_changes_by_itself_does_not_matter(agents: Agents, declared: str) -> None:
    declared = "import dataclasses\n" + declared + "agent(tools=[kill_at(20)], tool_factories=[], **more)\n"
    agents.tasks(declared)
    agents.run("triage", code=-9, ROUNDS="4")
    (agents.project.folder / "Makefile").touch()  # zrb names it in the instructions
    if declared.count("random()}") == 0:
        agents.resume(ROUNDS="4")
        agents.twice("tool 20")
        return
    # The function's code has changed once, and then it has not.
    agents.tasks(declared.replace("It is", "Now it is").replace("Charge. {", "Charge them. {").replace("20", "30"))
    (agents.project.folder / "killed").unlink()
    agents.project.forget()
    agents.resume(code=-9, ROUNDS="4")
    assert "model 0" in agents.project.begun
    agents.resume(ROUNDS="4")
    agents.twice("tool 30")


def test_other_code_that_gives_the_same_instructions_does_not_matter(agents: Agents) -> None:
    declared = "agent(tools=[kill_at(20)], tool_factories=[], system_prompt=lambda ctx: {})\n"
    agents.tasks(declared.format("'Charge.'"))
    agents.run("triage", code=-9, ROUNDS="4")
    agents.tasks(declared.format("'.'.join(('Charge', ''))"))
    agents.resume(ROUNDS="4")
    agents.twice("tool 20")


ONCE = f"{ONCE_TOOL}agent(tools=[charge], tool_factories=[]{{more}})\n".replace("{named}", "")


@pytest.mark.promise(number=11)
def test_a_call_that_must_not_be_repeated(agents: Agents) -> None:
    agents.tasks(ONCE.format(policy="", more=""))
    agents.run("triage", code=-9, ROUNDS="4")
    output = agents.resume(code=1, ROUNDS="4")
    assert "step tool charge c2-0 of task triage" in output
    assert "its end is unknown" in output
    agents.twice()
    assert "tool 21" not in agents.project.begun
    # A changed request does not discard what has completed.
    agents.tasks(ONCE.format(policy="", more=', system_prompt="Be kind."'))
    assert "declared `once`, but might run again (request changed: instructions)" in agents.resume(code=1, ROUNDS="4")
    agents.twice()


def test_the_agent_is_told_that_the_outcome_is_unknown(agents: Agents) -> None:
    agents.tasks(ONCE.format(policy='(unknown="tell")', more=""))
    agents.run("triage", code=-9, ROUNDS="4")
    assert "10 receipts, 190" in agents.resume(ROUNDS="4")  # all but 20
    agents.twice()
    (told,) = [result for result in agents.rows("result") if result and "unknown" in result]
    assert "It is unknown whether this call took effect" in told


@pytest.mark.parametrize("names", ['["charge"]', '{"charge": "tell"}'])
def test_tools_named_by_the_task(agents: Agents, names: str) -> None:
    agents.tasks(plain().rstrip() + f".once_tools = {names}\n")
    agents.run("triage", code=-9, ROUNDS="4")
    agents.resume(code=0 if "tell" in names else 1, ROUNDS="4")
    agents.twice()


@pytest.mark.promise(number=11)
def test_approvals_are_asked_for_once(agents: Agents) -> None:
    agents.tasks(
        """
from pydantic_ai import ToolApproved, ToolDenied
async def ask(call):
    log(f"ask {call.tool_call_id}", "begin")
    return ToolDenied("too much") if "11" in str(call.args) else ToolApproved()

agent(tools=[kill_at(20)], tool_factories=[], yolo=False, tool_confirmation=ask)
"""
    )
    agents.run("triage", code=-9, ROUNDS="4")
    output = agents.resume(ROUNDS="4")
    agents.twice("tool 20")
    assert "tool 11" not in agents.project.begun
    assert "10 receipts, 199" in output
    assert sum(name.startswith("approval") for name in agents.rows("step")) == 10


@pytest.mark.promise(number=11)
def test_each_approval_is_a_step_of_its_own(agents: Agents) -> None:
    agents.tasks(
        """
from pydantic_ai import ToolApproved
async def ask(call):
    log(f"ask {call.tool_call_id}", "begin")
    if call.tool_call_id == "c2-2" and once_here("killed"):
        kill_me()
    return ToolApproved()

agent(tools=[kill_at(-1)], tool_factories=[], yolo=False, tool_confirmation=ask)
"""
    )
    agents.run("triage", code=-9, ROUNDS="3")
    assert "6 receipts, 84" in agents.resume(ROUNDS="3")
    agents.twice("ask c2-2")


def test_an_agent_inside_a_tool_belongs_to_the_tool(agents: Agents) -> None:
    agents.tasks(
        """
from zrb.llm.agent import create_agent, run_agent
from zrb.llm.config.limiter import llm_limiter

async def inner(messages, info):
    number = answers(messages)
    log(f"inner {number}", "begin")
    if number == 0:
        yield {0: DeltaToolCall(name="look", json_args="{}", tool_call_id="look-1")}
    else:
        if (HERE / "second").exists() and once_here("killed"):
            kill_me()
        yield "seen"

def look() -> str:
    log("look", "begin")
    return "a view"

async def charge(n: int) -> str:
    if n == 20:
        (HERE / "second").touch()
    helper = create_agent(model=FunctionModel(stream_function=inner), tools=[look], yolo=True, resolve_model=False)
    text, _ = await run_agent(helper, "look", [], llm_limiter, yolo=True)
    return f"receipt {n} {text}"

async def one_at_a_time(messages, info):
    number = answers(messages)
    log(f"model {number}", "begin")
    if number < 4:
        yield {0: DeltaToolCall(name="charge", json_args=f'{{"n": {number * 10}}}', tool_call_id=f"c{number}")}
    else:
        yield "done"

agent(tools=[charge], tool_factories=[], model=FunctionModel(stream_function=one_at_a_time))
"""
    )
    agents.run("triage", code=-9)
    assert agents.project.begun == {"model 0": 1, "model 1": 1, "model 2": 1, "inner 0": 3, "look": 3, "inner 1": 3}
    agents.resume()
    # The call in the middle is run again as a whole. The completed ones are not.
    assert agents.project.begun["inner 0"] == agents.project.begun["look"] == 5
    assert agents.project.begun["model 2"] == 1
    names = {name.partition("~")[0] for name in agents.rows("step")}
    assert names == {"prompt", "model", "tool charge c0", "tool charge c1", "tool charge c2", "tool charge c3"}


def test_tools_of_a_toolset(agents: Agents) -> None:
    """Tools of MCP servers come in such toolsets."""
    agents.tasks(
        """
from pydantic_ai.toolsets import FunctionToolset
agent(toolsets=[FunctionToolset(tools=[kill_at(20)])], tool_factories=[])
"""
    )
    agents.run("triage", code=-9, ROUNDS="4")
    agents.resume(ROUNDS="4")
    agents.twice("tool 20")


@pytest.mark.promise(number=11)
def test_a_request_that_fails_is_made_again(agents: Agents) -> None:
    """zrb begins the round anew when a provider is overloaded: what was answered in it is not asked again."""
    agents.tasks(
        """
from pydantic_ai.exceptions import ModelHTTPError
from zrb.config.config import CFG
CFG.LLM_API_MAX_WAIT = 0

async def overloaded(messages, info):
    number = answers(messages)
    if number == 3 and once_here("overloaded"):
        log(f"model {number}", "begin")
        raise ModelHTTPError(503, "model", "overloaded")
    async for part in think(messages, info):
        yield part

agent(tools=[kill_at(-1)], tool_factories=[], model=FunctionModel(stream_function=overloaded))
"""
    )
    agents.run("triage", ROUNDS="4")
    agents.twice("model 3")
    assert agents.rows(where="status <> 'completed'") == [("model~4", "failed")]


def test_a_retry_of_the_task_goes_on_from_the_steps(agents: Agents) -> None:
    agents.tasks(
        """
async def broken(messages, info):
    number = answers(messages)
    if number == 3 and once_here("broken"):
        log(f"model {number}", "begin")
        raise RuntimeError("broken")
    async for part in think(messages, info):
        yield part

agent(tools=[kill_at(-1)], tool_factories=[], conversation_name="fixed", retries=1, retry_period=0,
      model=FunctionModel(stream_function=broken))
"""
    )
    agents.run("triage", ROUNDS="4")
    agents.twice("model 3")


def test_usage_is_counted_once(agents: Agents) -> None:
    agents.tasks(
        """
class Dying(LLMTask):
    def post_process_output(self, output):
        if once_here("killed"):
            kill_me()
        return super().post_process_output(output)

agent(cls=Dying, tools=[kill_at(20)], tool_factories=[])
"""
    )
    (agents.project.folder / "killed").touch()
    agents.run("triage", ROUNDS="2")
    (agents.project.folder / "killed").unlink()
    agents.session = "killed"
    agents.run("triage", code=-9, ROUNDS="4")  # in the middle, before the usage is counted
    (agents.project.folder / "killed").unlink()
    agents.run("triage", code=-9, ROUNDS="4")  # after it was counted
    agents.run("triage", ROUNDS="4")
    logs = (agents.project.folder.parent / "home" / ".zrb" / "llm-usage").glob("*.jsonl")
    lines = [json.loads(line) for log in logs for line in log.read_text().splitlines()]
    assert [(line["requests"], line["tool_calls"]) for line in lines] == [(3, 3), (5, 10)]


@pytest.mark.parametrize("off", ["ZRB_STORE_AGENTS", "attribute"])
def test_an_agent_that_is_switched_off_stores_no_steps(agents: Agents, off: str) -> None:
    agents.tasks(plain() if off == "ZRB_STORE_AGENTS" else plain().rstrip() + ".store_agent = False\n")
    env: dict[str, Any] = {"ZRB_STORE_AGENTS": "off"} if off == "ZRB_STORE_AGENTS" else {}
    agents.run("triage", code=-9, ROUNDS="4", **env)
    agents.resume(ROUNDS="4", **env)
    assert agents.rows() == []
    assert agents.project.begun["model 0"] == 2


def test_a_wrong_switch_is_refused(agents: Agents) -> None:
    agents.tasks(plain())
    assert "ZRB_STORE_AGENTS is 'of': set it to on or off or private" in agents.run(
        "triage", code=2, ZRB_STORE_AGENTS="of"
    )
    agents.tasks(plain().rstrip() + '.store_agent = "of"\n')
    assert """triage.store_agent is 'of': set it to True, False or "private\"""" in agents.run("triage", code=2)


def test_prompts_and_answers_may_stay_out_of_the_store(agents: Agents) -> None:
    agents.tasks(
        ONCE.format(policy="", more=', message="a-secret-question"').replace(
            "if n == 20", 'if n == 0:\n        raise ValueError("a-secret-error")\n    if n == 20'
        )
        + 'cli.extract_node(["triage"])[0].store_agent = "private"\n'
    )
    output = agents.run("triage", code=-9, ROUNDS="4")
    assert output.count("stores neither prompts nor answers: if it is interrupted, it starts from the beginning") == 1
    columns = ("arguments", "result", "error_message", "error_traceback")
    texts = agents.rows(" || ".join(f"coalesce({name}, '')" for name in columns))
    assert not any("receipt" in text or "a-secret" in text or '"n"' in text for text in texts)
    assert '"input_tokens":' in texts[1]
    assert set(agents.rows("restorable", where="status = 'completed'")) == {0}
    # Nothing is replayed, but a call that must not be repeated is not.
    assert "declared `once`" in agents.resume(code=1, ROUNDS="4")
