"""Calls of tools that are out of the ordinary: each is executed as without a store, and replayed as it ended."""

from __future__ import annotations

import pytest

from tests.agents.zrb.project import Agents, on_newest, on_supported, sqlite
from tests.agents.zrb.tasks import rounds

pytestmark = [pytest.mark.slow, sqlite]


@pytest.mark.promise(number=11)
@on_supported
def test_an_id_that_comes_again_names_another_call(agents: Agents) -> None:
    """Some models number their calls anew in each answer."""
    agents.tasks(rounds('"call_0"') + "agent(tools=[kill_at(20)], tool_factories=[], model=TELLER)\n")
    agents.run("triage", code=-9)
    assert 'all receipts: ["receipt 0", "receipt 10", "receipt 20", "receipt 30"]' in agents.resume()
    agents.twice("tool 20")
    tools = agents.rows("step", where="status = 'completed' AND step LIKE 'tool%'")
    assert tools == [f"tool charge call_0{more}" for more in ("", "~2", "~3", "~4")]


@pytest.mark.promise(number=11)
@on_newest
def test_ids_that_look_like_the_names_of_other_calls(agents: Agents) -> None:
    """Names of steps show the second use of an id with ~2."""
    agents.tasks(
        rounds('["x", "x", "x~2", "x~2"][number]') + "agent(tools=[kill_at(99)], tool_factories=[], model=TELLER)\n"
    )
    assert '["receipt 0", "receipt 10", "receipt 20", "receipt 30"]' in agents.run("triage")
    agents.twice()
    names = ["tool charge x", "tool charge x~2", 'tool charge "x~2"', 'tool charge "x~2"~2']
    assert agents.rows("step", where="step LIKE 'tool%'") == names


@pytest.mark.promise(number=11)
@on_newest
def test_an_approval_of_an_id_that_comes_again(agents: Agents) -> None:
    """It is asked for again: what was decided about another call is no approval."""
    agents.tasks(
        rounds('"call_0"')
        + """
from pydantic_ai import ToolApproved, ToolDenied

async def ask(call):
    log(f"ask {call.args}", "begin")
    return ToolDenied("too much") if "10" in call.args else ToolApproved()

agent(tools=[kill_at(20)], tool_factories=[], model=TELLER, yolo=False, tool_confirmation=ask)
"""
    )
    agents.run("triage", code=-9)
    assert '["receipt 0", "too much", "receipt 20", "receipt 30"]' in agents.resume()
    agents.twice("tool 20")
    assert sum(name.startswith("ask") for name in agents.project.begun) == 4
    assert "tool 10" not in agents.project.begun


@on_newest
def test_an_id_that_comes_again_after_an_overloaded_provider(agents: Agents) -> None:
    agents.tasks(
        rounds('"call_0"')
        + """
from pydantic_ai.exceptions import ModelHTTPError
from zrb.config.config import CFG
CFG.LLM_API_MAX_WAIT = 0

async def overloaded(messages, info):
    if answers(messages) == 3 and once_here("overloaded"):
        raise ModelHTTPError(503, "model", "overloaded")
    async for part in one_at_a_time(messages, info):
        yield part

agent(tools=[kill_at(30)], tool_factories=[], model=FunctionModel(stream_function=overloaded))
"""
    )
    agents.run("triage", code=-9)
    assert '["receipt 0", "receipt 10", "receipt 20", "receipt 30"]' in agents.resume()
    agents.twice("tool 30")


OWN_RETRY = """
class Again(ModelRetry):
    def __init__(self, n):
        super().__init__(f"not {n}")

async def refuse(n):
    raise Again(n)

CHARGE
agent(tools=[charge], tool_factories=[])
"""
TOO_LONG = """
from pydantic_ai import Tool

async def refuse(n):
    await asyncio.sleep(60)

CHARGE
agent(tools=[Tool(charge, timeout=0.5)], tool_factories=[])
"""
CHARGE = """
async def charge(n: int) -> str:
    log(f"tool {n}", "begin")
    if n == 10:
        await refuse(n)
    if n == 20 and once_here("killed"):
        kill_me()
    return f"receipt {n}"
"""


@on_newest
@pytest.mark.parametrize("tasks", [OWN_RETRY, TOO_LONG], ids=["a retry of the user's own class", "too long"])
def test_what_the_model_was_told_of_a_call_it_is_told_again(agents: Agents, tasks: str) -> None:
    agents.tasks(tasks.replace("CHARGE", CHARGE))
    agents.run("triage", code=-9, ROUNDS="4")
    agents.resume(ROUNDS="4")
    agents.twice("tool 20")


EDITED = """
from pydantic_ai import ToolApproved

async def ask(call):
    log(f"ask {call.tool_call_id}", "begin")
    return ToolApproved(override_args={"n": 1000 + json.loads(call.args)["n"]})

async def charge(n: int) -> str:
    log(f"tool {n}", "begin")
    if n == 1020 and once_here("killed"):
        kill_me()
    return f"receipt {n}"

agent(tools=[charge], tool_factories=[], yolo=False, tool_confirmation=ask, model=TELLER)
"""


def same_as_undisturbed(agents: Agents, again: str) -> None:
    """Check that a killed agent answers as an undisturbed one, and has run one call twice."""
    killed = agents.project.folder / "killed"
    killed.touch()
    agents.session = "undisturbed"
    expected = [line for line in agents.run("triage").splitlines() if "all receipts" in line]
    killed.unlink()
    agents.project.forget()
    agents.session = "s"
    agents.run("triage", code=-9)
    assert [line for line in agents.resume().splitlines() if "all receipts" in line] == expected
    agents.twice(again)
    assert "1020" in expected[0]


@on_newest
def test_edited_arguments_of_an_approved_call(agents: Agents) -> None:
    """zrb tells the model in the call's result that a person has edited its arguments."""
    agents.tasks(rounds() + EDITED)
    same_as_undisturbed(agents, "tool 1020")
    told = agents.rows("result", where="step LIKE 'tool%approved' AND status = 'completed'")
    assert ["edited this tool call" in text for text in told] == [True] * 8
    assert "and 5 tool calls; used again" in agents.run("xcom", "show", "s", COLUMNS="200")


# Its arguments are no text, so that a hook of zrb can rewrite them.
REWRITTEN = """
from contextlib import asynccontextmanager

from pydantic_ai.messages import TextPart, ToolCallPart
from pydantic_ai.models import CompletedStreamedResponse
from zrb.llm.hook.interface import HookResult
from zrb.llm.hook.manager import HookManager
from zrb.llm.hook.types import HookEvent

async def rewrite(context):
    log(f"hook {context.tool_input['n']}", "begin")
    new = {"permissionDecision": "allow", "updatedInput": {"n": context.tool_input["n"] + 1000}}
    return HookResult(modifications={"hookSpecificOutput": new})

manager = HookManager(search_dirs=[])
manager.add_hook(rewrite, events=[HookEvent.PRE_TOOL_USE])

class Provider(FunctionModel):
    @asynccontextmanager
    async def request_stream(self, messages, settings, parameters, context=None):
        number = answers(messages)
        log(f"model {number}", "begin")
        texts = [str(p.content) for one in messages for p in one.parts if isinstance(p, ToolReturnPart)]
        part = TextPart(f"all receipts: {texts}")
        if number < 4:
            part = ToolCallPart("charge", {"n": 10 * number}, tool_call_id=f"c{number}")
        yield CompletedStreamedResponse(ModelResponse([part]), model_request_parameters=parameters, replay_events=True)

agent(
    tools=[kill_at(1020)], tool_factories=[], yolo=False, hook_manager=manager,
    model=Provider(stream_function=think))
"""


@pytest.mark.promise(number=11)
@on_newest
def test_arguments_that_a_hook_has_rewritten(agents: Agents) -> None:
    """A call that was killed runs again with the arguments that it was approved with."""
    agents.tasks(REWRITTEN)
    same_as_undisturbed(agents, "tool 1020")
    assert "tool 20" not in agents.project.begun


@on_newest
@pytest.mark.parametrize("decision", [None, '"receipt 7"'])
def test_what_nobody_has_decided_is_decided_later(agents: Agents, decision: str | None) -> None:
    """Without anybody to ask, or with an answer that is no decision, zrb's agent fails. It goes on with one."""
    given = f", tool_confirmation=lambda call: {decision}" if decision else ""
    agents.tasks(rounds() + f"agent(tools=[kill_at(-1)], tool_factories=[], model=TELLER, yolo=False{given})\n")
    assert "Invalid approval result" in agents.run("triage", code=1)
    agents.tasks(rounds() + EDITED.replace('once_here("killed")', "False"))
    assert "receipt 1030" in agents.resume()
    agents.twice()


# The model gives its calls new ids each time, as models do.
FRESH = """
import secrets

def tools_of(ctx):
    async def charge(n: int) -> str:
        log(f"tool {n}", "begin")
        ctx.xcom["tickets"].pop()
        ctx.xcom["out"].push([n, os.getpid()])
        if n == 20 and once_here("killed"):
            kill_me()
        return f"receipt {n}"
    return [charge]

triage = seed >> agent(tool_factories=[tools_of], model=TELLER)
"""


@pytest.mark.promise(number=11)
@on_newest
def test_an_agent_that_starts_from_the_beginning_takes_back_what_its_calls_did(agents: Agents) -> None:
    """Nothing of it may be stored, so that it is asked again, and answers with other calls."""
    agents.tasks(rounds("secrets.token_hex(8)") + FRESH)
    agents.run("triage", code=-9, ZRB_STORE_AGENTS="private")
    assert "a resume keeps" not in agents.run("xcom", "show", "s")
    agents.resume(ZRB_STORE_AGENTS="private")
    numbers, processes = zip(*agents.live("out"), strict=True)
    assert numbers == (0, 10, 20, 30)
    assert len(set(processes)) == 1
    assert agents.project.begun["tool 10"] == 2
    # A call that must not be repeated is none that can be taken back.
    agents.tasks(rounds("secrets.token_hex(8)") + FRESH + "triage.once_tools = {'charge': 'tell'}\n")
    (agents.project.folder / "killed").unlink()
    agents.session = "once"
    agents.run("triage", code=-9, ZRB_STORE_AGENTS="private")
    output = agents.resume(code=1, ZRB_STORE_AGENTS="private")
    assert (
        "has completed and is declared `once`, but might run again (the result of step prompt is not stored)" in output
    )


@on_newest
@pytest.mark.parametrize("result", ["not stored", "stored"])
def test_an_answer_that_is_too_large(agents: Agents, result: str) -> None:
    """It is asked for again, and what the calls of the first one did is taken back."""
    agents.tasks(
        rounds("secrets.token_hex(8)").replace("    if number < 4", "    if number == 1: yield LONG\n    if number < 4")
        + FRESH
        + f"LONG = 'x' * {40_000_000 if result == 'not stored' else 40_000}\n"
    )
    output = agents.run("triage", code=-9)
    assert ("its result is returned, but the step runs again" in output) == (result == "not stored")
    agents.resume()
    numbers, processes = zip(*agents.live("out"), strict=True)
    assert numbers == (0, 10, 20, 30)
    kept = 1 if result == "not stored" else 2  # calls whose effects are those of the first process
    assert [process == processes[0] for process in processes] == [number < kept for number in range(4)]
    again = ["model 1", "tool 10", "model 2"] if result == "not stored" else []
    agents.twice("tool 20", *again)


@pytest.mark.promise(number=11)
@on_newest
def test_an_output_function_runs_again_but_not_the_steps_in_it(agents: Agents) -> None:
    agents.tasks(
        """
from zrb.llm.agent import create_agent
from zrb_store import step

def charge(total: int) -> str:
    log("charge", "begin")
    return f"receipt {total}"

def finish(total: int) -> str:
    log("finish", "begin")
    receipt = step("charge", charge, total)
    if once_here("killed"):
        kill_me()
    return receipt

class Finishing(LLMTask):
    def _create_agent(self, ctx, system_prompt=None, toolsets=None):
        return create_agent(
            model=self.get_model(ctx), system_prompt=system_prompt, output_type=finish, yolo=True, resolve_model=False)

async def report(messages, info):
    log("model 0", "begin")
    yield {0: DeltaToolCall(name=info.output_tools[0].name, json_args='{"total": 7}', tool_call_id="f")}

agent(cls=Finishing, tool_factories=[], model=FunctionModel(stream_function=report))
"""
    )
    agents.run("triage", code=-9)
    assert "receipt 7" in agents.resume()
    agents.twice("finish")
