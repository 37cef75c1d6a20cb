"""The stored form of an agent's starting point and of the answers of models."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any, Literal, NamedTuple, TypeAlias, TypeGuard

from pydantic import TypeAdapter
from pydantic_ai import exceptions
from pydantic_ai.messages import (
    ModelMessage,
    ModelMessagesTypeAdapter,
    ModelRequest,
    ModelResponse,
    TextPart,
    UserPromptPart,
)
from pydantic_core import PydanticSerializationError, to_jsonable_python

from zrb_store import codec
from zrb_store.codec import Encoded
from zrb_store.errors import UnencodableValue, ValueTooLarge
from zrb_store.masking import mask_named, mask_printed, mask_texts

_RESPONSE: TypeAdapter[ModelResponse] = TypeAdapter(ModelResponse)
Mode = Literal["python", "json"]
Data: TypeAlias = dict[str, Any]  # plain data, and what our codecs know
Stored: TypeAlias = Encoded | Data
_WRONG = (KeyError, IndexError, AttributeError, TypeError, ValueError)


class NotReadable(Exception):
    """What a person has marked as the result of a step is nothing that an agent can go on with."""


class Prompt(NamedTuple):
    """What an agent starts from."""

    message: Any  # the final prompt of the user, with live context and attachments; None if the history ends with it
    history: list[ModelMessage]
    system_prompt: str

    def stored(self, limit: int, reason: str | None = None) -> Stored:
        """Return it as it is stored, with the reason why the agent started anew if the step had completed."""
        message: list[ModelMessage] = (
            [] if self.message is None else [ModelRequest(parts=[UserPromptPart(self.message)])]
        )

        def dump(mode: Mode) -> Data:
            return {
                "kind": "prompt",
                **({"changed": reason} if reason else {}),
                "message": ModelMessagesTypeAdapter.dump_python(message, mode=mode),
                "history": ModelMessagesTypeAdapter.dump_python(self.history, mode=mode),
                "system_prompt": self.system_prompt,
            }

        return encoded_messages(dump, limit)


def read_prompt(stored: Any) -> Prompt | None:
    """Return a stored prompt; None if a person has marked its step as completed, without a result."""
    if stored is None:
        return None
    try:
        message: Any = ModelMessagesTypeAdapter.validate_python(stored["message"])
        content = message[0].parts[0].content if message else None
        return Prompt(content, ModelMessagesTypeAdapter.validate_python(stored["history"]), stored["system_prompt"])
    except _WRONG as error:
        raise NotReadable("no prompt of an agent") from error


def stored_response(response: ModelResponse, limit: int, reason: str | None = None) -> Stored:
    """Return an answer as it is stored, with the reason why the model was asked again if the step had completed."""
    kept = {"kind": "answer", **({"changed": reason} if reason else {})}

    def dump(mode: Mode) -> Data:
        data = _RESPONSE.dump_python(response, mode=mode)
        # As a text: no other part of most answers needs a tag, and pydantic reads both.
        return {**kept, "response": {**data, "timestamp": response.timestamp.isoformat()}}

    return encoded_messages(dump, limit)


def encoded_messages(dump: Callable[[Mode], Data], limit: int) -> Stored:
    """Return messages as they are stored: what our codecs do not know, as pydantic writes it.

    What pydantic does not know either is returned as it is.
    """
    plain = dump("python")  # not as JSON: a date in the provider's details would come back as a text
    try:
        return codec.encode(plain, limit=limit)
    except (UnencodableValue, ValueTooLarge):
        pass
    try:
        return codec.encode(dump("json"), limit=limit)
    except (PydanticSerializationError, UnencodableValue, ValueTooLarge):
        return plain


def read_response(stored: Any) -> ModelResponse:
    """Return a stored answer, or raise a stored refusal. A text that a person has marked as the result is an answer."""
    if isinstance(stored, str):
        return ModelResponse(parts=[TextPart(stored)])
    try:
        if stored.get("kind") != "refused":
            return _RESPONSE.validate_python(stored["response"])
        refusal = _read_refusal(stored)
    except _WRONG as error:
        raise NotReadable("no answer of a model") from error
    raise refusal


def stored_refusal(error: Exception, limit: int) -> Stored:
    """Return the refusal of a request as it is stored: what zrb decides by when it goes on from it."""
    details = {}
    for name, value in vars(error).items():
        if not name.startswith("_") and name != "headers":  # these may have cookies
            with suppress(PydanticSerializationError):
                details[name] = to_jsonable_python(value)
    refusal = {
        "kind": "refused",
        "types": [one.__name__ for one in type(error).__mro__ if _is_of_pydantic_ai(one)],
        "text": mask_printed(str(error)),
        "details": mask_texts(mask_named(details), mask_printed),
    }
    return encoded_messages(lambda _: refusal, limit)


def _read_refusal(stored: Data) -> Exception:
    found = [getattr(exceptions, name, None) for name in stored["types"]]
    known = [one for one in found if _is_of_pydantic_ai(one)]
    bases = [one for one in known if not any(issubclass(other, one) for other in known if other is not one)]
    # Adapters raise private classes that have two bases: the error with an HTTP status, and a category.
    kind: type[Exception] = bases[0] if len(bases) == 1 else type("Refused", tuple(bases or [Exception]), {})
    refusal = kind.__new__(kind, stored["text"])
    refusal.__dict__.update({"headers": None, **stored["details"]})
    return refusal


def _is_of_pydantic_ai(kind: Any) -> TypeGuard[type[Exception]]:
    """Whether a class is one of pydantic-ai's errors, by its name."""
    return isinstance(kind, type) and issubclass(kind, Exception) and getattr(exceptions, kind.__name__, None) is kind


def summary_of_response(response: ModelResponse) -> Data:
    """Return what may be stored of an answer whose content may not: its model and its cost."""
    dumped = _RESPONSE.dump_python(ModelResponse(parts=[], usage=response.usage), mode="json")
    return {"kind": "answer", "response": {"model_name": response.model_name, "usage": dumped["usage"]}}
