"""The steps of agents, which the plugin writes, as a person reads them: questions to models, calls of tools, costs."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, TypeAlias

from zrb_store.records import JsonValue

if TYPE_CHECKING:
    from zrb_store.inspect.show import Step

_Object: TypeAlias = dict[str, JsonValue]

_MODEL = re.compile(r"model(~\d+)?")
_MOST = 60  # characters of a call's arguments


def agent_note(name: str, result: JsonValue) -> str | None:
    """Return what the step of an agent did, such as `model 4: gpt-5.2, 1,204 in / 88 out tokens`; None for others."""
    try:
        return _note(name, result)
    except (AttributeError, KeyError, TypeError, ValueError):  # a step of the user's own that only looks like one
        return None


def _note(name: str, result: JsonValue) -> str | None:
    if type(result) is not dict:
        return None
    kind = result.get("kind")
    if kind == "answer" and _MODEL.fullmatch(name):
        parts = [_object(result["response"]).get("model_name"), _amount(*_tokens(result)), result.get("changed")]
        return f"model {_number(name)}: {', '.join(str(part) for part in parts if part)}"
    if kind == "refused" and _MODEL.fullmatch(name):
        return f"model {_number(name)}: refused: {str(result.get('text', '')).partition(chr(10))[0]}"
    if kind == "prompt":
        return f"prompt: {_first_line(result)}"
    if kind == "approval" and name.startswith("approval "):
        approvals = _object(_object(result["results"])["approvals"])
        return "approval: " + ", ".join(f"{call} {_verdict(one)}" for call, one in approvals.items())
    if kind == "deferred results" and name.startswith("deferred "):
        results = _object(result["results"])
        ended = {**_object(results["approvals"]), **_object(results["calls"])}
        return "deferred: " + ", ".join(f"{call} -> {_text(one)}" for call, one in ended.items())
    if isinstance(kind, str) and name.startswith("tool ") and kind in _ENDS:
        called = json.dumps(result["call"], ensure_ascii=False) if "call" in result else ""
        called = called if len(called) <= _MOST else f"{called[:_MOST]}..."
        return f"tool {name.split(' ')[1]} {called} -> {_ENDS[kind](result)}"
    return None


def agent_tokens(name: str, result: JsonValue) -> int | None:
    """Return the tokens of the answer of a model, and None of another step."""
    is_answer = type(result) is dict and result.get("kind") == "answer" and _MODEL.fullmatch(name)
    return sum(_tokens(result)) if is_answer and type(result) is dict else None


def agent_sum(steps: Iterable[Step], run: int | None) -> str:
    """Sum up the steps of an agent: `6 answers (1,204 in / 88 out tokens), 9 tool calls; 3 and 4 of them used again`.

    What completed before `run`, that of the task's last attempt, or was copied by a fork, was used again. Without an
    answer the sum is empty.
    """
    answers: list[tuple[bool, tuple[int, int]]] = []  # whether it was used again, and its tokens
    calls: list[bool] = []
    for step in steps:
        result = step.result
        kind = result.get("kind") if isinstance(result, dict) else None
        if type(result) is not dict or not isinstance(kind, str) or step.status != "completed":
            continue
        of_run = step.last.run  # a step that a fork has copied is of no run
        earlier = run is not None and (of_run is None or of_run < run)
        if kind == "answer" and _MODEL.fullmatch(step.name):
            answers.append((earlier, _tokens(result)))
        elif kind in _ENDS and kind != "approval" and step.name.startswith("tool "):  # it is called when approved
            calls.append(earlier)
    if not answers:
        return ""
    text = f"{len(answers)} answers ({_total(tokens for _, tokens in answers)}), {len(calls)} tool calls"
    again = [tokens for earlier, tokens in answers if earlier]
    if not again and not any(calls):
        return text
    return f"{text}; of these {len(again)} ({_total(again)}) and {sum(calls)} came from the store"


def _object(tree: JsonValue) -> _Object:
    if type(tree) is not dict:
        raise TypeError("not an object")
    return tree


def _list(tree: JsonValue) -> list[JsonValue]:
    if type(tree) is not list:
        raise TypeError("not a list")
    return tree


def _number(name: str) -> str:
    return name.partition("~")[2] or "1"


def _tokens(result: _Object) -> tuple[int, int]:
    response = result.get("response")
    usage = response.get("usage") if type(response) is dict else None
    given, answered = (usage.get(name) if type(usage) is dict else 0 for name in ("input_tokens", "output_tokens"))
    return given if type(given) is int else 0, answered if type(answered) is int else 0


def _amount(given: int, answered: int) -> str:
    return f"{given:,} in / {answered:,} out tokens"


def _total(tokens: Iterable[tuple[int, int]]) -> str:
    every = list(tokens)
    return _amount(sum(given for given, _ in every), sum(answered for _, answered in every))


def _first_line(result: _Object) -> str:
    try:
        message = _list(result["message"])[0] if result["message"] else _list(result["history"])[-1]
        content = _object(_list(_object(message)["parts"])[-1])["content"]
    except (KeyError, IndexError, TypeError):
        return ""
    text = content if isinstance(content, str) else next((one for one in _list(content) if isinstance(one, str)), "")
    return text.partition("\n\n<live-context>")[0].strip().partition("\n")[0]


def _verdict(result: JsonValue) -> str:
    kind = result.get("kind") if isinstance(result, dict) else result
    return "denied" if kind in ("tool-denied", False) else "approved"


def _text(value: JsonValue) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


_ENDS: dict[str, Callable[[_Object], str]] = {
    "value": lambda result: _text(result.get("value")),
    "return": lambda result: _text(result.get("return_value")),
    "value as json": lambda result: _text(_object(result["data"]).get("return_value")),
    "return as json": lambda result: _text(_object(result["data"]).get("return_value")),
    "retry": lambda result: f"asks to try again: {result['message']}",
    "failed": lambda result: f"failed: {result['message']}",
    "approval": lambda _: "waits for an approval",
    "deferred": lambda _: "waits for a result",
    "unknown": lambda _: "its outcome is unknown",
}
