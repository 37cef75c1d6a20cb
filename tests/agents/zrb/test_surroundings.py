"""Agents beside others, agents that are interrupted, and what people see and mark of them."""

from __future__ import annotations

import re

import pytest

from tests.agents.zrb.project import Agents, on_newest, sqlite
from tests.support.rows import query
from zrb_store import open_store

pytestmark = [pytest.mark.slow, on_newest, sqlite]


def test_agents_of_one_workflow_keep_their_own_steps(agents: Agents) -> None:
    """Their models give the same ids to their calls, and two of them run at the same time."""
    agents.tasks(
        """
one = agent(name="one", tools=[kill_at(-1)], tool_factories=[])
two = agent(name="two", tools=[kill_at(-1)], tool_factories=[], message="Charge them too.")
last = agent(name="triage", tools=[kill_at(20)], tool_factories=[])
one >> last
two >> last
"""
    )
    agents.run("triage", code=-9, ROUNDS="4")
    agents.resume(ROUNDS="4")
    begun = agents.project.begun
    assert begun.pop("tool 20") == 4
    assert set(begun.values()) == {3}
    assert len(begun) == 5 + 9


def test_an_agent_that_an_action_runs(agents: Agents) -> None:
    """It is a session of its own. A step around it keeps its result."""
    agents.tasks(
        """
from zrb_store import step
inner = LLMTask(name="inner", message="Charge.", tools=[kill_at(-1)], model=MODEL, yolo=True, retries=0)

@make_task(name="triage", group=cli, retries=0)
async def triage(ctx):
    texts = [await step("ask", inner.async_run), await inner.async_run()]
    if once_here("killed"):
        kill_me()
    return texts
"""
    )
    agents.run("triage", code=-9, ROUNDS="1")
    assert "['1 receipts, 0', '1 receipts, 0']" in agents.resume(ROUNDS="1")
    assert agents.project.begun == {"model 0": 3, "tool 0": 3, "model 1": 3}


@pytest.mark.promise(number=11)
def test_what_tools_do_to_a_shared_queue_happens_once(agents: Agents) -> None:
    """A call that was killed had taken a value and pushed another: both are undone before it runs again."""
    agents.tasks(
        """
from zrb_store import open_store
inbox = open_store().session("inbox").xcom

async def charge(n: int) -> str:
    log(f"tool {n}", "begin")
    value = inbox["in"].pop()
    await work()
    inbox["out"].push(f"{n} {value}")
    if n == 21 and once_here("killed"):
        kill_me()
    if n == 30:
        raise ModelRetry("not that one")
    return f"receipt {n}"

if not inbox["in"] and not inbox["out"]:
    inbox["in"].extend(range(20))
agent(tools=[charge], tool_factories=[])
"""
    )
    agents.run("triage", code=-9, ROUNDS="4")
    agents.resume(ROUNDS="4")
    assert "tool 21" in agents.project.begun
    agents.session = "inbox"
    out = [text.split() for text in agents.live("out")]
    assert sorted(int(n) for n, _ in out) == [0, 10, 11, 20, 21, 22, 31, 32, 33]
    assert sorted([*(int(value) for _, value in out), *agents.live("in")]) == list(range(20))


@pytest.mark.promise(number=11)
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_an_interrupted_agent_goes_on(agents: Agents, name: str) -> None:
    """zrb saves no conversation that is ahead of the steps."""
    agents.tasks(
        f"""
async def interrupted(messages, info):
    if answers(messages) == 2 and once_here("killed"):
        log("model 2", "begin")
        os.kill(os.getpid(), signal.{name})
        await asyncio.sleep(60)
    async for part in think(messages, info):
        yield part

agent(
    tools=[kill_at(-1)], tool_factories=[], conversation_name="fixed",
    model=FunctionModel(stream_function=interrupted))
"""
    )
    agents.warm.run(agents.project, "triage", ZRB_STORE_SESSION="s", ROUNDS="4")
    history = agents.project.folder.parent / "home" / ".zrb" / "llm-history" / "fixed.json"
    assert not history.exists()
    assert "10 receipts, 210" in agents.resume(ROUNDS="4")
    agents.twice("model 2")
    assert history.exists()


def test_a_provider_that_wants_money(agents: Agents) -> None:
    agents.tasks(
        """
from pydantic_ai.exceptions import ModelHTTPError

async def poor(messages, info):
    if answers(messages) == 3 and not (HERE / "paid").exists():
        log("model 3", "begin")
        raise ModelHTTPError(402, "model", "insufficient funds")
    async for part in think(messages, info):
        yield part

agent(tools=[kill_at(-1)], tool_factories=[], conversation_name="fixed", model=FunctionModel(stream_function=poor))
"""
    )
    assert "insufficient funds" in agents.run("triage", code=1, ROUNDS="4")
    (agents.project.folder / "paid").touch()
    assert "10 receipts, 210" in agents.resume(ROUNDS="4")
    agents.twice("model 3")


def test_a_release_that_cannot_be_hooked_runs_its_agents_as_a_whole(agents: Agents) -> None:
    agents.tasks("del LLMTask.save_cancelled_history\nagent(tools=[kill_at(20)], tool_factories=[])\n")
    output = agents.run("triage", code=-9, ROUNDS="4")
    assert output.count("agents of this release of zrb cannot be stored step by step (") == 1
    assert "10 receipts, 210" in agents.resume(ROUNDS="4")
    assert agents.rows() == []
    assert agents.project.begun["model 0"] == 2


KILLED_AT = """
import zrb.llm.agent.run.runner as runner
stock = runner._prepare_history

async def prepare(*args, **kwargs):
    if KIND == "prompt" and once_here("killed"):
        kill_me()
    return await stock(*args, **kwargs)

runner._prepare_history = prepare

async def dying(messages, info):
    if KIND == "model~2" and answers(messages) == 1 and once_here("killed"):
        kill_me()
    async for part in think(messages, info):
        yield part

agent(tools=[kill_at(-1)], tool_factories=[], model=FunctionModel(stream_function=dying))
"""


@pytest.mark.parametrize(
    ("step", "result", "code", "output"),
    [
        ("model~2", '"All is well."', 0, "All is well."),
        (
            "model~2",
            '{"a": 1}',
            1,
            "the result of step model~2 of s/triage#2 is no answer of a model: fork the session with "
            "`zrb xcom fork s --from triage --step 'model~2'`",
        ),
        ("prompt", None, 0, "3 receipts"),
        (
            "prompt",
            '"Charge."',
            1,
            "the result of step prompt of s/triage#2 is no prompt of an agent: fork the session with "
            "`zrb xcom fork s --from triage --step prompt`",
        ),
    ],
)
def test_steps_that_a_person_has_marked(agents: Agents, step: str, result: str | None, code: int, output: str) -> None:
    agents.tasks(KILLED_AT.replace("KIND", repr(step)))
    agents.run("triage", code=-9, ROUNDS="2")
    given = ("--result", result) if result else ()
    agents.run("xcom", "mark", "s", "triage", "--step", step, "completed", *given)
    assert output in agents.resume(code=code, ROUNDS="2")
    agents.twice()


def test_show_and_diff_have_tokens_and_what_a_rewind_changed(agents: Agents) -> None:
    """Tokens and time of each call; what a rewind to another model has left in queues."""
    agents.tasks("seed >> agent()\n")
    agents.run("triage", ROUNDS="3")
    shown = agents.run("xcom", "show", "s", COLUMNS="200")
    took = r"completed +1 +[\d:]+Z +\d+(\.\d+)? m?s +"
    assert re.search(took + r"model 2: function::think, \d+ in / \d+ out tokens$", shown, re.M), shown
    assert re.search(took + r'tool charge \{"n": 10\} -> receipt 10$', shown, re.M), shown
    agents.run("xcom", "fork", "s", "--from", "triage", "--step", "model~3", "--name", "other")
    agents.tasks("seed >> agent(model=FunctionModel(stream_function=think, model_name='cheap'))\n")
    agents.session = "other"
    agents.resume(ROUNDS="2")
    compared = agents.run("xcom", "diff", "s", "other", code=1, COLUMNS="200")
    assert re.search(r'triage\[0\] +"6 receipts, 84" +"3 receipts, 21"', compared)
    found = re.findall(r"conversation\[(\d+)\]", compared)
    assert re.search(rf'conversation\[{found[0]}\]\.model +"function::think" +"cheap"', compared)
    assert re.search(r"conversation\[\d+\] +\{.*receipt 20.*\} +-$", compared, re.M)
    assert found[0] == "8"  # the system, the user, and two answers with three calls are equal


@pytest.mark.promise(number=11)
def test_bytes_grow_with_the_number_of_steps(agents: Agents) -> None:
    """zrb's own checkpoint would write the whole conversation after each round."""
    agents.tasks("seed >> agent()\n")

    def stored(rounds: int) -> tuple[int, int]:
        agents.session = f"rounds{rounds}"
        agents.run("triage", ROUNDS=str(rounds))
        with open_store(agents.location, read_only=True) as store:
            sql = (
                "SELECT count(*), sum(length(coalesce(a.arguments, '')) + length(coalesce(a.result, ''))) "
                f"FROM zrb_attempt a JOIN zrb_session s ON s.id = a.session_id WHERE s.name = '{agents.session}'"
            )
            ((steps, size),) = query(store, sql)
        return steps, size

    (few, small), (many, large) = stored(10), stored(50)
    of_one = int(small) / int(few)
    assert int(large) / int(many) < 1.1 * of_one


@pytest.mark.promise(number=9)
def test_secret_inputs_stay_out_of_errors(agents: Agents) -> None:
    """What a tool raises is kept with its step, without the secret. What it returns is a value like others."""
    agents.tasks(
        """
from zrb import PasswordInput

def tools_of(ctx):
    async def charge(n: int) -> str:
        raise ValueError(f"the bank refuses {ctx.input.my_key}")
    return [charge]

async def asking(messages, info):
    if answers(messages) == 0:
        yield {0: DeltaToolCall(name="charge", json_args='{"n": 1}', tool_call_id="c1")}
    else:
        raise RuntimeError("the model got " + os.environ["MY_KEY"])

agent(
    input=PasswordInput("my-key", default=os.environ["MY_KEY"]), tool_factories=[tools_of],
    model=FunctionModel(stream_function=asking))
"""
    )
    agents.run("triage", code=1, MY_KEY="s3cr3t-key")
    tool, model = agents.rows("step, error_message, error_traceback", where="status = 'failed'")
    assert tool == ("tool charge c1", "Error executing tool charge: the bank refuses ***", "")
    assert model[:2] == ("model~2", "the model got ***")
    assert "s3cr3t" not in model[2]
