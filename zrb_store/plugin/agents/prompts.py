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
            "message": ModelMessagesTypeAdapter.dump_python(message, mode="json"),
            "history": ModelMessagesTypeAdapter.dump_python(self.history, mode="json"),
            "system_prompt": self.system_prompt,
        }


def read_prompt(stored: dict[str, Any]) -> Prompt:
    """Return a stored prompt."""
    message: Any = ModelMessagesTypeAdapter.validate_python(stored["message"])
    content = message[0].parts[0].content if message else None
    return Prompt(content, ModelMessagesTypeAdapter.validate_python(stored["history"]), stored["system_prompt"])


def stored_response(response: ModelResponse) -> dict[str, Any]:
    """Return a model's answer as plain data."""
    dumped: dict[str, Any] = _RESPONSE.dump_python(response, mode="json")
    return dumped


def read_response(stored: Any) -> ModelResponse:
    """Return a stored answer: the very response. A text that a person has marked as the result is one too."""
    if isinstance(stored, str):
        return ModelResponse(parts=[TextPart(stored)])
    return _RESPONSE.validate_python(stored)


def summary_of_response(response: ModelResponse) -> dict[str, Any]:
    """Return what may be stored of an answer whose content may not: its model and its cost."""
    usage = stored_response(ModelResponse(parts=[], usage=response.usage))["usage"]
    return {"model_name": response.model_name, "usage": usage}


def stored_approvals(results: DeferredToolResults) -> dict[str, Any]:
    """Return what was decided about tool calls as plain data."""
    dumped: dict[str, Any] = _APPROVALS.dump_python(results, mode="json")
    return dumped


def read_approvals(stored: dict[str, Any]) -> DeferredToolResults:
    """Return what was decided about tool calls."""
    return _APPROVALS.validate_python(stored)
