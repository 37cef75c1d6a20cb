"""Agents with tools that fail and are resumed: each token is exported once."""

from __future__ import annotations

import asyncio
import json
import signal
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from pydantic_ai import Agent
from pydantic_ai.capabilities import Instrumentation
from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart, ToolCallPart
from pydantic_ai.models.function import AgentInfo, FunctionModel
from pydantic_ai.models.instrumented import InstrumentationSettings
from pydantic_ai.usage import RequestUsage

from tests.traces.conftest import SETUP, Programs, Traced
from tests.traces.spans import Collector, Seen
from tests.zrb.environments import with_telemetry
from zrb_store.agents import durable
from zrb_store.testing import Crash, crash_at, expire_lease

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
@pytest.mark.parametrize(
    "release", ["2.36.0", *(pytest.param(each, marks=pytest.mark.long) for each in ("2.45.0", "2.61.0")), "2.68.0"]
)
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


def test_an_agent_that_dies_twice_between_its_requests(traced: Traced) -> None:
    counted: list[RequestUsage] = []

    async def answer(messages: list[ModelMessage], _: AgentInfo) -> ModelResponse:
        number = sum(isinstance(one, ModelResponse) for one in messages)
        counted.append(RequestUsage(input_tokens=100 * (number + 1), output_tokens=10))
        part = TextPart("done") if number == 2 else ToolCallPart("look", {"at": number}, f"c{number}")
        return ModelResponse([part], usage=counted[-1])

    instrumentation = Instrumentation(InstrumentationSettings(tracer_provider=traced.provider))
    agent = Agent(FunctionModel(answer), name="desk", capabilities=[instrumentation, durable()])

    @agent.tool_plain
    def look(at: int) -> str:
        return "nothing"

    session = traced.store.session("desk")

    def start() -> None:
        with session.run(task="triage") as run:
            run.task("triage", lambda: asyncio.run(agent.run("Look.")).output)

    for steps in (3, 2):  # the last one is a call each time
        with pytest.raises(Crash), crash_at("step_complete:after", visit=steps):
            start()
        expire_lease(session)
    start()
    assert traced.seen.tree == (
        "run triage: interrupted\n"
        "  task triage #1: interrupted\n"
        "    invoke_agent desk\n"
        "      chat function:answer:\n"
        "        step desk: prompt #1: completed\n"
        "        step desk: model #1: completed\n"
        "      execute_tool look\n"
        "        step desk: tool look c0 #1: interrupted\n"
        "run triage: interrupted <- run triage\n"
        "  task triage #2: interrupted, 3 steps from the store\n"
        "    invoke_agent desk\n"
        "      chat function:answer:\n"
        "        step desk: model~2 #1: completed\n"
        "      execute_tool look\n"
        "        step desk: tool look c1 #1: interrupted\n"
        "run triage: completed <- run triage\n"
        "  task triage #3: completed, 5 steps from the store\n"
        "    invoke_agent desk\n"
        "      chat function:answer:\n"
        "        step desk: model~3 #1: completed\n"
    )
    assert [each.input_tokens for each in counted] == [100, 200, 300]
    paid = sum(each.total_tokens for each in counted)
    for kind, names in (("chat", "usage"), ("invoke_agent", "aggregated_usage")):
        assert exported(traced.seen.spans, kind, names) == paid


class ModelServer:
    """A server of OpenAI's protocol whose model calls a tool three times, and then ends. It counts its tokens."""

    def __init__(self) -> None:
        self.counted: list[tuple[int, int]] = []
        counted = self.counted

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                number = sum(one["role"] == "assistant" for one in request["messages"])
                given, answered = 1000 * (number + 1), 10 + number
                counted.append((given, answered))
                function = {"name": "look", "arguments": json.dumps({"at": number})}
                call = {"index": 0, "id": f"c{number}", "type": "function", "function": function}
                delta = {"role": "assistant"} | ({"tool_calls": [call]} if number < 3 else {"content": "done"})
                choice = {"index": 0, "delta": delta, "finish_reason": "tool_calls" if number < 3 else "stop"}
                usage = {"prompt_tokens": given, "completion_tokens": answered, "total_tokens": given + answered}
                about = {"id": f"r{number}", "object": "chat.completion.chunk", "created": 1, "model": "gpt-4o"}
                chunks = ({**about, "choices": [choice]}, {**about, "choices": [], "usage": usage})
                body = "".join(f"data: {json.dumps(each)}\n\n" for each in chunks) + "data: [DONE]\n\n"
                self.send_response(200)
                self.send_header("Content-Type", "text/event-stream")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body.encode())

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/v1"

    @property
    def tokens(self) -> int:
        return sum(map(sum, self.counted))


@pytest.fixture
def server() -> Iterator[ModelServer]:
    server = ModelServer()
    thread = threading.Thread(target=server.http.serve_forever, daemon=True)
    thread.start()
    yield server
    server.http.shutdown()
    server.http.server_close()
    thread.join()


LLM_TASK = f"""{SETUP}
import os
import signal

from pydantic_ai import Agent
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider
from zrb import LLMTask, cli

Agent.instrument_all()


def look(at: int) -> str:
    "Look."
    if os.environ.get("DIES") == str(at):
        os.kill(os.getpid(), signal.SIGKILL)
    return "nothing"


model = OpenAIChatModel("gpt-4o", provider=OpenAIProvider(base_url=os.environ["MODELS"], api_key="none"))
cli.add_task(LLMTask(name="triage", message="Look.", system_prompt="You look.", model=model, tools=[look], yolo=True))
"""


@pytest.mark.slow
@pytest.mark.on_sqlite
@pytest.mark.promise(number=11)
def test_an_llm_task_that_is_killed_twice(programs: Programs, collector: Collector, server: ModelServer) -> None:
    programs.write("zrb_init.py", LLM_TASK)
    zrb = {"ZRB_INIT_MODULES": "zrb_store.plugin", "ZRB_STORE_SESSION": "desk", "MODELS": server.url}
    for dies in ("1", "2"):
        programs.run("zrb", "triage", code=-signal.SIGKILL, more={**zrb, "DIES": dies})
    programs.run("zrb", "triage", more=zrb)
    assert collector.tree == (
        "(lost)\n"  # the span of the task, which was killed
        "  step prompt #1: completed\n"
        "(lost)\n"  # that of its agent
        "  chat gpt-4o\n"
        "    step model #1: completed\n"
        "  execute_tool look\n"
        "    step tool look c0 #1: completed\n"
        "  chat gpt-4o\n"
        "    step model~2 #1: completed\n"
        "(lost)\n"
        "  execute_tool look\n"
        "    step tool look c1 #2: completed\n"
        "  chat gpt-4o\n"
        "    step model~3 #1: completed\n"
        "run triage: completed <- (lost)\n"
        "  task triage #3: completed, 6 steps from the store\n"
        "    invoke_agent agent\n"
        "      execute_tool look\n"
        "        step tool look c2 #2: completed\n"
        "      chat gpt-4o\n"
        "        step model~4 #1: completed\n"
    )
    assert len(server.counted) == 4
    assert exported(collector.spans, "chat") == server.tokens
    assert exported(collector.spans, "invoke_agent", "aggregated_usage") == sum(server.counted[-1])
