"""What an agent starts from, and the answers of models, as they are stored."""

from __future__ import annotations

from typing import Any, NamedTuple

from pydantic import TypeAdapter
from pydantic_ai import DeferredToolResults
from pydantic_ai.messages import (
    ModelMessage,
    ModelMessagesTypeAdapter,
    ModelRequest,
    ModelResponse,
    TextPart,
    UserPromptPart,
)
from pydantic_core import PydanticSerializationError

from zrb_store import codec
from zrb_store.codec import Encoded
from zrb_store.errors import UnencodableValue, ValueTooLarge

_RESPONSE: TypeAdapter[ModelResponse] = TypeAdapter(ModelResponse)
_APPROVALS: TypeAdapter[DeferredToolResults] = TypeAdapter(DeferredToolResults)


class Prompt(NamedTuple):
    """What an agent starts from.

    Attributes:
        message: The final prompt of the user, with zrb's live context and the attachments; None if the history ends
            with it.
        history: The messages before.
        system_prompt: The instructions.
    """

    message: Any
    history: list[ModelMessage]
    system_prompt: str

    def stored(self) -> dict[str, Any]:
        """Return it as plain data."""
        message: list[ModelMessage] = (
            [] if self.message is None else [ModelRequest(parts=[UserPromptPart(self.message)])]
        )
        return {
            "kind": "prompt",
            "message": ModelMessagesTypeAdapter.dump_python(message, mode="json"),
            "history": ModelMessagesTypeAdapter.dump_python(self.history, mode="json"),
            "system_prompt": self.system_prompt,
        }


def read_prompt(stored: dict[str, Any]) -> Prompt:
    """Return a stored prompt."""
    message: Any = ModelMessagesTypeAdapter.validate_python(stored["message"])
    content = message[0].parts[0].content if message else None
    return Prompt(content, ModelMessagesTypeAdapter.validate_python(stored["history"]), stored["system_prompt"])


def stored_response(response: ModelResponse, limit: int, reason: str | None = None) -> Encoded | dict[str, Any]:
    """Return a model's answer as it is stored.

    What our codecs do not know in the details of a provider is stored as pydantic writes it. What pydantic does not
    know either is returned as it is.

    Args:
        response: The answer.
        limit: How many bytes it may have.
        reason: Why the model was asked again although the step had completed.
    """
    kept = {"kind": "answer", **({"changed": reason} if reason else {})}
    # Not as JSON: a date in the provider's details would come back as a text.
    stored = {**kept, "response": _RESPONSE.dump_python(response)}
    try:
        return codec.encode(stored, limit=limit)
    except (UnencodableValue, ValueTooLarge):
        pass
    try:
        return codec.encode({**kept, "response": _RESPONSE.dump_python(response, mode="json")}, limit=limit)
    except (PydanticSerializationError, UnencodableValue, ValueTooLarge):
        return stored


def read_response(stored: Any) -> ModelResponse:
    """Return a stored answer: the very response. A text that a person has marked as the result is one too."""
    if isinstance(stored, str):
        return ModelResponse(parts=[TextPart(stored)])
    return _RESPONSE.validate_python(stored["response"])


def summary_of_response(response: ModelResponse) -> dict[str, Any]:
    """Return what may be stored of an answer whose content may not: its model and its cost."""
    dumped = _RESPONSE.dump_python(ModelResponse(parts=[], usage=response.usage), mode="json")
    return {"kind": "answer", "response": {"model_name": response.model_name, "usage": dumped["usage"]}}


def stored_approvals(results: DeferredToolResults) -> dict[str, Any]:
    """Return what was decided about tool calls as plain data."""
    return {"kind": "approval", "results": _APPROVALS.dump_python(results, mode="json")}


def read_approvals(stored: dict[str, Any]) -> DeferredToolResults:
    """Return what was decided about tool calls."""
    return _APPROVALS.validate_python(stored["results"])
