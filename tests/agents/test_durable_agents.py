"""`durable()`: any agent of pydantic-ai over the steps of an attempt, without zrb."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pydantic_ai import Agent, ApprovalRequired, DeferredToolRequests, DeferredToolResults, RunContext, Tool
from pydantic_ai.messages import ModelMessage, ModelRequest, ModelResponse, TextPart, ToolCallPart, UserPromptPart
from pydantic_ai.models.function import AgentInfo, FunctionModel
from pydantic_ai.toolsets import FunctionToolset

from tests.agents.desk import Broken, Desk, in_attempt, run
from tests.support.forks import fork
from tests.support.rows import query
from zrb_store import Attempt, StepUncertain, Store, once_tool, open_store
from zrb_store.agents import durable
from zrb_store.errors import InvalidArgument, RequestChanged
from zrb_store.testing import crash_at

pytestmark = [pytest.mark.promise(number=11), pytest.mark.long_on_postgresql]


async def run_stream(agent: Any) -> str:
    async with agent.run_stream("Charge.") as result:
        return str(await result.get_output())


async def iterate(agent: Any) -> str:
    async with agent.iter("Charge.") as nodes:
        async for _ in nodes:
            pass
        return str(nodes.result.output)


async def gathered(agent: Any) -> str:
    return " and ".join(await asyncio.gather(*(run_stream(agent) for _ in range(2))))


@pytest.mark.slow
@pytest.mark.parametrize(("way", "visit"), [(run, 3), (run_stream, 4), (iterate, 5), (gathered, 9)])
def test_a_process_is_killed_between_requests(
    location: str, tmp_path: Path, way: Callable[[Any], Coroutine[Any, Any, str]], visit: int
) -> None:
    """It has SIGKILL just after an answer or the result of a call was stored."""
    paid = tmp_path / "paid"

    class Noted(Desk):
        def pay(self, name: str) -> None:
            with paid.open("a", encoding="utf-8") as file:
                file.write(f"{name}\n")

    def work() -> None:
        with open_store(location) as store:
            in_attempt(store, lambda _: way(Noted().agent()))

    def killed() -> None:
        with crash_at("step_complete:after", visit=visit, kill=True):
            work()

    assert os.WTERMSIG(os.waitpid(fork(killed), 0)[1]) == signal.SIGKILL
    before = paid.read_text(encoding="utf-8").splitlines()
    work()
    everything = sorted(["desk 0", "desk charge 0", "desk 1", "desk charge 1", "desk 2"] * (1 + (way is gathered)))
    # The other one of two may have been amid a request or a call, which is paid again.
    now = sorted(paid.read_text(encoding="utf-8").splitlines())
    assert len(before) < len(everything)
    if way is not gathered:
        assert now == everything
    else:
        assert len(now) - len(everything) <= 1


@pytest.mark.parametrize("way", [run, run_stream, iterate])
@pytest.mark.parametrize("broken_at", ["desk 0", "desk 1", "desk charge 1", "desk 2"])
def test_nothing_is_paid_again(store: Store, way: Callable[[Any], Coroutine[Any, Any, str]], broken_at: str) -> None:
    first, again = Desk(broken_at), Desk()
    with pytest.raises(Broken):
        in_attempt(store, lambda _: way(first.agent()))
    assert in_attempt(store, lambda _: way(again.agent())) == "desk done"
    everything = ["desk 0", "desk charge 0", "desk 1", "desk charge 1", "desk 2"]
    assert first.paid + again.paid[1:] == everything
    assert again.paid[0] == broken_at


def test_two_gathered_agents_get_their_answers_again_in_another_order(store: Store) -> None:
    """Three runs of two agents, which start in another order the next time."""

    def work(desk: Desk, names: str) -> Any:
        agents = {name: desk.agent(name) for name in "ab"}

        async def gather(_: Attempt) -> list[Any]:
            runs = (agents[name[0]].run(f"Charge {name}.") for name in names.split())
            return await asyncio.gather(*runs, return_exceptions=True)

        return gather

    first, again = Desk("b 1"), Desk()
    in_attempt(store, work(first, "a b a2"))
    results = in_attempt(store, work(again, "a2 b a"))
    assert [one.output for one in results] == ["a done", "b done", "a done"]
    assert again.paid == ["b 1", "b charge 1", "b 2"]
    names = [row[0] for row in query(store, "SELECT step FROM zrb_attempt WHERE step_of IS NOT NULL ORDER BY id")]
    assert {name.partition(": ")[0] for name in names} == {"a", "a~2", "b"}


def test_an_agent_inside_a_tool_belongs_to_the_call(store: Store) -> None:
    desk = Desk()
    inner = desk.agent("inner")

    async def charge(n: int) -> str:
        return str((await inner.run(f"Charge {n}.")).output)

    assert in_attempt(store, lambda _: run(desk.agent(tool=charge))) == "desk done"
    names = [row[0] for row in query(store, "SELECT step FROM zrb_attempt WHERE step_of IS NOT NULL ORDER BY id")]
    assert names == [
        f"desk: {name}" for name in ("prompt", "model", "tool charge c0", "model~2", "tool charge c1", "model~3")
    ]
    again = Desk()
    assert in_attempt(store, lambda _: run(again.agent())) == "desk done"
    assert again.paid == []


@pytest.mark.on_sqlite
def test_instructions_that_a_function_gives_may_change_by_themselves(store: Store) -> None:
    times = iter("ab")

    def at(ctx: RunContext[object]) -> str:
        return f"It is {next(times)}."

    first, again, changed = Desk("desk 1"), Desk(), Desk()
    with pytest.raises(Broken):
        in_attempt(store, lambda _: run(first.agent(instructions=at)))
    times = iter("cdefg")
    in_attempt(store, lambda _: run(again.agent(instructions=at)))
    assert again.paid == ["desk 1", "desk charge 1", "desk 2"]
    with pytest.warns(RuntimeWarning, match="the system prompt has changed: 3 answers"):
        in_attempt(store, lambda _: run(changed.agent(instructions="Be short.")))
    assert len(changed.paid) == 5


@pytest.mark.on_sqlite
def test_another_message_is_announced(store: Store) -> None:
    desk = Desk()
    in_attempt(store, lambda _: desk.agent().run("Charge."))
    with pytest.warns(RuntimeWarning, match="the message has changed: 3 answers .* and 2 tool calls are made again"):
        in_attempt(store, lambda _: desk.agent().run("Charge them."))


@pytest.mark.parametrize("wrapped", ["", "prefixed", "renamed"])
def test_a_tool_that_must_not_be_repeated(store: Store, wrapped: str) -> None:
    """Its mark is found, whatever zrb would find in a task, and whatever name a toolset gives it."""

    @once_tool
    async def charge(n: int) -> str:
        raise KeyboardInterrupt

    inner = FunctionToolset([charge])
    toolsets: dict[str, Any] = {"prefixed": inner.prefixed("bank"), "renamed": inner.renamed({"bank_charge": "charge"})}

    def answer(_: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        return ModelResponse([ToolCallPart(info.function_tools[0].name, {"n": 1}, "c0")])

    def work(_: Attempt) -> Any:
        if not wrapped:
            return run(Desk().agent(tool=charge))
        return Agent(FunctionModel(answer), name="desk", toolsets=[toolsets[wrapped]], capabilities=[durable()]).run("")

    with pytest.raises(KeyboardInterrupt):
        in_attempt(store, work)
    with pytest.raises(StepUncertain, match=r"tool (bank_)?charge c0"):
        in_attempt(store, work)


@pytest.mark.parametrize("names", ["charge", 5])
def test_names_of_tools_are_a_list(names: Any) -> None:
    with pytest.raises(InvalidArgument, match=r"^once_tools is .*: set it to a list of names"):
        durable(once_tools=names)


def test_outside_of_any_attempt_it_runs_without_a_store() -> None:
    desk = Desk()
    with pytest.warns(RuntimeWarning, match="outside of any attempt"):
        assert asyncio.run(run(desk.agent())) == "desk done"


class Customer:
    """What pydantic cannot write."""

    def __init__(self, name: str) -> None:
        self.name = name


@dataclass
class Order:
    """What it can."""

    customer: str


@pytest.mark.on_sqlite
@pytest.mark.parametrize("deps", [Customer, Order])
def test_deps_tell_runs_apart(store: Store, deps: Any) -> None:
    """One customer is gone in the next attempt. Another one does not get the answer about it."""

    def work(desk: Desk, names: str) -> Any:
        def about(ctx: RunContext[Any]) -> str:
            return f"It is about {getattr(ctx.deps, 'name', None) or ctx.deps.customer}."

        agent = desk.agent(instructions=about, deps_type=deps)

        async def each(_: Attempt) -> None:
            for name in names:
                await agent.run("Charge.", deps=deps(name))

        return each

    in_attempt(store, work(Desk(), "ab"))
    same, again = Desk(), Desk()
    in_attempt(store, work(same, "ab"))
    assert same.paid == []
    if deps is Order:
        in_attempt(store, work(again, "b"))
        assert again.paid == []
    else:
        with pytest.warns(RuntimeWarning, match="the system prompt has changed: 6 answers"):
            in_attempt(store, work(again, "b"))
        assert len(again.paid) == 5


@pytest.mark.on_sqlite
def test_an_agent_that_starts_with_an_approved_call(store: Store) -> None:
    """It makes the call before its first request. Another agent that is gathered has a call with the same id."""

    def work(desk: Desk) -> Any:
        async def go_on(name: str) -> str:
            async def charge(ctx: RunContext[Any], n: int) -> str:
                if not ctx.tool_call_approved:
                    raise ApprovalRequired
                desk.pay(f"{name} charge {n}")
                return f"receipt {name}"

            agent = desk.agent(name, tool=None, output_type=[str, DeferredToolRequests])
            call = ModelResponse([ToolCallPart("refund", {"n": 7}, "c7")])
            agent.tool(name="refund")(charge)
            history = [ModelRequest(parts=[UserPromptPart(f"Refund {name}.")]), call]
            approved = DeferredToolResults(approvals={"c7": True})
            result = await agent.run(message_history=history, deferred_tool_results=approved)
            return str(result.all_messages()[2].parts[0].content)

        async def gather(_: Attempt) -> Any:
            return await asyncio.gather(go_on("a"), go_on("b"), return_exceptions=True)

        return gather

    first, again = Desk("b 1"), Desk()
    in_attempt(store, work(first))
    assert in_attempt(store, work(again)) == ["receipt a", "receipt b"]
    assert {"a charge 7", "b charge 7"} <= set(first.paid)
    assert not [one for one in again.paid if "charge 7" in one]


@pytest.fixture
def policy(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("ZRB_STORE_CHANGED_REQUEST", request.param)
    return str(request.param)


def in_turn(desk: Desk, *messages: str, **more: Any) -> Any:
    async def work(_: Attempt) -> None:
        agent = desk.agent(**more)
        for message in messages:
            await agent.run(message)

    return work


@pytest.mark.slow
@pytest.mark.on_sqlite
@pytest.mark.parametrize("policy", ["rerun", "reuse", "stop"], indirect=True)
def test_a_run_that_is_no_stored_one(store: Store, policy: str) -> None:
    """It is new, and takes nothing of the others."""
    desk = Desk()
    in_attempt(store, in_turn(Desk(), "a", "b"))
    if policy == "stop":
        with pytest.raises(RequestChanged, match=r"rerun` at the next start makes a new run$"):
            in_attempt(store, in_turn(desk, "new", "b"))
    else:
        with pytest.warns(RuntimeWarning, match="desk~3 is a new run: .* and 6 answers .* are not used yet") as warned:
            in_attempt(store, in_turn(desk, "new", "b", "a"))
        assert (len(desk.paid), len(warned)) == (5, 1)
    in_attempt(store, in_turn(desk, "b", "a", "new", "other"))  # without a word


def charging_once() -> tuple[list[int], Any]:
    """Return a tool that must not be repeated, after its calls."""
    calls: list[int] = []

    @once_tool
    async def charge(n: int) -> str:
        calls.append(n)
        return "receipt"

    return calls, charge


@pytest.mark.on_sqlite
def test_a_new_run_makes_no_call_that_must_not_be_repeated(store: Store) -> None:
    calls, charge = charging_once()
    in_attempt(store, in_turn(Desk(), "Charge ann.", "Charge bob.", tool=charge))
    with pytest.raises(
        RequestChanged, match="undo the change, or make a new run with --from 'charge all' --repeat-once"
    ):
        in_attempt(store, in_turn(Desk(), "Charge ann!", "Charge bob.", tool=charge))
    assert calls == [0, 1] * 2


@pytest.mark.slow
@pytest.mark.on_sqlite
def test_deps_that_change_by_themselves(store: Store) -> None:
    """A single run may be the same. Several with one message are told apart by their deps, in any order."""
    calls, charge = charging_once()

    def work(*customers: str) -> Any:
        agent = Desk().agent(tool=charge, deps_type=Order)

        async def each(_: Attempt) -> None:
            for customer in customers:
                await agent.run("Charge.", deps=Order(customer))

        return each

    in_attempt(store, work("ann at 1"))
    with pytest.raises(RequestChanged, match=r"desk~2 is a new run: .* 3 answers .* are not used yet"):
        in_attempt(store, work("ann at 2"))
    assert calls == [0, 1]
    in_attempt(store, work("ann at 1", "bob"))
    with pytest.raises(RequestChanged, match=r"desk~4 is a new run: .* 6 answers .* of desk, desk~3 are not used yet"):
        in_attempt(store, work("new", "bob", "ann at 1"))
    in_attempt(store, work("bob", "ann at 1", "new"))
    assert calls == [0, 1] * 3


@pytest.mark.on_sqlite
@pytest.mark.parametrize("policy", ["stop"], indirect=True)
@pytest.mark.parametrize("name", ["approval bot", "tool smith", "a: tool x", "prompt"])
def test_names_of_agents_are_told_from_those_of_steps(store: Store, policy: str, name: str) -> None:
    in_attempt(store, in_turn(Desk(), "a", name=name))
    with pytest.raises(RequestChanged, match=r"repeats 3 answers \(.*\) and 2 tool calls"):
        in_attempt(store, in_turn(Desk(), "b", name=name))


@pytest.mark.on_sqlite
@pytest.mark.parametrize("policy", ["reuse"], indirect=True)
def test_an_answer_is_used_if_its_own_agent_has_the_tool_then(store: Store, policy: str) -> None:
    """A tool is offered from the second request on, and a later agent has another one."""

    async def later(ctx: RunContext[Any], tool: Any) -> Any:
        return tool if ctx.run_step > 1 else None

    async def charge(n: int) -> str:
        return "receipt"

    def work(desk: Desk, message: str) -> Any:
        def answer(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
            number = sum(isinstance(one, ModelResponse) for one in messages)
            desk.pay(str(number))
            names = ["charge", "refund"]
            return ModelResponse(
                [ToolCallPart(names[number], {"n": 1}, f"d{number}") if number < 2 else TextPart("done")]
            )

        tools = [Tool(charge), Tool(charge, name="refund", prepare=later)]
        agent = Agent(FunctionModel(answer), name="first", tools=tools, capabilities=[durable()])

        async def both(_: Attempt) -> None:
            await agent.run(message)
            await run(desk.agent("second"))

        return both

    desk = Desk()
    in_attempt(store, work(Desk(), "a"))
    with pytest.warns(RuntimeWarning, match="6 answers .* and 4 tool calls are used anyway"):
        in_attempt(store, work(desk, "b"))
    assert desk.paid == []


@pytest.mark.on_sqlite
@pytest.mark.parametrize("policy", ["rerun", "reuse", "stop"], indirect=True)
def test_answers_that_are_not_stored(store: Store, policy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """They can only be made again: `reuse` is no advice."""
    monkeypatch.setenv("ZRB_STORE_AGENTS", "private")
    desk = Desk()
    in_attempt(store, lambda _: run(Desk().agent()))
    if policy == "stop":
        with pytest.raises(RequestChanged, match=r"repeats 3 answers [^`]*$"):
            in_attempt(store, lambda _: run(desk.agent()))
    else:
        with pytest.warns(RuntimeWarning, match="an answer is not stored: 3 answers .* are made again"):
            in_attempt(store, lambda _: run(desk.agent()))
    assert len(desk.paid) == (0 if policy == "stop" else 5)


@pytest.mark.on_sqlite
@pytest.mark.parametrize("policy", ["reuse"], indirect=True)
@pytest.mark.parametrize("change", ["renamed", "new", "none"])
def test_calls_with_other_parameters_are_not_used_again(store: Store, policy: str, change: str) -> None:
    """The model would be told that completed calls have failed."""

    async def renamed(number: int) -> str:
        """Charge."""
        raise AssertionError

    async def new(n: int, again: bool) -> str:
        """Charge."""
        raise AssertionError

    async def none(n: int, again: bool = False) -> str:
        """Charge."""
        return "receipt"

    desk = Desk()
    in_attempt(store, lambda _: run(Desk().agent()))
    tool = {"renamed": renamed, "new": new, "none": none}[change]
    if change == "none":
        with pytest.warns(RuntimeWarning, match="3 answers .* and 2 tool calls are used anyway"):
            in_attempt(store, lambda _: run(desk.agent(tool=tool)))
    else:
        with pytest.raises(RequestChanged, match="an answer calls tool charge, which has other parameters now"):
            in_attempt(store, lambda _: run(desk.agent(tool=tool)))
    assert desk.paid == []
