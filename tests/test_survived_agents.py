"""Agents whose program survives failures, is cut off, and must come to the same answers and calls again (promise 20)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest
from pydantic_ai import Agent, ModelHTTPError
from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart, ToolCallPart
from pydantic_ai.models.function import AgentInfo, DeltaToolCall, FunctionModel

from tests.attempts import acting_as
from zrb_store import Store, once_tool
from zrb_store.agents import durable
from zrb_store.testing import Crash, crash_at, expire_lease


class Desk:
    """Agents that charge once each, and a program of them that is cut off."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.paid: list[str] = []
        self.broken: dict[str, Exception] = {}
        self.is_cut_off = True

    def pay(self, name: str) -> None:
        self.paid.append(name)
        if name in self.broken:
            raise self.broken[name]

    def agent(self, name: str = "desk", *, provider: str = "", **more: Any) -> Any:
        """Return an agent that asks for one call, and then answers; its requests go to a provider."""

        def asked(messages: list[ModelMessage]) -> int:
            found = sum(isinstance(one, ModelResponse) for one in messages)
            self.pay(f"{provider or name} {found}")
            return found

        def answer(messages: list[ModelMessage], _: AgentInfo) -> ModelResponse:
            found = asked(messages)
            return ModelResponse([TextPart(f"{name} done") if found else ToolCallPart("charge", {"n": 1}, "c1")])

        async def stream(messages: list[ModelMessage], _: AgentInfo) -> AsyncIterator[Any]:
            found = asked(messages)
            yield f"{name} done" if found else {0: DeltaToolCall("charge", '{"n": 1}', tool_call_id="c1")}

        model = FunctionModel(answer, stream_function=stream)
        agent = Agent(model, name=name, capabilities=[durable()], **more)

        @agent.tool_plain
        @once_tool
        async def charge(n: int) -> str:
            self.pay(f"{name} charge {n}")
            return f"receipt {n}"

        return agent

    def die(self) -> None:
        if self.is_cut_off:
            with crash_at("queue:before"):
                self.store.session("other").xcom["q"].max_deliveries = 1

    def run(self, program: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        with self.store.session("s").run() as run, run.attempt("charge all"):
            return asyncio.run(program())

    def cut_off(self, program: Callable[[], Coroutine[Any, Any, Any]]) -> list[str]:
        """Run the program until it dies, put everything in order, and return what was paid."""
        with acting_as(self.store.session("s").run().start().begin("charge all")), pytest.raises(Crash):
            asyncio.run(program())
        expire_lease(self.store.session("s"))
        self.is_cut_off = False
        self.broken.clear()
        found, self.paid = self.paid, []
        return found


@pytest.fixture
def desk(store: Store, sound: None) -> Desk:
    return Desk(store)


async def ask(agent: Any, message: str = "go") -> str:
    return str((await agent.run(message)).output)


async def stream(agent: Any, message: str = "go") -> str:
    async with agent.run_stream(message) as result:
        return str(await result.get_output())


async def iterate(agent: Any, message: str = "go") -> str:
    async with agent.iter(message) as nodes:
        async for _ in nodes:
            pass
        return str(nodes.result.output)


def unavailable() -> ModelHTTPError:
    return ModelHTTPError(503, "gpt", {"error": "overloaded"})


@pytest.mark.promise(number=20)
@pytest.mark.parametrize("way", [ask, stream, iterate])
def test_a_loop_over_runs(desk: Desk, way: Callable[[Any], Coroutine[Any, Any, str]]) -> None:
    caught: list[object] = []

    async def program() -> str:
        agent, answer = desk.agent(), ""
        for number in range(4):
            if desk.is_cut_off and number == 3:
                desk.broken.clear()
            try:
                answer = await way(agent)
                break
            except ModelHTTPError as error:
                caught.append((error.status_code, error.model_name, error.body))
        desk.die()
        return answer

    desk.broken["desk 0"] = unavailable()
    assert desk.cut_off(program) == ["desk 0", "desk 0", "desk 0", "desk 0", "desk charge 1", "desk 1"]
    assert desk.run(program) == "desk done"
    assert desk.paid == []
    assert caught == [(503, "gpt", {"error": "overloaded"})] * 6


@pytest.mark.promise(number=20)
@pytest.mark.parametrize("broken", ["primary 0", "primary charge 1", "primary 1"])
def test_another_agent_instead(desk: Desk, broken: str) -> None:
    async def program() -> str:
        try:
            answer = await ask(desk.agent("primary"))
        except ModelHTTPError:
            answer = await ask(desk.agent("backup"))
        desk.die()
        return answer

    desk.broken[broken] = unavailable()
    paid = ["primary 0", "primary charge 1", "primary 1"]
    before = paid[: paid.index(broken) + 1]
    assert desk.cut_off(program) == [*before, "backup 0", "backup charge 1", "backup 1"]
    assert desk.run(program) == "backup done"
    assert desk.paid == []


@pytest.mark.promise(number=20)
def test_gathered_agents_of_which_one_fails(desk: Desk) -> None:
    async def program() -> list[Any]:
        agents = [desk.agent(name) for name in ("a", "b", "c")]
        found = await asyncio.gather(*map(ask, agents), return_exceptions=True)
        desk.die()
        return [type(one).__name__ if isinstance(one, Exception) else one for one in found]

    desk.broken["b 0"] = unavailable()
    desk.cut_off(program)
    assert desk.run(program) == ["a done", "ModelHTTPError", "c done"]
    assert desk.paid == []


@pytest.mark.promise(number=20)
def test_a_run_that_was_cut_off_amid_its_calls_goes_on(desk: Desk) -> None:
    async def program() -> str:
        try:
            return await ask(desk.agent("primary"))
        except ModelHTTPError:
            agent = desk.agent("backup")

            @agent.tool_plain
            def other() -> str:
                return ""

            desk.die()
            return await ask(agent)

    desk.broken["primary 1"] = unavailable()
    # The failure was the last thing that happened: nobody knows whether the program survives it.
    assert desk.cut_off(program) == ["primary 0", "primary charge 1", "primary 1"]
    assert desk.run(program) == "primary done"
    assert desk.paid == ["primary 1"]
