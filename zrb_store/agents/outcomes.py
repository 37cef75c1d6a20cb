"""How a tool call ended, as it is stored and repeated: with a result, a wish to retry, or a wait for an approval."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from pydantic import TypeAdapter
from pydantic_ai import messages
from pydantic_ai.exceptions import (
    ApprovalRequired,
    CallDeferred,
    ModelRetry,
    ToolFailed,
    ToolFailedError,
    ToolRetryError,
)
from pydantic_ai.messages import ToolReturn

from zrb_store import codec, register_codec
from zrb_store.agents.fingerprint import digest, seen
from zrb_store.agents.prompts import Data, Stored
from zrb_store.errors import UnencodableValue, ValueTooLarge
from zrb_store.masking import ErrorText, error_text

_RETURN: TypeAdapter[Any] = TypeAdapter(ToolReturn)
_FIELDS = ("return_value", "content", "metadata", "tools")
_CONTENT_CLASSES = (
    *(messages.AudioUrl, messages.BinaryAudio, messages.BinaryContent, messages.BinaryImage, messages.CachePoint),
    *(messages.DocumentUrl, messages.ImageUrl, messages.TextContent, messages.UploadedFile, messages.VideoUrl),
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


def _read_content(stored: Any) -> Any:
    name, fields = stored
    return _CONTENT[name].validate_python(fields)


register_codec(
    _Content,
    name="zrb_store.agents.Content",
    encode=lambda one: [type(one.content).__name__, _CONTENT[type(one.content).__name__].dump_python(one.content)],
    decode=_read_content,
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
    call = {"call": outcome["call"]} if "call" in outcome else {}
    try:
        if outcome["kind"] == "return":
            data = {name: seen(value) for name, value in outcome.items() if name in _FIELDS}
            return codec.encode({**call, "kind": "return as json", "data": data}, limit=limit)
        if outcome["kind"] == "value":
            data = {"return_value": seen(outcome["value"])}
            return codec.encode({**call, "kind": "value as json", "data": data}, limit=limit)
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
