"""Agents of `durable` that have used their budget, or call a tool that needs an approval."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Callable
from typing import Any

import pytest
from pydantic_ai import Agent, ApprovalRequired, DeferredToolRequests, DeferredToolResults, RunContext
from pydantic_ai.capabilities import AbstractCapability, HandleDeferredToolCalls
from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart, ToolCallPart, ToolReturnPart
from pydantic_ai.models.function import AgentInfo, FunctionModel
from pydantic_ai.usage import RequestUsage

from tests.agents.desk import triaged
from tests.support.commands import Commands
from zrb_store import BudgetUsed, Store
from zrb_store.agents import durable
from zrb_store.errors import Waiting, ZrbStoreError

pytestmark = pytest.mark.promise(number=18)


class Desk:
    """An agent that charges several customers in one answer, and what was paid."""

    def __init__(self, store: Store, rounds: int = 1, agents: int = 1, **more: Any) -> None:
        self.paid: list[str] = []
        self._store = store
        self._rounds = rounds
        self._agents = agents
        self._more = more

    def start(self) -> Any:
        """Start or continue the session, and return what the agents say; None if it waits."""
        return triaged(self._store, self._work)

    async def _work(self) -> list[str]:
        agents = [self._agent(name) for name in "ab"[: self._agents]]
        results = await asyncio.gather(*(agent.run("Charge.") for agent in agents))
        return [str(one.output) for one in results]

    def _agent(self, name: str) -> Any:
        async def answer(messages: list[ModelMessage], _: AgentInfo) -> ModelResponse:
            number = sum(isinstance(one, ModelResponse) for one in messages)
            self.paid.append(f"{name} {number}")
            await asyncio.sleep(0.01 * number)
            told = [str(p.content) for one in messages for p in one.parts if isinstance(p, ToolReturnPart)]
            calls = [ToolCallPart("charge", {"n": n}, f"c{number}-{n}") for n in range(2)]
            parts = [TextPart("; ".join(told))] if number == self._rounds else calls
            return ModelResponse(parts, usage=RequestUsage(input_tokens=50, output_tokens=10))

        agent = Agent(FunctionModel(answer), name=name, capabilities=[durable(**self._more)])

        async def charge(n: int) -> str:
            self.paid.append(f"{name} charge {n}")
            return f"receipt {n}"

        agent.tool_plain(requires_approval=self._rounds == 1)(charge)
        return agent


def test_the_request_after_the_budget_is_not_made(store: Store) -> None:
    desk = Desk(store, rounds=3, budget="tokens=120")
    for _ in range(2):
        with pytest.raises(BudgetUsed, match=r"triage: 120 tokens are used, and the budget is 120: .*tokens=240"):
            desk.start()
    assert desk.paid == ["a 0", "a charge 0", "a charge 1", "a 1", "a charge 0", "a charge 1"]
    more = Desk(store, rounds=3, budget="tokens=121")
    with pytest.raises(BudgetUsed):
        more.start()
    assert more.paid == ["a 2", "a charge 0", "a charge 1"]


@pytest.mark.parametrize("agents", [1, 2])
def test_a_session_waits_for_a_larger_budget(
    store: Store, command: Commands, caplog: pytest.LogCaptureFixture, agents: int
) -> None:
    """Two agents that are gathered end when neither is amid a request."""
    desk = Desk(store, rounds=2, agents=agents, budget="tokens=100", wait_for_approval=True)
    assert desk.start() is None
    assert "tokens are used, and the budget is 100; `zrb-store approve s --budget tokens=N` answers" in caplog.text
    shown = command.ok("show", "s")
    assert "Answer: zrb-store approve s --budget tokens=N" in " ".join(shown.split())
    assert command("approve", "s", "c0-0").code == 3
    assert "s needs a larger budget: 1" in command("approve", "s", "--budget", "tokens=110").err
    paid = len(desk.paid)
    assert command.ok("approve", "s", "--budget", "tokens=150") == "triage: the budget is 150 tokens\n"
    desk.start()
    if agents == 1:
        assert desk.paid[paid:] == ["a 2"]
    else:
        command.ok("approve", "s", "--budget", "tokens=1000000")
        assert desk.start() is not None
    assert len(desk.paid) == agents * (3 + 4), desk.paid
    assert command("approve", "s", "--budget", "tokens=1").code == 3


def test_calls_wait_for_an_approval(store: Store, command: Commands) -> None:
    """All calls of an answer are asked at once, answered one by one, and nothing is paid again."""
    desk = Desk(store, wait_for_approval=True)
    assert desk.start() is None
    listed = command("approve", "s")
    assert (listed.code, desk.paid) == (2, ["a 0"])
    assert 'c0-0 (charge {"n": 0}), c0-1 (charge {"n": 1})' in listed.err
    assert command("approve", "s", "c0-2").code == 3
    denied = command.ok("approve", "s", "c0-1", "--deny", "--reason", "Not this one.")
    assert denied == 'triage: c0-1 denied: charge {"n": 1}\n'
    said = r"of c0-1: c0-1 was denied: Not this one. at \d{4}-\d\d-\d\d \d\d:\d\d:\d\d; it waits for c0-0 "
    assert re.search(said, command("approve", "s", "c0-1").err)
    assert desk.start() is None  # the other one is still asked
    assert desk.paid == ["a 0"]
    assert command.ok("approve", "s") == 'triage: c0-0 approved: charge {"n": 0}\n'
    assert desk.start() == ["receipt 0; Not this one."]
    assert desk.paid == ["a 0", "a charge 0", "a 1"]
    again = command("approve", "s", "c0-0")
    assert (again.code, again.out) == (3, "")
    assert re.search(r"c0-0: c0-0 was approved at \d{4}-", again.err)
    assert re.search(r"c0-1: c0-1 was denied: Not this one. at \d{4}-", command("approve", "s", "c0-1").err)


@pytest.mark.parametrize(
    "args", [("--budget", "1"), ("--budget", "tokens=1", "c0-0"), ("--reason", "no"), ("--budget", "")]
)
@pytest.mark.on_sqlite
def test_a_wrong_answer_changes_nothing(store: Store, command: Commands, args: tuple[str, ...]) -> None:
    Desk(store, wait_for_approval=True).start()
    assert command("approve", "s", *args).code == 2
    assert command.ok("approve", "s", "c0-0")


@pytest.mark.filterwarnings("ignore:triage. (the message has changed|an answer is not stored)")
@pytest.mark.parametrize("mode", ["on", "private"])
def test_an_approval_is_of_one_call(
    store: Store, command: Commands, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    """The model gives its id to another call, because somebody changed the message after it was approved."""
    monkeypatch.setenv("ZRB_STORE_AGENTS", mode)
    paid: list[int] = []

    def start(n: int) -> None:
        async def charge(n: int) -> str:
            paid.append(n)
            return "receipt"

        def answer(messages: list[ModelMessage], _: AgentInfo) -> ModelResponse:
            number = sum(isinstance(one, ModelResponse) for one in messages)
            return ModelResponse([TextPart("done") if number else ToolCallPart("charge", {"n": n}, "c0")])

        agent: Any = Agent(FunctionModel(answer), name="a", capabilities=[durable(wait_for_approval=True)])
        agent.tool_plain(requires_approval=True)(charge)
        with contextlib.suppress(SystemExit), store.session("s").run() as run, run.attempt("triage") as attempt:
            asyncio.run(agent.run(f"Charge {n}."))
            attempt.complete()

    start(1)
    assert (
        "does not wait for an answer about a budget: use `approve s c0`"
        in command("approve", "s", "--budget=tokens=1").err
    )
    assert "does not wait for an approval of c1: it waits for c0 (charge" in command("approve", "s", "c1").err
    command.ok("approve", "s")
    for named in ([], ["c0"]):
        assert re.search(
            r"does not wait for an approval.*: c0 was approved at \d{4}-", command("approve", "s", *named).err
        )
    start(99)
    assert paid == []
    assert command.ok("approve", "s").startswith("triage: c0 approved: charge")
    start(99)
    assert paid == [99]


@pytest.mark.on_sqlite
def test_an_agent_asks_after_another_one_has_let_the_session_wait(store: Store) -> None:
    """The wait has ended the attempt, but is still on its way out of the other agent, so that nothing is cancelled."""

    class Slow(AbstractCapability[Any]):
        async def after_model_request(
            self, ctx: Any, *, request_context: Any, response: ModelResponse
        ) -> ModelResponse:
            answered.set()
            await parked.wait()
            return response

    def asking(name: str, *more: AbstractCapability[Any]) -> Any:
        async def answer(messages: list[ModelMessage], _: AgentInfo) -> ModelResponse:
            if not more:
                await answered.wait()
            return ModelResponse([ToolCallPart("charge", {"n": 1}, "c0")])

        async def charge(n: int) -> str:
            return "receipt"

        agent: Any = Agent(FunctionModel(answer), name=name, capabilities=[durable(wait_for_approval=True), *more])
        agent.tool_plain(requires_approval=True)(charge)
        return agent

    async def first() -> None:
        try:
            await asking("quick").run("Charge.")
        finally:
            parked.set()
            await ended.wait()

    async def second() -> None:
        try:
            await asking("slow", Slow()).run("Charge.")
        except BaseException as error:
            errors.append(type(error))
            raise
        finally:
            ended.set()

    async def both() -> None:
        await asyncio.gather(first(), second())

    errors: list[type[BaseException]] = []
    answered, parked, ended = (asyncio.Event() for _ in range(3))
    with pytest.raises(Waiting), store.session("s").run() as run, run.attempt("triage"):
        asyncio.run(both())
    assert errors == [asyncio.CancelledError]


@pytest.mark.slow
@pytest.mark.on_sqlite
def test_agents_that_are_gathered_end_without_a_word(
    store: Store, command: Commands, caplog: pytest.LogCaptureFixture
) -> None:
    """One has its approval, and is about to make the call, when the other one lets the session wait."""
    paid: list[str] = []

    def asking(name: str) -> Any:
        def answer(messages: list[ModelMessage], _: AgentInfo) -> ModelResponse:
            number = sum(isinstance(one, ModelResponse) for one in messages)
            return ModelResponse([TextPart("done") if number == 3 else ToolCallPart("charge", {"n": number}, "c0")])

        async def charge(n: int) -> str:
            paid.append(f"{name} {n}")
            return "receipt"

        agent: Any = Agent(FunctionModel(answer), name=name, capabilities=[durable(wait_for_approval=True)])
        agent.tool_plain(requires_approval=True)(charge)
        return agent

    async def both() -> None:
        await asyncio.gather(*(asking(name).run("Charge.") for name in "ab"))

    for _ in range(7):
        with contextlib.suppress(SystemExit), store.session("s").run() as run, run.attempt("triage") as attempt:
            asyncio.run(both())
            attempt.complete()
        command("approve", "s")
    assert sorted(paid) == [f"{name} {n}" for name in "ab" for n in range(3)]
    assert not [record for record in caplog.records if record.name == "asyncio"]


@pytest.mark.on_sqlite
@pytest.mark.parametrize("asks", ["declared", "by itself", "answered"])
def test_an_agent_inside_a_tool_waits_for_nobody(store: Store, asks: str) -> None:
    """It is refused before its first request, or where its tool asks, unless a capability answers."""
    paid: list[str] = []

    def agent(tool: Callable[..., Any], *more: AbstractCapability[Any], **options: Any) -> Any:
        def answer(messages: list[ModelMessage], _: AgentInfo) -> ModelResponse:
            paid.append(tool.__name__)
            told = [str(p.content) for one in messages for p in one.parts if isinstance(p, ToolReturnPart)]
            return ModelResponse([TextPart(told[0]) if told else ToolCallPart(tool.__name__, {}, "c0")])

        made: Any = Agent(
            FunctionModel(answer),
            name=f"{tool.__name__} desk",
            capabilities=[durable(wait_for_approval=True), *more],
        )
        made.tool(**options)(tool)
        return made

    async def charge(ctx: RunContext[None]) -> str:
        if asks == "by itself" and not ctx.tool_call_approved:
            raise ApprovalRequired
        return "receipt"

    async def delegate(ctx: RunContext[None]) -> str:
        return str((await inner.run("Charge.")).output)

    def approve(ctx: RunContext[None], requests: DeferredToolRequests) -> DeferredToolResults:
        return requests.build_results(approve_all=True)

    handlers = [HandleDeferredToolCalls(approve)] if asks == "answered" else []
    inner = agent(charge, *handlers, requires_approval=asks != "by itself")
    outer = agent(delegate)
    with contextlib.ExitStack() as refused:
        if asks != "answered":
            refused.enter_context(
                pytest.raises(
                    ZrbStoreError,
                    match=r"charge desk cannot wait for an approval of charge inside step delegate desk: tool delegate "
                    r"c0 of s/triage#1: run it outside of steps and tools, or without wait_for_approval",
                )
            )
        with store.session("s").run() as run, run.attempt("triage"):
            assert asyncio.run(outer.run("Charge.")).output == "receipt"
    assert paid.count("charge") == {"declared": 0, "by itself": 1, "answered": 2}[asks]
