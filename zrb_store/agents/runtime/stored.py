"""The stored forms: of what an agent starts from, of answers and refusals of models, and of how tool calls ended."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Literal, NamedTuple, TypeAlias, TypeGuard

from pydantic import TypeAdapter
from pydantic_ai import exceptions, messages
from pydantic_ai.exceptions import (
    ApprovalRequired,
    CallDeferred,
    ModelRetry,
    ToolFailed,
    ToolFailedError,
    ToolRetryError,
)
from pydantic_ai.messages import (
    ModelMessage,
    ModelMessagesTypeAdapter,
    ModelRequest,
    ModelResponse,
    TextPart,
    ToolReturn,
    UserPromptPart,
)
from pydantic_core import PydanticSerializationError, to_jsonable_python

from zrb_store import codec, register_codec
from zrb_store.agents.runtime.digests import digest, plain
from zrb_store.agents.runtime.prices import cost_of
from zrb_store.codec import Encoded
from zrb_store.errors import UnencodableValue, ValueTooLarge
from zrb_store.masking import ErrorText, error_text, mask_named, mask_printed, mask_texts

_RESPONSE: TypeAdapter[ModelResponse] = TypeAdapter(ModelResponse)
Mode = Literal["python", "json"]
Data: TypeAlias = dict[str, Any]  # plain data, and what our codecs know
Stored: TypeAlias = Encoded | Data
Dump: TypeAlias = Callable[[Mode], Data]
"""Returns messages, among others, as they are stored: as pydantic keeps them for Python, or for JSON."""
_WRONG = (KeyError, IndexError, AttributeError, TypeError, ValueError)


class NotReadable(Exception):
    """What a person has marked as the result of a step is nothing that an agent can go on with."""


class Prompt(NamedTuple):
    """What an agent starts from."""

    message: Any  # the final prompt of the user, with live context and attachments; None if the history ends with it
    history: list[ModelMessage]
    system_prompt: str

    def dump(self, mode: Mode) -> Data:
        """Return it as it is stored."""
        asked = [] if self.message is None else [UserPromptPart(self.message)]
        message: list[ModelMessage] = [ModelRequest(parts=[part]) for part in asked]
        return {
            "kind": "prompt",
            "message": ModelMessagesTypeAdapter.dump_python(message, mode=mode),
            "history": ModelMessagesTypeAdapter.dump_python(self.history, mode=mode),
            "system_prompt": self.system_prompt,
        }


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


def dump_response(response: ModelResponse, mode: Mode) -> Data:
    """Return an answer as it is stored."""
    data = _RESPONSE.dump_python(response, mode=mode)
    cost = cost_of(response)
    # As a text: no other part of most answers needs a tag, and pydantic reads both.
    answer = {"kind": "answer", "response": {**data, "timestamp": response.timestamp.isoformat()}}
    return answer if cost is None else {**answer, "cost": cost}


def encoded_messages(dump: Dump, limit: int) -> Stored:
    """Return messages as they are stored: what our codecs do not know, as pydantic writes it.

    What pydantic does not know either is returned as it is.
    """
    data = dump("python")  # not as JSON: a date in the provider's details would come back as a text
    try:
        return codec.encode(data, limit=limit)
    except (UnencodableValue, ValueTooLarge):
        pass
    try:
        return codec.encode(dump("json"), limit=limit)
    except (PydanticSerializationError, UnencodableValue, ValueTooLarge):
        return data


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


def refusal_of(error: Exception) -> Data:
    """Return the refusal of a request as it is stored: what zrb decides by when it goes on from it."""
    details = {}
    for name, value in vars(error).items():
        if not name.startswith("_") and name != "headers":  # these may have cookies
            with suppress(PydanticSerializationError):
                details[name] = to_jsonable_python(value)
    return {
        "kind": "refused",
        "types": [one.__name__ for one in type(error).__mro__ if _is_of_pydantic_ai(one)],
        "text": mask_printed(str(error)),
        "details": mask_texts(mask_named(details), mask_printed),
    }


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


def summary(data: Data) -> Encoded:
    """Return what is stored of a result whose content may not be: its kind, and of an answer the model and the cost."""
    found: Data = {name: data[name] for name in ("kind", "changed", "cost") if name in data}
    if "response" in data:
        found["response"] = {name: data["response"][name] for name in ("model_name", "usage")}
    return codec.encode(found)._replace(restorable=False)


_RETURN: TypeAdapter[Any] = TypeAdapter(ToolReturn)
_FIELDS = ("return_value", "content", "metadata", "tools")
_CONTENT_CLASSES = tuple(
    getattr(messages, name)
    for name in (
        *("AudioUrl", "BinaryAudio", "BinaryContent", "BinaryImage", "CachePoint"),
        *("DocumentUrl", "ImageUrl", "TextContent", "UploadedFile", "VideoUrl"),
    )
    if hasattr(messages, name)  # pydantic-ai 2.27 and before have no BinaryAudio
)
_CONTENT: dict[str, TypeAdapter[Any]] = {cls.__name__: TypeAdapter(cls) for cls in _CONTENT_CLASSES}

UNKNOWN = (
    "It is unknown whether this call took effect: the process was killed while it ran, and the call was not repeated. "
    "Find out before you call {name} again."
)
"""What the agent is told of a call whose end is unknown."""


class Ended(NamedTuple):
    """How a tool call ended."""

    outcome: Data  # what is stored
    result: Any = None
    raised: BaseException | None = None
    undone: bool = False  # whether what it did to queues is given back, since it failed

    @property
    def error(self) -> BaseException | ErrorText:
        """Why it failed."""
        if self.raised is not None:
            own = self.raised.__cause__ or self.raised
            # Who asks to try again has no fault to find.
            return error_text(own)._replace(traceback="") if self.outcome["kind"] == "retry" else own
        # zrb has made a text of it. Secrets are masked in it as in any error.
        return error_text(Exception(str(self.result.return_value)))._replace(traceback="")


async def ended(call: Callable[[], Awaitable[Any]]) -> Ended:
    """Call a tool and return how it ended; raise what ends the agent, or may come in another form the next time."""
    try:
        result = await call()
    except (ModelRetry, ToolRetryError, ToolFailed, ToolFailedError) as error:
        is_retry = isinstance(error, (ModelRetry, ToolRetryError))
        cls = ModelRetry if is_retry else ToolFailed
        own = error if isinstance(error, cls) else error.__cause__
        # Subclasses of pydantic-ai's own tell the model more than the error's text.
        if not isinstance(own, cls) or (type(own) is not cls and type(own).__module__.startswith("pydantic_ai")):
            raise
        outcome = {"kind": "retry" if is_retry else "failed", "message": own.message}
        return Ended(outcome, raised=error, undone=True)
    except (ApprovalRequired, CallDeferred) as error:
        kind = "approval" if isinstance(error, ApprovalRequired) else "deferred"
        return Ended({"kind": kind, "metadata": error.metadata}, raised=error)
    if not isinstance(result, ToolReturn):
        return Ended({"kind": "value", "value": result}, result)
    # zrb returns an exception of a tool as a text for the model.
    failed_in_zrb = isinstance(result.metadata, dict) and result.metadata.get("error") is True
    fields = {name: getattr(result, name) for name in _FIELDS if getattr(result, name, None) is not None}
    return Ended({"kind": "return", **fields}, result, undone=failed_in_zrb)


class _Content(NamedTuple):
    """Content of pydantic-ai, such as a picture. It is stored as pydantic-ai writes it, and comes back as itself."""

    content: Any


register_codec(
    _Content,
    name="zrb_store.agents.Content",
    encode=lambda one: [type(one.content).__name__, _CONTENT[type(one.content).__name__].dump_python(one.content)],
    decode=lambda stored: _CONTENT[stored[0]].validate_python(stored[1]),
)


def storable(value: Any) -> Any:
    """Return a value in which the content of pydantic-ai is in a form that comes back as itself."""
    if type(value) in _CONTENT_CLASSES:
        return _Content(value)
    if type(value) in (list, tuple):
        return type(value)(map(storable, value))
    return {key: storable(item) for key, item in value.items()} if type(value) is dict else value


def encoded(outcome: Data, limit: int) -> Stored:
    """Return an outcome in the form in which it is stored.

    If a model would see something else in what our codecs restore, or if they do not know it, what it sees is stored as
    JSON. What pydantic does not know either is returned as it is.
    """
    try:
        stored = codec.encode(storable(outcome), limit=limit)
        # Without a tag it consists of JSON's own types, which come back as they are.
        if '"$"' not in stored.data or digest(codec.decode(stored.data)) == digest(outcome):
            return stored
    except (UnencodableValue, ValueTooLarge):
        pass
    kept = {name: outcome[name] for name in ("call", "usage") if name in outcome}
    try:
        if outcome["kind"] in ("return", "value"):
            found = {"return_value": outcome["value"]} if "value" in outcome else outcome
            data = {name: plain(value) for name, value in found.items() if name in _FIELDS}
            return codec.encode({**kept, "kind": f"{outcome['kind']} as json", "data": data}, limit=limit)
    except Exception:  # noqa: BLE001 - whatever pydantic or a user's own serializer raises
        pass
    return outcome


def repeat(outcome: Any) -> Any:
    """Return what the tool returned, or raise what it raised. What a person has marked as the result is returned."""
    kind = outcome.get("kind") if isinstance(outcome, dict) else None
    if kind == "retry":
        raise ModelRetry(outcome["message"])
    if kind == "failed":
        raise ToolFailed(outcome["message"])
    if kind == "approval":
        raise ApprovalRequired(outcome["metadata"])
    if kind == "deferred":
        raise CallDeferred(outcome["metadata"])
    if kind == "return":
        return ToolReturn(**{name: value for name, value in outcome.items() if name in _FIELDS})
    if kind in ("return as json", "value as json"):
        result = _RETURN.validate_python(outcome["data"])
        return result if kind == "return as json" else result.return_value
    return outcome["value"] if kind in ("value", "unknown") else outcome
