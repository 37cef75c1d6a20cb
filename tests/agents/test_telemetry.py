"""What a resumed agent with `durable()` reports to OpenTelemetry, on the newest release of pydantic-ai."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.zrb.environments import with_telemetry

PROGRAM = """
import asyncio
import sys

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
"""


@pytest.mark.slow
@pytest.mark.on_sqlite
@pytest.mark.promise(number=11)
@pytest.mark.parametrize("way", ["run", "stream"])
def test_what_comes_from_the_store_is_not_reported_again(tmp_path: Path, way: str) -> None:
    """The second call fails, then nothing does but the attempt, and then everything is stored."""
    python = with_telemetry() / "bin" / "python"
    (tmp_path / "look.py").write_text(PROGRAM)

    def reported(*arguments: str) -> str:
        command = [str(python), "-W", "ignore", "look.py", way, *arguments]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert not done.stderr
        return done.stdout.strip()

    assert reported("2") == "2 chat chat execute_tool execute_tool invoke_agent"
    assert reported("0", "fails") == "2 chat chat execute_tool execute_tool invoke_agent"
    assert reported("0") == "0"
