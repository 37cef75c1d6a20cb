"""What a resumed agent with `durable()` has used, and what it reports to OpenTelemetry."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from pydantic import BaseModel
from pydantic_ai import Agent, ModelRetry, RunContext, UsageLimitExceeded, UsageLimits
from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart, ToolCallPart
from pydantic_ai.models.function import AgentInfo, FunctionModel
from pydantic_ai.usage import RequestUsage, RunUsage

from tests.agents.desk import in_attempt
from zrb_store import Store
from zrb_store.agents import durable
from zrb_store.testing import Crash, crash_at, expire_lease

pytestmark = pytest.mark.promise(number=11)


def answering(*rounds: list[Any], tokens: int) -> FunctionModel:
    """Return a model that calls tools in each of these rounds, and then says `done`."""

    async def answer(messages: list[ModelMessage], _: AgentInfo) -> ModelResponse:
        number = sum(isinstance(one, ModelResponse) for one in messages)
        await asyncio.sleep(0)
        usage = RequestUsage(input_tokens=tokens, output_tokens=1, details={"reasoning_tokens": tokens})
        return ModelResponse(rounds[number] if number < len(rounds) else [TextPart("done")], usage=usage)

    return FunctionModel(answer)


class Receipt(BaseModel):
    """Is stored as JSON."""


async def ask(ctx: RunContext[Any], name: str) -> object:
    """Let an agent work for this one."""
    inner = Agent(answering([ToolCallPart("look", {}, "c")], tokens=10))

    @inner.tool_plain
    def look() -> str:
        return "nothing"

    await inner.run(name, usage=ctx.usage)
    ctx.usage.cache_read_tokens += 5
    if name == "retry":
        raise ModelRetry("Ask another one.")
    return {"set": {name}, "other": Receipt()}.get(name, name)


@pytest.mark.slow
@pytest.mark.parametrize("visit", [0, 4, 5, 6, 8, 9])
def test_what_agents_inside_tools_have_used_is_used(store: Store, visit: int) -> None:
    """Several work at the same time, and two agents at the top share one usage."""

    def work(*, limit: int | None = None) -> RunUsage:
        async def both(_: Any) -> RunUsage:
            usage, limits = RunUsage(), UsageLimits(request_limit=limit)
            agents = [
                Agent(
                    answering(
                        [ToolCallPart("ask", {"name": name}, name) for name in ("a", "set", "other")],
                        [ToolCallPart("ask", {"name": name}, name) for name in ("b", "retry")],
                        tokens=1000,
                    ),
                    name=name,
                    tools=[ask],
                    capabilities=[durable()],
                )
                for name in ("one", "two")
            ]
            await asyncio.gather(*(one.run("Go.", usage=usage, usage_limits=limits) for one in agents))
            return usage

        result: RunUsage = in_attempt(store, both)
        return result

    if visit:
        with pytest.raises(Crash), crash_at("step_complete:after", visit=visit):
            work()
        expire_lease(store.session("s"))
    tokens = {"input_tokens": 6200, "output_tokens": 26, "cache_read_tokens": 50}
    used = RunUsage(requests=26, tool_calls=18, **tokens, details={"reasoning_tokens": 6200})
    assert [work(), work()] == [used, used]
    with pytest.raises(UsageLimitExceeded):
        work(limit=25)
