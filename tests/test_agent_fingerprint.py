"""What makes a request another one: whatever is sent to the model, and nothing else."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic_ai.messages import (
    InstructionPart,
    ModelMessage,
    ModelRequest,
    ModelResponse,
    TextPart,
    ToolCallPart,
    ToolReturnPart,
    UserPromptPart,
)
from pydantic_ai.models import ModelRequestParameters
from pydantic_ai.models.function import FunctionModel
from pydantic_ai.native_tools import WebSearchTool
from pydantic_ai.tools import ToolDefinition

from zrb_store.plugin.agents.fingerprint import Fingerprints, Request

CHARGE = ToolDefinition(name="charge", parameters_json_schema={"type": "object", "properties": {}})
ASK = ModelRequest(parts=[UserPromptPart("Charge.", timestamp=datetime(2026, 1, 1, tzinfo=UTC))])
CALL = ModelResponse([ToolCallPart("charge", {"n": 1}, "c1")])
DONE = ModelRequest(parts=[ToolReturnPart("charge", "receipt", "c1")])


def model(name: str = "m") -> FunctionModel:
    return FunctionModel(lambda *_: ModelResponse([TextPart("")]), model_name=name)


def request(fingerprints: Fingerprints | None = None, **more: Any) -> Request:
    given: dict[str, Any] = {
        "model": model(),
        "settings": {"temperature": 0.5},
        "parameters": ModelRequestParameters(function_tools=[CHARGE]),
        "messages": [ASK, CALL, DONE],
    }
    return (fingerprints or Fingerprints()).of(**{**given, **more})


def parameters(**more: Any) -> dict[str, Any]:
    return {"parameters": ModelRequestParameters(**{"function_tools": [CHARGE], **more})}


@pytest.mark.parametrize(
    ("more", "difference"),
    [
        ({"model": model("n")}, "model function:m became function:n"),
        ({"settings": {"temperature": 0.6}}, "setting temperature"),
        ({"settings": {}}, "setting temperature is gone"),
        ({"settings": {"temperature": 0.5, "seed": 1}}, "setting seed is new"),
        (parameters(function_tools=[]), "tool charge is gone"),
        (parameters(function_tools=[CHARGE, ToolDefinition(name="look")]), "tool look is new"),
        (parameters(function_tools=[ToolDefinition(name="charge", description="Dear.")]), "tool charge"),
        (parameters(output_tools=[ToolDefinition(name="final")]), "tool final is new"),
        (parameters(instruction_parts=[InstructionPart("Be kind.")]), "instructions"),
        (parameters(allow_text_output=False), "output"),
        (parameters(native_tools=[WebSearchTool()]), "output"),
        ({"messages": [ASK, CALL]}, "messages[2]"),
        ({"messages": [ASK, CALL, DONE, ASK]}, "messages[3]"),
        ({"messages": [ModelRequest(parts=[UserPromptPart("Charge!")]), CALL, DONE]}, "messages[0]"),
        ({"messages": [ASK, ModelResponse([ToolCallPart("charge", {"n": 2}, "c1")]), DONE]}, "messages[1]"),
        ({"messages": [ASK, CALL, ModelRequest(parts=[ToolReturnPart("charge", "no", "c1")])]}, "messages[2]"),
    ],
)
def test_a_difference_has_a_name(more: dict[str, Any], difference: str) -> None:
    stored = request().stored(None)
    assert request(**more).difference(stored, None) == difference
    # As the request after another, of which only what is new was stored.
    before = request(messages=[ASK])
    assert request(**more).difference(request().stored(before), before) == difference


@pytest.mark.parametrize(
    "more",
    [
        {"settings": {"temperature": 0.5, "timeout": 5}},
        {"messages": [ModelRequest(parts=[UserPromptPart("Charge.")], run_id="other", metadata={"a": 1}), CALL, DONE]},
        {
            "messages": [
                ASK,
                ModelResponse(CALL.parts, provider_details={"x": 1}, timestamp=datetime(2026, 2, 2, tzinfo=UTC)),
                DONE,
            ]
        },
    ],
)
def test_what_is_not_sent_makes_no_difference(more: dict[str, Any]) -> None:
    assert request(**more).difference(request().stored(None), None) == ""


def test_the_settings_of_a_tool_of_the_provider() -> None:
    fingerprints = Fingerprints()
    one = request(fingerprints, **parameters(native_tools=[WebSearchTool(allowed_domains=["a.example"])]))
    two = request(fingerprints, **parameters(native_tools=[WebSearchTool(allowed_domains=["b.example"])]))
    assert two.difference(one.stored(None), None) == "output"


def test_what_is_stored_does_not_grow_with_the_conversation() -> None:
    fingerprints = Fingerprints()
    messages: list[ModelMessage] = [ASK]
    before = request(fingerprints, messages=messages)
    sizes = []
    for number in range(50):
        messages = [*messages, ModelResponse([ToolCallPart("charge", {"n": number}, f"c{number}")]), DONE]
        now = request(fingerprints, messages=messages)
        sizes.append(len(str(now.stored(before))))
        before = now
    assert max(sizes) - min(sizes) <= 2  # the count of messages has more digits
