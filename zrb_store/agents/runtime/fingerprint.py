"""The fingerprint of a model request: whether it equals an earlier one, and otherwise what has changed.

A request repeats the whole conversation. So only what differs from the request before it is stored with a step.
"""

from __future__ import annotations

import copy
import hashlib
import itertools
import operator
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pydantic_ai.capabilities import AbstractCapability
from pydantic_ai.messages import ModelMessage
from pydantic_ai.models import Model, ModelRequestParameters
from pydantic_ai.models.fallback import FallbackModel
from pydantic_ai.settings import ModelSettings
from pydantic_ai.tools import RunContext, ToolDefinition

from zrb_store.agents.runtime.digests import code, digest, fields_of, sorted_json
from zrb_store.records import JsonValue

# What differs from run to run, or is not sent to the model.
_NOT_SENT = ("timestamp", "metadata", "retry")
# How long to wait for an answer does not change it.
_SETTINGS_LEFT_OUT = ("timeout", "request_timeout")
_TOOL_FIELDS = ("description", "parameters_json_schema", "strict", "kind", "defer_loading")
# Compared if they are not at their default.
_OUTPUT_FIELDS = ("prompted_output_template", "allow_image_output", "thinking")

_PARTS = operator.attrgetter("parts")

T = TypeVar("T")


@dataclass
class RequestFingerprint:
    """A request to a model, as digests."""

    model: str  # its name
    parts: dict[str, JsonValue]  # sent beside the messages: `settings` and `tools` by name, `output`, `instructions`
    messages: list[str]
    whole: str = field(init=False)

    def __post_init__(self) -> None:
        # As `digest` makes it, but all of this is plain already, and the digests of many messages need no escapes.
        text = sorted_json([self.model, self.parts])[:-1] + ', ["' + '", "'.join(self.messages) + '"]]'
        self.whole = hashlib.sha256(text.encode()).hexdigest()[:32]

    def stored(self, before: RequestFingerprint | None) -> dict[str, JsonValue]:
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

    def difference(self, stored: Mapping[str, Any], before: RequestFingerprint | None) -> str:
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
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(one, two, strict=False)))


class Fingerprints:
    """Makes the fingerprints of the requests of one agent.

    A request repeats the messages of the one before: those are the same objects, and only the others are looked at.
    Of a message that a hook has made, such as a capability that stamps the time, only the code of the hooks counts and
    what they were given, so that the message may change by itself.
    """

    def __init__(self) -> None:
        self._tools: dict[str, tuple[ToolDefinition, str]] = {}
        self._made: dict[str, str] = {}  # digests of messages that hooks have made: how they were made
        self._functions: Sequence[str] = ()  # digests of those that give the first parts of the instructions
        self._hooks = ""  # a digest of their code
        self._last: list[ModelMessage] = []  # the messages of a request, before the hooks
        self._lengths: list[int] = []  # how many parts each of them had
        self._given: list[str] = []  # their digests
        self._old = 0  # how many of them an earlier request had: the hooks may change the others in place

    def begin_run(self, ctx: RunContext[Any]) -> bool:
        """Note what a run of the agent has. Return whether any hooks may change its requests."""
        self._hooks = _hooks(getattr(ctx, "root_capability", None))  # newer releases have it
        self._functions = _functions(ctx)
        return bool(self._hooks)

    def before_hooks(self, messages: Sequence[ModelMessage]) -> None:
        """Note the next request as it is before hooks may change it."""
        if self._hooks:
            self._of_messages(messages)

    def _of_messages(self, messages: Sequence[ModelMessage]) -> list[str]:
        lengths = _lengths(messages)
        self._old = self._same(messages, lengths)
        self._given = [*self._given[: self._old], *map(self._of_message, messages[self._old :])]
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
    ) -> RequestFingerprint:
        """Return the fingerprint of a request."""
        # Of a part whose function is known, the code counts, and the text of any other.
        functions = iter(self._functions)
        instructions = [
            next(functions, part.content) if part.dynamic else part.content
            for part in getattr(parameters, "instruction_parts", None) or ()
        ] + [*functions]  # of those that gave no text
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
            "settings": {name: digest(own) for name, own in _settings(model, settings)},
            "instructions": digest(instructions),
            "tools": {tool.name: self._of_tool(tool) for tool in tools},
            "output": digest(output),
        }
        name = str(getattr(model, "model_id", None) or model.model_name)  # the former has the provider
        return RequestFingerprint(name, parts, self._of_sent(messages))

    def _of_tool(self, tool: ToolDefinition) -> str:
        known = self._tools.get(tool.name)
        if known is None or known[0] != tool:
            fields = fields_of(tool)
            names = (*_TOOL_FIELDS, *["return_schema"] * bool(fields.get("include_return_schema")))
            self._tools[tool.name] = known = (copy.deepcopy(tool), digest([fields.get(name) for name in names]))
        return known[1]

    def _of_sent(self, messages: Sequence[ModelMessage]) -> list[str]:
        if not self._hooks:
            return self._of_messages(messages)
        found = self._given[: min(self._old, self._same(messages, _lengths(messages)))]
        for place, message in enumerate(messages[len(found) :], len(found)):
            sent = self._of_message(message)
            if sent not in self._given:
                self._made[sent] = sent = self.placeholder_digest(place)
            found.append(sent)
        return found

    def placeholder_digest(self, place: int) -> str:
        """Return what stands for the digest of a message made by hooks."""
        return digest([self._hooks, place, self._given])

    def _of_message(self, message: ModelMessage) -> str:
        found = message_digest(message)
        return self._made.get(found, found)


def _settings(model: Model, settings: ModelSettings | None) -> Iterator[tuple[str, Any]]:
    """Yield the settings of a request that count, and those of the models that a `FallbackModel` asks."""
    yield from ((name, value) for name, value in (settings or {}).items() if name not in _SETTINGS_LEFT_OUT)
    for place, each in enumerate(model.models if isinstance(model, FallbackModel) else (), 1):
        yield from ((f"{name} of model {place}", value) for name, value in _settings(each, each.settings))


def _lengths(messages: Sequence[ModelMessage]) -> list[int]:
    return list(map(len, map(_PARTS, messages)))


def message_digest(message: ModelMessage) -> str:
    """Return a digest of what of a message is sent to a model."""
    return digest([message.kind, *map(digest, map(_sent, message.parts))])


def _sent(part: Any) -> dict[str, Any]:
    # Before 2.61, pydantic-ai gives a random id to the message that refuses an output.
    left_out = (*_NOT_SENT, "tool_call_id") if getattr(part, "tool_name", "") is None else _NOT_SENT
    return {name: item for name, item in fields_of(part).items() if name not in left_out}


_CHANGING = ("before_model_request", "wrap_model_request")


def _hooks(root: Any) -> str:
    """Return a digest of what may change an agent's requests: its capabilities, which `root` has; empty if none may."""
    found = [one for one in getattr(root, "capabilities", ()) if _may_change(one)]
    return digest(list(map(code, found))) if found else ""


def _may_change(capability: Any) -> bool:
    kind = type(capability)
    stock = [getattr(AbstractCapability, name, None) for name in _CHANGING]
    # pydantic-ai gives private ones of its own to each agent, which add nothing that changes by itself.
    is_user = not kind.__module__.startswith(("zrb_store.", "pydantic_ai.capabilities._"))
    return is_user and [getattr(kind, name, None) for name in _CHANGING] != stock


def _functions(ctx: Any) -> list[str]:
    """Return digests of the functions of an agent and its capabilities that give the instructions, in their order.

    There are none if they get `deps`, but zrb's: they say something else for each customer, so that their text counts.
    """
    override = getattr(ctx.agent, "_override_instructions", None)
    has_deps = ctx.deps is not None and not type(ctx.deps).__module__.startswith("zrb.")
    if has_deps or (override is not None and override.get() is not None):
        return []
    own = getattr(getattr(ctx, "root_capability", None), "get_instructions", lambda: None)()
    given = [*getattr(ctx.agent, "_instructions", ()), *(own if isinstance(own, list | tuple) else [own])]
    return [digest(code(one)) for each in given if callable(one := getattr(each, "instruction", each))]
