"""What a resumed agent with `durable()` has used, and what it reports to OpenTelemetry."""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from pydantic_ai import Agent, ModelRetry, RunContext, UsageLimitExceeded, UsageLimits
from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart, ToolCallPart
from pydantic_ai.models.function import AgentInfo, FunctionModel
from pydantic_ai.usage import RequestUsage, RunUsage

from tests.agents.desk import in_attempt
from tests.zrb.environments import with_telemetry
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


TELEMETRY = """
import asyncio
import sys
from importlib import metadata

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from pydantic_ai import Agent
from pydantic_ai.messages import ModelResponse, TextPart, ToolCallPart
from pydantic_ai.models.function import DeltaToolCall, FunctionModel
from pydantic_ai.models.instrumented import InstrumentationSettings

from zrb_store import open_store
from zrb_store.agents import durable

spans, metrics = InMemorySpanExporter(), InMemoryMetricReader()
tracing = TracerProvider()
tracing.add_span_processor(SimpleSpanProcessor(spans))
Agent.instrument_all(InstrumentationSettings(tracer_provider=tracing, meter_provider=MeterProvider([metrics])))


async def answer(messages, info):
    number = sum(isinstance(one, ModelResponse) for one in messages)
    yield "done" if number == 3 else {0: DeltaToolCall("look", "{}", tool_call_id=f"c{number}")}


async def whole(messages, info):
    number = sum(isinstance(one, ModelResponse) for one in messages)
    return ModelResponse([TextPart("done") if number == 3 else ToolCallPart("look", {}, f"c{number}")])


agent = Agent(FunctionModel(whole, stream_function=answer), name="desk", capabilities=[durable()])
calls = 0


@agent.tool_plain
def look() -> str:
    global calls
    calls += 1
    if calls == int(sys.argv[2]):
        raise OSError
    return "nothing"


async def main():
    if sys.argv[1] == "run":
        await agent.run("Look.")
    else:
        async with agent.run_stream("Look.") as result:
            await result.get_output()


try:
    with open_store("s.db") as store, store.session("s").run() as run, run.attempt("look") as attempt:
        asyncio.run(main())
        if sys.argv[3:]:
            raise OSError
except OSError:
    pass
data = metrics.get_metrics_data()
points = [
    point
    for resource in (data.resource_metrics if data else ())
    for scope in resource.scope_metrics
    for metric in scope.metrics
    if metric.name == "gen_ai.client.token.usage"
    for point in metric.data.data_points
]
print(sum(point.count for point in points) // 2, *sorted(one.name.split()[0] for one in spans.get_finished_spans()))


def tokens(kind, names):
    found = (one.attributes for one in spans.get_finished_spans() if one.name.startswith(kind))
    return sum(each.get(f"gen_ai.{names}.{what}_tokens", 0) for each in found for what in ("input", "output"))


if metadata.version("pydantic-ai-slim") != "2.36.0":  # whose spans of a run have the usage of the whole run
    assert tokens("chat", "usage") == tokens("invoke_agent", "aggregated_usage")
"""


@pytest.mark.slow
@pytest.mark.on_sqlite
@pytest.mark.parametrize(
    "release", ["2.68.0", *(pytest.param(each, marks=pytest.mark.long) for each in ("2.61.0", "2.36.0"))]
)
@pytest.mark.parametrize("way", ["run", "stream"])
def test_what_comes_from_the_store_is_not_reported_again(tmp_path: Path, way: str, release: str) -> None:
    """The second call fails, then nothing does but the attempt, and then everything is stored."""
    python = with_telemetry(release) / "bin" / "python"
    (tmp_path / "look.py").write_text(TELEMETRY)

    def reported(*arguments: str) -> str:
        command = [str(python), "-W", "ignore", "look.py", way, *arguments]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert not done.stderr
        return done.stdout.strip()

    assert reported("2") == "2 chat chat execute_tool execute_tool invoke_agent"
    assert reported("0", "fails") == "2 chat chat execute_tool execute_tool invoke_agent"
    assert reported("0") == "0"
