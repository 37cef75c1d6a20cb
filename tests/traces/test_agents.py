"""An agent with tools, which fails and is resumed, on the newest release of pydantic-ai."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.traces.conftest import Programs
from tests.traces.spans import Collector
from tests.zrb.environments import with_telemetry

PROGRAM = """
import asyncio
import sys
from pathlib import Path

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from pydantic_ai import Agent
from pydantic_ai.messages import ModelResponse, TextPart, ToolCallPart
from pydantic_ai.models.function import FunctionModel
from pydantic_ai.usage import RequestUsage

provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter()))
trace.set_tracer_provider(provider)

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


@pytest.mark.slow
@pytest.mark.on_sqlite
@pytest.mark.promise(number=11)
def test_an_agent_is_paid_once(programs: Programs, collector: Collector) -> None:
    python = str(with_telemetry() / "bin" / "python")
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
    chats = [each for each in collector.spans if each.name.startswith("chat")]
    exported = sum(
        each.attributes["gen_ai.usage.input_tokens"] + each.attributes["gen_ai.usage.output_tokens"] for each in chats
    )
    assert exported == sum(map(int, Path(programs.folder, "paid").read_text().split()))
