"""Agents with tools that fail and are resumed: each token is exported once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.traces.conftest import Programs
from tests.traces.spans import Collector, Seen
from tests.zrb.environments import with_telemetry

PROGRAM = """
import asyncio
import atexit
from pathlib import Path

from opentelemetry import metrics, trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from pydantic_ai import Agent
from pydantic_ai.messages import ModelResponse, TextPart, ToolCallPart
from pydantic_ai.models.function import FunctionModel
from pydantic_ai.usage import RequestUsage

provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter()))
trace.set_tracer_provider(provider)
reader = InMemoryMetricReader()
metrics.set_meter_provider(MeterProvider([reader]))


@atexit.register
def tell_metrics():
    with open("metered", "a") as metered:
        for of_resource in reader.get_metrics_data().resource_metrics:
            for scope in of_resource.scope_metrics:
                for metric in scope.metrics:
                    if metric.name == "gen_ai.client.token.usage":
                        print(sum(point.sum for point in metric.data.data_points), file=metered)


from zrb_store import open_store, step
from zrb_store.agents import durable

Agent.instrument_all()


async def answer(messages, info):
    number = sum(isinstance(one, ModelResponse) for one in messages)
    usage = RequestUsage(input_tokens=100 * (number + 1), output_tokens=10)
    with open("paid", "a") as paid:  # what the model's server counts
        print(usage.input_tokens + usage.output_tokens, file=paid)
    part = TextPart("done") if number == 2 else ToolCallPart("look", {"at": number}, f"c{number}")
    return ModelResponse([part], usage=usage)


agent = Agent(FunctionModel(answer), name="desk", capabilities=[durable()])


@agent.tool_plain
def look(at: int) -> str:
    with trace.get_tracer("the tool").start_as_current_span("SELECT"):
        pass
    if at == 1 and not Path("mended").exists():
        raise OSError("no table")
    return "nothing"


def triage():
    return asyncio.run(agent.run("Look.")).output


with open_store() as store, store.session("desk").run(task="triage") as run:
    run.task("triage", triage)
"""


def exported(spans: list[Seen], kind: str, names: str = "usage") -> int:
    """Return the sum of the tokens on spans of a kind, by the names of their attributes."""
    found = (each.attributes for each in spans if each.name.startswith(kind))
    return sum(each.get(f"gen_ai.{names}.{what}_tokens", 0) for each in found for what in ("input", "output"))


def total(file: Path) -> int:
    """Return the sum of the numbers in a file."""
    return sum(map(int, file.read_text().split()))


@pytest.mark.slow
@pytest.mark.on_sqlite
@pytest.mark.promise(number=11)
@pytest.mark.parametrize("release", ["2.36.0", "2.45.0", "2.61.0", "2.68.0"])
def test_an_agent_is_paid_once(programs: Programs, collector: Collector, release: str) -> None:
    """Also in an earlier release, which exports by itself what came from the store."""
    python = str(with_telemetry(release) / "bin" / "python")
    programs.write("desk.py", PROGRAM)
    programs.run(python, "-W", "ignore", "desk.py", code=1)
    programs.write("mended", "")
    programs.run(python, "-W", "ignore", "desk.py")
    assert collector.tree == (
        "run triage: failed\n"
        "  task triage #1: failed\n"
        "    invoke_agent desk\n"
        "      chat function:answer:\n"
        "        step desk: prompt #1: completed\n"
        "        step desk: model #1: completed\n"
        "      execute_tool look\n"
        "        step desk: tool look c0 #1: completed\n"
        "          SELECT\n"
        "      chat function:answer:\n"
        "        step desk: model~2 #1: completed\n"
        "      execute_tool look\n"
        "        step desk: tool look c1 #1: failed\n"
        "          SELECT\n"
        "run triage: completed <- run triage\n"
        "  task triage #2: completed, 4 steps from the store\n"
        "    invoke_agent desk\n"
        "      execute_tool look\n"
        "        step desk: tool look c1 #2: completed\n"
        "          SELECT\n"
        "      chat function:answer:\n"
        "        step desk: model~3 #1: completed\n"
    )
    paid = total(programs.folder / "paid")
    assert exported(collector.spans, "chat") == paid
    assert total(programs.folder / "metered") == paid
    if release != "2.36.0":  # whose spans of a run have the usage of the whole run
        assert exported(collector.spans, "invoke_agent", "aggregated_usage") == paid
