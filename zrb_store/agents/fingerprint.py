"""The fingerprint of a model request: whether it equals an earlier one, and otherwise what has changed.

A request repeats the whole conversation. So only what differs from the request before it is stored with a step.
"""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import itertools
import json
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, TypeAlias, TypeVar

from pydantic import ConfigDict, RootModel, TypeAdapter
from pydantic_ai.messages import ModelMessage
from pydantic_ai.models import Model, ModelRequestParameters
from pydantic_ai.settings import ModelSettings
from pydantic_ai.tools import ToolDefinition
from pydantic_core import to_jsonable_python

from zrb_store.records import JsonValue

# What differs from run to run, or is not sent to the model.
_NOT_SENT = ("timestamp", "metadata", "retry")
# How long to wait for an answer does not change it.
_SETTINGS_LEFT_OUT = ("timeout", "request_timeout")
_TOOL_FIELDS = ("description", "parameters_json_schema", "strict", "kind", "defer_loading")
# Compared if they are not at their default.
_OUTPUT_FIELDS = ("prompted_output_template", "allow_image_output", "thinking")
_ANY: TypeAdapter[Any] = TypeAdapter(Any, config=ConfigDict(ser_json_bytes="base64"))
_KINDS = ("kind", "part_kind")
_PARTS = operator.attrgetter("parts")

T = TypeVar("T")


Fallback: TypeAlias = Callable[[Any], Any]


def plain(value: Any, fallback: Fallback | None = None) -> JsonValue:
    """Return a value as JSON data, as a model sees it, with the elements of sets sorted.

    Fields of pydantic-ai's objects that are at their default are left out, since each of its releases has more of them.
    """
    kind = type(value)
    if value is None or (isinstance(value, str | int | float) and kind in (str, bool, int, float)):
        return value
    if isinstance(value, Mapping):
        return {_key(key, fallback): plain(item, fallback) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item, fallback) for item in value]
    if isinstance(value, (set, frozenset)):
        return sorted((plain(item, fallback) for item in value), key=_sorting)
    if isinstance(value, Enum):
        return plain(value.value, fallback)
    if _is_of_pydantic_ai(kind) or (dataclasses.is_dataclass(kind) and not hasattr(kind, "__pydantic_serializer__")):
        return plain(_fields(value), fallback)
    return _in_order(_written(value, fallback), value, _without_defaults)


def seen(value: Any) -> JsonValue:
    """Return a value as JSON data, as a model sees it, with the elements of sets sorted."""
    return _in_order(_written(value), value, lambda data, _: data)


def _written(value: Any, fallback: Fallback | None = None) -> JsonValue:
    written: JsonValue = _ANY.dump_python(value, mode="json", by_alias=True, fallback=fallback)
    return written


def _without_defaults(data: JsonValue, value: Any) -> JsonValue:
    # Only content such as pictures, which has a serializer of its own, comes back as itself. A user's serializer may
    # have written something else.
    is_content = hasattr(type(value), "__pydantic_serializer__") and data == _written(value)
    return plain(value) if is_content else data


def _in_order(data: JsonValue, value: Any, content: Callable[[JsonValue, Any], JsonValue]) -> JsonValue:
    """Return the JSON data that pydantic has made of a value, with the elements of sets sorted."""
    if _is_of_pydantic_ai(type(value)):
        return content(data, value)
    if isinstance(value, RootModel):
        return _in_order(data, value.root, content)
    # Pydantic iterates a set as we do, so that each element is found beside its data.
    if isinstance(data, list) and isinstance(value, (set, frozenset, list, tuple)) and len(data) == len(value):
        items = [_in_order(one, item, content) for one, item in zip(data, value, strict=True)]
        return sorted(items, key=_sorting) if isinstance(value, (set, frozenset)) else items
    if isinstance(data, dict):
        items_of = _items(value, data)
        return {key: _in_order(one, items_of.get(key), content) for key, one in data.items()}
    return data


def _items(value: Any, data: dict[str, JsonValue]) -> dict[str, Any]:
    """Return what is in a mapping, a model or a dataclass, by the names that pydantic has written."""
    kind = type(value)
    if isinstance(value, Mapping):
        return dict(zip(data if len(data) == len(value) else map(str, value), value.values(), strict=True))
    if not hasattr(kind, "__pydantic_fields__"):
        names = [one.name for one in dataclasses.fields(kind)] if dataclasses.is_dataclass(kind) else []
        return {name: getattr(value, name, None) for name in names}
    named = {getattr(one, "serialization_alias", None) or name: name for name, one in kind.__pydantic_fields__.items()}
    computed = kind.__pydantic_decorators__.computed_fields
    named |= {one.info.alias or name: name for name, one in computed.items()}
    found = {key: getattr(value, name, None) for key, name in named.items() if key in data}
    return {**(getattr(value, "__pydantic_extra__", None) or {}), **found}


def _sorting(item: JsonValue) -> str:
    return json.dumps(item, sort_keys=True)


def _is_of_pydantic_ai(kind: type[Any]) -> bool:
    return kind.__module__.startswith("pydantic_ai.") and dataclasses.is_dataclass(kind)


def _fields(value: Any) -> Any:
    """Return the fields of an object that count: of pydantic-ai's, those that are not at their default."""
    kind = type(value)
    if hasattr(kind, "__pydantic_serializer__"):
        fields = _ANY.dump_python(value, by_alias=True)
    else:
        fields = {one.name: getattr(value, one.name, None) for one in dataclasses.fields(kind)}
    if _is_of_pydantic_ai(kind):
        if kind not in _defaults:
            _defaults[kind] = {one.name: _default(one) for one in dataclasses.fields(kind) if one.name not in _KINDS}
        defaults = _defaults[kind]
        fields = {name: item for name, item in fields.items() if name not in defaults or item != defaults[name]}
    return fields


def _key(key: Any, fallback: Fallback | None) -> str:
    if type(key) is str and key.isascii():
        return key
    try:
        (text,) = to_jsonable_python({key: None}, fallback=fallback, bytes_mode="base64")
        return str(text)
    except ValueError:  # pydantic knows no such key
        return json.dumps(plain(key, fallback))


def _default(one: dataclasses.Field[Any]) -> Any:
    return one.default_factory() if one.default_factory in (dict, list) else one.default


_defaults: dict[type[Any], dict[str, Any]] = {}  # of the fields of pydantic-ai's classes


def digest(value: Any, length: int = 12) -> str:
    """Return a short digest of a value."""
    try:
        data = plain(value, lambda other: type(other).__qualname__)
    except RecursionError:  # many values would have one digest
        raise
    except Exception:  # noqa: BLE001 - whatever a user's own serializer raises
        data = type(value).__qualname__
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:length]


@dataclass
class Request:
    """A request to a model, as digests."""

    model: str  # its name
    parts: dict[str, JsonValue]  # sent beside the messages: `settings` and `tools` by name, `output`, `instructions`
    messages: list[str]
    whole: str = field(init=False)

    def __post_init__(self) -> None:
        # As `digest` makes it, but the digests of messages are plain already.
        text = json.dumps([self.model, plain(self.parts), self.messages], sort_keys=True)
        self.whole = hashlib.sha256(text.encode()).hexdigest()[:32]

    def stored(self, before: Request | None) -> dict[str, JsonValue]:
        """Return what is stored of it: what differs from the request before, and a digest of the whole."""
        known = before.parts if before else {}
        same = _common(before.messages if before else [], self.messages)
        changed = {name: value for name, value in self.parts.items() if known.get(name) != value}
        return {
            "model": self.model,
            **changed,
            "messages": len(self.messages),
            "new": [*self.messages[same:]],
            "digest": self.whole,
        }

    def difference(self, stored: Mapping[str, Any], before: Request | None) -> str:
        """Say how it differs from a stored one that followed the same request; empty if it does not."""
        if stored.get("digest") == self.whole:
            return ""
        if stored.get("model") != self.model:
            return f"model {stored.get('model')} became {self.model}"
        known = before.parts if before else {}
        for name, now in self.parts.items():
            then = stored.get(name, known.get(name))
            if then != now:
                return _named_difference(name, then, now)
        new = stored.get("new", [])
        then = (before.messages if before else [])[: stored.get("messages", 0) - len(new)] + new
        return f"messages[{_common(then, self.messages)}]"


def _named_difference(name: str, then: JsonValue, now: JsonValue) -> str:
    if not isinstance(now, dict) or not isinstance(then, dict):
        return name
    for key in (*now, *then):
        if key not in then:
            return f"{_SINGULAR[name]} {key} is new"
        if key not in now:
            return f"{_SINGULAR[name]} {key} is gone"
        if then[key] != now[key]:
            return f"{_SINGULAR[name]} {key}"
    return name


_SINGULAR = {"settings": "setting", "tools": "tool"}


def _common(one: Sequence[T], two: Sequence[T]) -> int:
    """Return how many elements at the beginning are equal."""
    shorter = min(len(one), len(two))
    if one[:shorter] == two[:shorter]:  # a request repeats the one before
        return shorter
    same = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(one, two, strict=False))
    return sum(1 for _ in same)


class Fingerprints:
    """Makes the fingerprints of the requests of one agent.

    A request repeats the messages of the one before: those are the same objects, and only the others are looked at.
    Of a message that a hook has made, such as a capability that stamps the time, only the code of the hooks counts and
    what they were given, so that the message may change by itself.
    """

    def __init__(self) -> None:
        self._messages: dict[int, tuple[ModelMessage, int, str]] = {}
        self._tools: dict[str, tuple[ToolDefinition, str]] = {}
        self._made: dict[str, str] = {}  # digests of messages that hooks have made: how they were made
        self.functions: Sequence[str] = ()  # digests of those that give the first parts of the instructions
        self._code = ""  # of the hooks
        self._last: list[ModelMessage] = []  # the messages of a request
        self._lengths: list[int] = []  # how many parts each of them had
        self._given: list[str] = []  # their digests, before the hooks
        self._old = 0  # how many of them an earlier request had: the hooks may change the others in place

    def before_hooks(self, messages: Sequence[ModelMessage], code: str) -> None:
        """Note the messages of the next request before hooks may change them, whose code has this digest."""
        self._code = code
        self._given = self._of_messages(messages)

    def _of_messages(self, messages: Sequence[ModelMessage]) -> list[str]:
        lengths = _lengths(messages)
        same = self._same(messages, lengths)
        new = [self._known(message) is None for message in messages[same:]]
        self._old = same + (new.index(True) if True in new else len(new))
        self._given = [*self._given[:same], *map(self._of_message, messages[same:])]
        self._last, self._lengths = list(messages), lengths
        return self._given

    def _same(self, messages: Sequence[ModelMessage], lengths: Sequence[int]) -> int:
        """Return how many messages at the beginning are the last ones, without new parts."""
        found = _common(self._lengths, lengths)
        same = list(map(operator.is_, self._last[:found], messages))
        return same.index(False) if False in same else len(same)

    def of(
        self,
        model: Model,
        settings: ModelSettings | None,
        parameters: ModelRequestParameters,
        messages: Sequence[ModelMessage],
    ) -> Request:
        """Return the fingerprint of a request."""
        # Of a part whose function is known, the code counts, and the text of any other.
        functions = iter(self.functions)
        instructions = [
            next(functions, part.content) if part.dynamic else part.content
            for part in getattr(parameters, "instruction_parts", None) or ()
        ]
        tools = (*parameters.function_tools, *parameters.output_tools)
        output = (
            parameters.output_mode,
            parameters.output_object,
            parameters.allow_text_output,
            [(type(tool).__qualname__, tool) for tool in parameters.native_tools],
            *(
                (name, own)
                for name in _OUTPUT_FIELDS
                if (own := getattr(parameters, name, None)) != getattr(ModelRequestParameters, name, None)
            ),
        )
        parts: dict[str, JsonValue] = {
            "settings": {
                name: digest(value) for name, value in (settings or {}).items() if name not in _SETTINGS_LEFT_OUT
            },
            "instructions": digest(instructions),
            "tools": {tool.name: self._of_tool(tool) for tool in tools},
            "output": digest(output),
        }
        return Request(model_name(model), parts, self._of_sent(messages))

    def _of_tool(self, tool: ToolDefinition) -> str:
        known = self._tools.get(tool.name)
        if known is None or known[0] != tool:
            fields = _fields(tool)
            names = (*_TOOL_FIELDS, *["return_schema"] * bool(fields.get("include_return_schema")))
            self._tools[tool.name] = known = (copy.deepcopy(tool), digest([fields.get(name) for name in names]))
        return known[1]

    def _of_sent(self, messages: Sequence[ModelMessage]) -> list[str]:
        if not self._code:
            return self._of_messages(messages)
        same = min(self._old, self._same(messages, _lengths(messages)))
        given, found = self._given, self._given[:same]
        new = set(map(id, self._last[self._old :]))
        for place, message in enumerate(messages[same:], same):
            if id(message) in new:
                self._messages.pop(id(message), None)
            sent = self._of_message(message)
            if sent not in given:
                made = digest([self._code, place, given])
                self._made[sent] = made
                self._messages[id(message)] = (message, len(message.parts), made)
                sent = made
            found.append(sent)
        return found

    def _known(self, message: ModelMessage) -> str | None:
        known = self._messages.get(id(message))
        return known[2] if known is not None and known[0] is message and known[1] == len(message.parts) else None

    def _of_message(self, message: ModelMessage) -> str:
        known = self._known(message)
        if known is not None:
            return known
        found = message_digest(message)
        found = self._made.get(found, found)
        self._messages[id(message)] = (message, len(message.parts), found)
        return found


def message_digest(message: ModelMessage) -> str:
    """Return a digest of what of a message is sent to a model."""
    return digest(_sent(message))


def _lengths(messages: Sequence[ModelMessage]) -> list[int]:
    return list(map(len, map(_PARTS, messages)))


def model_name(model: Model) -> str:
    """Return the name of a pydantic-ai model with its provider."""
    return str(getattr(model, "model_id", None) or model.model_name)


def _sent(message: ModelMessage) -> Any:
    """Return what of a message is sent to a model."""
    parts = [{name: item for name, item in _fields(part).items() if name not in _NOT_SENT} for part in message.parts]
    return [message.kind, *map(digest, parts)]
