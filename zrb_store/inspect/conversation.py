"""The conversation of an agent as a person reads it, turn by turn, from the steps that stand.

`diff` compares what of a turn does not change by itself: not its time, nor the ids that a model gives to calls.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from zrb_store.errors import TaskNotFound
from zrb_store.inspect.agents import agent_and_part, answer_text, is_answer_name
from zrb_store.inspect.show import SessionDocument, Step, Task
from zrb_store.records import JsonObject, JsonValue, iso, pick

_LIVE_CONTEXT = "\n\n<live-context>"
_CONTENT = "zrb_store.agents.Content"
_ROLES = {
    "system-prompt": "system",
    "user-prompt": "user",
    "text": "assistant",
    "tool-call": "tool call",
    "tool-return": "tool result",
    "retry-prompt": "tool result",
}


@dataclass(frozen=True, slots=True)
class Turn:
    """A part of a conversation."""

    role: str  # system, user, assistant, thinking, tool call, tool result, or what pydantic-ai calls it
    text: str
    tool: str | None = None
    arguments: JsonValue = None
    call: str | None = None  # the model's id of the call
    at: int | None = None  # when its step ended, in microseconds; None for what the agent started with
    tokens: tuple[int, int] | None = None  # of an answer, at its first turn: sent and given
    model: str | None = None  # its name, of an answer, at its first turn
    from_store: bool = False  # whether a later attempt, or a fork, used it again
    live_context: str | None = None  # what zrb added to a message of the user
    agent: str | None = None  # the run of an agent, if the task may have several

    def to_json(self) -> JsonObject:
        given, answered = self.tokens or (None, None)
        shown = pick(self, "role", "text", "tool", "arguments", "call", "model", "from_store", "live_context", "agent")
        return {**shown, "at": iso(self.at), "input_tokens": given, "output_tokens": answered}

    def compared(self) -> JsonValue:
        """Return what `diff` compares of it."""
        by: dict[str, JsonValue] = {} if self.model is None else {"model": self.model}
        called: dict[str, JsonValue] = {} if self.tool is None else {"tool": self.tool, "arguments": self.arguments}
        return {"role": self.role, "text": self.text, **by, **called}


def conversation(document: SessionDocument, task: str | None) -> tuple[str, list[Turn]]:
    """Return the conversation of a task's agent, and the task: by default the only one that has an agent."""
    with_agent = {each.name: each for each in document.tasks if each.counts is not None and each.counts.of_agent}
    names = ", ".join(with_agent) or "none"
    if task is None and len(with_agent) != 1:
        raise TaskNotFound(f"name a task of session {document.session.name} that has an agent: {names}")
    found = next(iter(with_agent.values())) if task is None else with_agent.get(task)
    if found is None:
        raise TaskNotFound(f"task {task} of session {document.session.name} has no agent; these have: {names}")
    return found.name, turns(found)


def turns(task: Task) -> list[Turn]:
    """Return the turns of a task's agents, one agent after the other, as the steps that stand began."""
    found: dict[str, list[Turn]] = {}
    for step in sorted(task.steps, key=lambda step: step.last.started_tick):
        agent, part = agent_and_part(step.name)
        found.setdefault(agent, []).extend(replace(turn, agent=agent or None) for turn in _of_step(step, part))
    return [turn for each in found.values() for turn in each]


def _of_step(step: Step, name: str) -> Iterator[Turn]:
    result, is_answer = step.result, is_answer_name(name)
    at, again = step.last.ended_at, any(step.costs.used_again)
    if step.status != "completed":
        if (is_answer or name.startswith("tool ")) and step.status != "waiting":
            error = step.last.error
            why = f": {error.message}" if error and error.message else ""
            yield Turn("assistant" if is_answer else "tool result", f"[{step.status}{why}]", at=at)
        return
    if type(result) is not dict:  # what a person has marked
        if is_answer or name.startswith("tool "):
            yield Turn("assistant" if is_answer else "tool result", _text(result), at=at)
        return
    kind = result.get("kind")
    if kind == "prompt":
        if system := result.get("system_prompt"):
            yield Turn("system", str(system))
        yield from _of_messages([*_list(result.get("history")), *_list(result.get("message"))])
    elif kind == "answer" and is_answer:
        response = _dict(result.get("response"))
        usage = _dict(response.get("usage"))
        tokens = _number(usage.get("input_tokens")), _number(usage.get("output_tokens"))
        for place, turn in enumerate(_of_messages([response])):
            turn = replace(turn, at=at, from_store=again)
            yield turn if place else replace(turn, tokens=tokens, model=str(response.get("model_name")))
    elif kind == "refused" and is_answer:
        yield Turn("assistant", f"[refused: {result.get('text', '')}]", at=at)
    elif name.startswith("tool ") and kind != "approval":
        tool, _, call = name.removeprefix("tool ").partition(" ")
        data = _dict(result.get("data")) or result
        names = ("value", "return_value", "message", "content")
        texts = [_text(data[name]) for name in names if data.get(name) is not None]
        yield Turn("tool result", "\n".join(texts), tool, result.get("call"), call, at, from_store=again)
    elif name.startswith("approval ") and kind in ("approved", "denied"):
        yield Turn("approval", answer_text(result), call=name.partition(" ")[2], at=at)
    elif name.startswith("approval ") or kind == "deferred results":
        decided = _dict(result.get("results"))
        for call, one in {**_dict(decided.get("approvals")), **_dict(decided.get("calls"))}.items():
            yield Turn(name.partition(" ")[0], _text(one), call=call, at=at)


def _of_messages(messages: Iterable[JsonValue]) -> Iterator[Turn]:
    for message in map(_dict, messages):
        for part in map(_dict, _list(message.get("parts"))):
            kind = str(part.get("part_kind"))
            tool, call = part.get("tool_name"), part.get("tool_call_id")
            arguments = part.get("args")
            if isinstance(arguments, str):
                with contextlib.suppress(ValueError, RecursionError):  # the model wrote something else
                    arguments = json.loads(arguments)
            text, has_context, context = _text(part.get("content")).partition(_LIVE_CONTEXT)
            yield Turn(
                _ROLES.get(kind, kind),
                text,
                None if tool is None else str(tool),
                _plain(arguments),
                None if call is None else str(call),
                live_context=context if has_context else None,
            )


def _text(value: JsonValue) -> str:
    value = _plain(value)
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        return "\n".join(map(str, value))
    return "" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _plain(value: JsonValue) -> JsonValue:
    """Return a value with a note in place of each picture or file."""
    if isinstance(value, list):
        return [_plain(one) for one in value]
    if type(value) is not dict:
        return value
    if value.get("type") == _CONTENT and "$" in value:
        return _plain(_list(value.get("v"))[-1])
    data = value.get("data")
    if "media_type" in value and (isinstance(data, str) or "$" in _dict(data)):
        text = data if isinstance(data, str) else str(_dict(data).get("v"))
        return f"[{value['media_type']}, {len(text) * 3 // 4 - text.count('=', -2):,} bytes]"
    if "media_type" in value and "url" in value:
        return f"[{value['media_type']}, {value['url']}]"
    return {key: _plain(one) for key, one in value.items()}


def _dict(value: JsonValue) -> dict[str, JsonValue]:
    return value if type(value) is dict else {}


def _list(value: JsonValue) -> list[JsonValue]:
    return value if type(value) is list else []


def _number(value: JsonValue) -> int:
    return value if type(value) is int else 0
