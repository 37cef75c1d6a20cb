"""What an agent starts from, what models answer, and what is decided about calls: as it is stored and read again."""

from __future__ import annotations

import ipaddress
import subprocess
import sys
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest
from pydantic_ai import DeferredToolResults, ToolApproved, ToolDenied
from pydantic_ai.messages import (
    BinaryContent,
    ModelMessage,
    ModelRequest,
    ModelResponse,
    SystemPromptPart,
    TextPart,
    ToolCallPart,
    ToolReturnPart,
    UserPromptPart,
)
from pydantic_ai.models import ModelRequestParameters
from pydantic_ai.models.test import TestModel

from zrb_store import codec
from zrb_store.agents.runtime.decisions import APPROVAL, arguments_of, dump_decisions, read_decisions
from zrb_store.agents.runtime.fingerprint import Fingerprints
from zrb_store.agents.runtime.stored import (
    NotReadable,
    Prompt,
    dump_response,
    encoded_messages,
    read_prompt,
    read_response,
)
from zrb_store.codec import Encoded

THEN = datetime(2026, 1, 2, 3, 4, 5, 6, UTC)
HOSTILE = "nul \0, half a pair \ud800, \x1b[31m red"


def stored(detail: Any, limit: int = 10_000) -> Any:
    response = ModelResponse([TextPart("yes")], provider_details={"detail": detail})
    return encoded_messages(partial(dump_response, response), limit)


@pytest.mark.parametrize(
    ("detail", "comes_back"),
    [
        (THEN, THEN),
        (HOSTILE, HOSTILE),
        (b"\xff", b"\xff"),
        (ipaddress.ip_address("192.0.2.1"), "192.0.2.1"),  # as pydantic writes it
    ],
)
def test_details_of_the_provider_come_back(detail: Any, comes_back: Any) -> None:
    answer = read_response(codec.decode(stored(detail).data))
    assert answer.provider_details == {"detail": comes_back}
    assert answer.text == "yes"


@pytest.mark.parametrize("detail", [object(), "x" * 20_000])
def test_what_cannot_be_stored_is_left_to_the_step(detail: Any) -> None:
    """The step warns, and hands the answer on."""
    left = stored(detail)
    assert not isinstance(left, Encoded)
    assert left["response"]["provider_details"] == {"detail": detail}


def test_a_prompt_comes_back() -> None:
    """With the conversation before it: it is sent as it was, and dates in the details of a provider are dates."""
    history: list[ModelMessage] = [
        ModelRequest(parts=[SystemPromptPart("Be kind.", timestamp=THEN), UserPromptPart(HOSTILE, timestamp=THEN)]),
        ModelResponse(
            [ToolCallPart("charge", {"n": 1}, "c1"), TextPart(HOSTILE)],
            timestamp=THEN,
            provider_details={"timestamp": THEN, "raw": b"\xff", "pair": [1, None]},
        ),
        ModelRequest(parts=[ToolReturnPart("charge", {"paid": 1.5}, "c1", timestamp=THEN)]),
    ]
    prompt = Prompt([HOSTILE, BinaryContent(b"%PDF\xff", media_type="application/pdf")], history, HOSTILE)
    kept = encoded_messages(prompt.dump, 10_000)
    assert isinstance(kept, Encoded)
    assert read_prompt(codec.decode(kept.data)) == prompt
    no_message = prompt._replace(message=None)  # the history ends with it
    kept = encoded_messages(no_message.dump, 10_000)
    assert isinstance(kept, Encoded)
    assert read_prompt(codec.decode(kept.data)) == no_message


@pytest.mark.parametrize("content", [object(), "x" * 20_000])
def test_a_conversation_that_cannot_be_stored_is_left_to_the_step(content: Any) -> None:
    history: list[ModelMessage] = [ModelRequest(parts=[ToolReturnPart("charge", content, "c1")])]
    left = encoded_messages(Prompt("Go on.", history, "").dump, 10_000)
    assert not isinstance(left, Encoded)
    assert left["history"][0]["parts"][0]["content"] is content


def test_decisions_on_calls_come_back() -> None:
    calls = [
        ToolCallPart("charge", {"n": 1}, "c1"),
        ToolCallPart("charge", '{"n": 2}', "c2"),
        ToolCallPart("x", {}, "c3"),
    ]
    rewritten: Any = calls[0].args
    rewritten["n"] = 1001  # as a hook of zrb does
    results = DeferredToolResults(
        approvals={"c1": ToolApproved(override_args={"n": 3}), "c2": ToolDenied("too much"), "c3": True}
    )
    stored = encoded_messages(partial(dump_decisions, APPROVAL, results, arguments_of(calls)), 10_000)
    assert isinstance(stored, Encoded)
    kept = codec.decode(stored.data)
    again = [
        ToolCallPart("charge", {"n": 1}, "c1"),
        ToolCallPart("charge", '{"n": 2}', "c2"),
        ToolCallPart("x", {}, "c3"),
    ]
    assert read_decisions(kept, again) == results
    assert again == calls


@pytest.mark.parametrize("result", [7, ["a"], {"a": 1}, {"kind": "prompt", "message": [1], "history": []}])
@pytest.mark.parametrize("read", [read_prompt, read_response, partial(read_decisions, calls=[])])
def test_what_a_person_has_marked_may_be_something_else(read: Any, result: Any) -> None:
    with pytest.raises(NotReadable):
        read(result)


def test_what_a_person_has_marked() -> None:
    assert read_response("a text").text == "a text"
    assert read_prompt(None) is None


def test_an_image_is_the_same_when_it_comes_back() -> None:
    """pydantic-ai reads it as an object of another class."""
    prompt = Prompt(["Look.", BinaryContent(b"\x89PNG\xff", media_type="image/png")], [], "")
    kept = encoded_messages(prompt.dump, 10_000)
    assert isinstance(kept, Encoded)
    again = read_prompt(codec.decode(kept.data))
    assert again is not None

    def sent(content: Any) -> str:
        message = ModelRequest(parts=[UserPromptPart(content)])
        return Fingerprints().of(TestModel(), None, ModelRequestParameters(), [message]).whole

    assert sent(again.message) == sent(prompt.message)
    assert sent(again.message) != sent(["Look.", BinaryContent(b"\x89PNG\xfe", media_type="image/png")])


@pytest.mark.slow
def test_a_release_of_pydantic_ai_that_lacks_a_class_of_content() -> None:
    """As 2.27, which zrb 2.65 has: its LLM tasks run, and are stored."""
    code = "from pydantic_ai import messages; del messages.BinaryAudio; import zrb_store.agents.runtime.stored"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
