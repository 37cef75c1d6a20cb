"""An agent at the desk of a shop, in an attempt."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

from pydantic_ai import Agent
from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart, ToolCallPart
from pydantic_ai.models.function import AgentInfo, DeltaToolCall, FunctionModel

from zrb_store import Attempt, Store
from zrb_store.agents import durable


class Broken(Exception):
    """The provider is out of order."""


class Desk:
    """Agents that charge in two rounds, and what was paid: requests, and calls of the tool."""

    def __init__(self, broken_at: str = "") -> None:
        self.paid: list[str] = []
        self._broken_at = broken_at

    def agent(self, name: str = "desk", tool: Any = None, **more: Any) -> Any:
        """Return an agent that asks for two calls, one after the other."""

        def number(messages: list[ModelMessage]) -> int:
            found = sum(isinstance(one, ModelResponse) for one in messages)
            self.pay(f"{name} {found}")
            return found

        def answer(messages: list[ModelMessage], _: AgentInfo) -> ModelResponse:
            found = number(messages)
            part = TextPart(f"{name} done") if found == 2 else ToolCallPart("charge", {"n": found}, f"c{found}")
            return ModelResponse([part])

        async def stream(messages: list[ModelMessage], _: AgentInfo) -> AsyncIterator[Any]:
            found = number(messages)
            call = DeltaToolCall("charge", f'{{"n": {found}}}', tool_call_id=f"c{found}")
            yield f"{name} done" if found == 2 else {0: call}

        agent = Agent(FunctionModel(answer, stream_function=stream), name=name, capabilities=[durable()], **more)

        async def charge(n: int) -> str:
            self.pay(f"{name} charge {n}")
            await asyncio.sleep(0)
            return f"receipt {n}"

        agent.tool_plain(name="charge")(tool or charge)
        return agent

    def pay(self, name: str) -> None:
        """Note that something is paid; raise an error if the provider is broken here."""
        self.paid.append(name)
        if name == self._broken_at:
            raise Broken


async def run(agent: Any) -> str:
    return str((await agent.run("Charge.")).output)


def in_attempt(store: Store, work: Callable[[Attempt], Coroutine[Any, Any, Any]]) -> Any:
    """Do some work in an attempt of the task, which is given back as one whose process was killed."""
    with store.session("s").run() as one:
        attempt = one.begin("charge all")
        try:
            with attempt:
                result = asyncio.run(work(attempt))
                attempt.fail()
            return result
        finally:
            if attempt.is_open:
                attempt.fail()


def triaged(store: Store, work: Callable[[], Coroutine[Any, Any, Any]], session: str = "s") -> Any:
    """Start or continue a session of one task, and return what its work returns; None if it waits."""
    try:
        with store.session(session).run() as one, one.attempt("triage") as attempt:
            result = asyncio.run(work())
            attempt.complete(result)
        return result
    except SystemExit:  # `Waiting` leaves the run so
        return None
