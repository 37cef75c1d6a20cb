"""A stored answer is the very answer: field by field, and in the events that a consumer of the stream sees."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.agents.zrb.project import Agents, on_newest, sqlite

pytestmark = [pytest.mark.slow, on_newest, sqlite]

# The first answer has all that a provider may send, and the others are streamed in pieces. The task writes down what
# the consumer of the stream saw, and the answers of the conversation as Python writes them.
LISTENING = """
import datetime
from contextlib import asynccontextmanager

from pydantic_ai.messages import (
    BinaryImage, FilePart, NativeToolCallPart, NativeToolReturnPart, PartDeltaEvent, PartEndEvent, PartStartEvent,
    TextPart, ThinkingPart, ToolCallPart)
from pydantic_ai.models import CompletedStreamedResponse
from pydantic_ai.usage import RequestUsage

THEN = datetime.datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=datetime.timezone.utc)
RICH = ModelResponse(
    parts=[
        ThinkingPart("hm", id="t-1", signature="sig", provider_name="p", provider_details={"raw": [1, 2.5, None]}),
        NativeToolCallPart("web_search", {"query": "charge"}, tool_call_id="n-1", provider_name="p"),
        NativeToolReturnPart("web_search", {"found": 2}, tool_call_id="n-1", provider_name="p", timestamp=THEN),
        TextPart("I charge.", id="x-1", provider_details={"logprobs": [-0.25]}),
        FilePart(BinaryImage(b"\\x89PNG\\xff\\x00", media_type="image/png", identifier="pic-1")),
        ToolCallPart("charge", '{"n":  1}', tool_call_id="call-é", id="i-1", provider_details={"k": "v"}),
        ToolCallPart("charge", {"n": 2}, tool_call_id="call-2"),
    ],
    usage=RequestUsage(input_tokens=1204, cache_read_tokens=1000, output_tokens=88, details={"reasoning_tokens": 7}),
    model_name="gpt-x-2026",
    timestamp=THEN,
    provider_name="p",
    provider_url="https://p.example",
    provider_details={"finish_reason": "tool_calls", "timestamp": THEN, "system_fingerprint": None},
    provider_response_id="resp-1",
    finish_reason="tool_call",
    metadata={"mine": [1]},
)

async def pieces(messages, info):
    log(f"model {answers(messages)}", "begin")
    if answers(messages) == 1:
        yield {0: DeltaToolCall(name="charge", tool_call_id="call-3")}
        for piece in ('{"n"', ": ", "20}"):
            yield {0: DeltaToolCall(json_args=piece)}
    else:
        for piece in ("All ", "three ", "are charged."):
            yield piece

class Provider(FunctionModel):
    @asynccontextmanager
    async def request_stream(self, messages, settings, parameters, context=None):
        if answers(messages) == 0:
            log("model 0", "begin")
            yield CompletedStreamedResponse(RICH, model_request_parameters=parameters, replay_events=True)
            return
        async with super().request_stream(messages, settings, parameters, context) as stream:
            yield stream

def seen_by(handler, events):
    async def consume(ctx, stream):
        async def noting():
            async for event in stream:
                if isinstance(event, (PartStartEvent, PartDeltaEvent, PartEndEvent)):
                    events.append(event)
                yield event
        await handler(ctx, noting())
    return consume

def written(response):
    "Return all fields. pydantic has a name of its own for UTC."
    return repr(response).replace("TzInfo(0)", "datetime.timezone.utc")

def texts(events):
    "Return the parts that began, and those that ended as they were put together."
    found = []
    for event in events:
        if isinstance(event, PartStartEvent):
            part = event.part
            found.append(type(part).__name__)
        elif isinstance(event, PartDeltaEvent):
            part = event.delta.apply(part)
        else:
            found.append(written(event.part))
            assert written(part) == found[-1]
    return found

class Listening(LLMTask):
    def _create_agent(self, *args, **kwargs):
        agent = super()._create_agent(*args, **kwargs)
        run = agent.run

        async def listening(*args, event_stream_handler, **kwargs):
            events = []
            result = await run(*args, event_stream_handler=seen_by(event_stream_handler, events), **kwargs)
            responses = [one for one in result.all_messages() if isinstance(one, ModelResponse)]
            for one in responses:
                one.run_id = one.conversation_id = None  # of this run of pydantic-ai
            (HERE / "seen").write_text(json.dumps([[written(one) for one in responses], texts(events)]))
            return result

        agent.run = listening
        return agent

    def post_process_output(self, output):
        if once_here("killed"):
            kill_me()
        return super().post_process_output(output)

agent(cls=Listening, tools=[kill_at(-1)], tool_factories=[], model=Provider(stream_function=pieces))
"""


@pytest.mark.promise(number=11)
def test_a_stored_answer_is_the_very_answer(agents: Agents) -> None:
    agents.tasks(LISTENING)
    seen = agents.project.folder / "seen"
    agents.run("triage", code=-9)
    first = json.loads(seen.read_text())
    seen.unlink()
    assert "All three are charged." in agents.resume()
    agents.twice()  # everything came from the store
    second: Any = json.loads(seen.read_text())
    assert second[0] == first[0]
    assert second[1] == first[1]
    assert len(first[0]) == 3
    assert [one for one in second[1] if one.endswith("Part")] == [
        "ThinkingPart",
        "NativeToolCallPart",
        "NativeToolReturnPart",
        "TextPart",
        "FilePart",
        "ToolCallPart",
        "ToolCallPart",
        "ToolCallPart",
        "TextPart",
    ]


@pytest.mark.promise(number=11)
@pytest.mark.parametrize(
    ("change", "index", "first"), [("number == 3", 4, 3), ("number >= 1", 2, 1), ("number == 0", 0, 0)]
)
def test_a_changed_message_is_named(agents: Agents, change: str, index: int, first: int) -> None:
    """A capability of the user edits what is sent: the message that differs is named in the new step."""
    source = """
from dataclasses import replace
from pydantic_ai.capabilities import AbstractCapability
from zrb.llm.agent import create_agent

class Editing(AbstractCapability):
    async def before_model_request(self, ctx, request_context):
        number = answers(request_context.messages)
        if (HERE / "edit").exists() and (CHANGE):
            last = request_context.messages[INDEX]
            parts = [replace(part, content=f"{part.content} ") for part in last.parts]
            request_context.messages[INDEX] = replace(last, parts=parts)
        return request_context

class Edited(LLMTask):
    def _create_agent(self, *args, **kwargs):
        agent = super()._create_agent(*args, **kwargs)
        run = agent.run
        agent.run = lambda *args, capabilities=(), **kwargs: run(
            *args, capabilities=[Editing(), *capabilities], **kwargs)
        return agent

agent(cls=Edited, tools=[kill_at(30)], tool_factories=[])
"""
    agents.tasks(source.replace("CHANGE", change).replace("INDEX", str(index)))
    agents.run("triage", code=-9, ROUNDS="4")
    (agents.project.folder / "edit").touch()
    agents.project.forget()
    agents.resume(ROUNDS="4")
    results = [json.loads(result) for result in agents.rows("result") if result]
    (changed,) = [result["changed"] for result in results if "changed" in result]
    assert changed == f"request changed: messages[{index}]"
    assert f"request changed: messages[{index}]" in agents.run("xcom", "show", "s", COLUMNS="200")
    # From the changed request on everything runs anew, and nothing before it.
    begun = agents.project.begun
    assert {name for name in begun if name.startswith("model")} == {f"model {number}" for number in range(first, 5)}
    assert {int(name.split()[1]) // 10 for name in begun if name.startswith("tool")} == set(range(first, 4))
    agents.twice()


# zrb's own tool reads a picture. Then the provider is overloaded once, and later the agent is killed.
READS_A_PICTURE = """
import base64
from pydantic_ai.exceptions import ModelHTTPError
from pydantic_ai.messages import BinaryContent, UserPromptPart
from zrb.config.config import CFG
from zrb.llm.tool.file_read import read_file
CFG.LLM_API_MAX_WAIT = 0
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
(HERE / "receipt.png").write_bytes(base64.b64decode(PNG))

async def reader(messages, info):
    number = answers(messages)
    log(f"model {number}", "begin")
    if number == 0:
        args = json.dumps({"path": str(HERE / "receipt.png")})
        yield {0: DeltaToolCall(name="read_file", json_args=args, tool_call_id="r")}
        return
    if number == 1 and once_here("overloaded"):
        raise ModelHTTPError(503, "model", "overloaded")
    if number == 1:
        yield {0: DeltaToolCall(name="charge", json_args='{"n": 20}', tool_call_id="c")}
        return
    prompts = [part.content for one in messages for part in one.parts if isinstance(part, UserPromptPart)]
    seen = [item for content in prompts if not isinstance(content, str) for item in content]
    yield f"saw {[len(one.data) for one in seen if isinstance(one, BinaryContent)]}"

model = FunctionModel(stream_function=reader, model_name="gpt-4o")  # zrb knows that it reads pictures
agent(tools=[read_file, kill_at(20)], tool_factories=[], model=model)
"""


@pytest.mark.promise(number=11)
def test_a_picture_that_a_tool_of_zrb_has_read(agents: Agents) -> None:
    """After an error of the provider zrb makes the request again, and the call's result comes from the store."""
    agents.tasks(READS_A_PICTURE)
    agents.run("triage", code=-9)
    assert "saw [70]" in agents.resume()
    agents.twice("model 1", "tool 20")


def test_a_replay_takes_answers_from_the_record(agents: Agents) -> None:
    agents.tasks("seed >> agent()\n")
    agents.run("triage")
    begun = dict(agents.project.begun)
    assert begun
    shown = agents.run("xcom", "replay", "s/triage#1", "--diff", "--yes")
    assert "Their values are equal." in shown
    assert dict(agents.project.begun) == begun
