"""The steps of agents, which the plugin writes, as a person reads them: questions to models, calls of tools, costs."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, TypeAlias

from zrb_store.records import AttemptRecord, JsonObject, JsonValue

_Object: TypeAlias = dict[str, JsonValue]

_PART = r"(?:model|prompt)(?:~\d+)?|(?:tool|approval|deferred) .*"
_STEP = re.compile(rf"(?:(?P<agent>.+?): )??(?P<part>{_PART})", re.DOTALL)
_MODEL = re.compile(r"model(~\d+)?")
_MOST = 60  # characters of a call's arguments


def agent_and_part(step: str) -> tuple[str, str]:
    """Return the agent that a step may be of, and what it is of it, such as `desk~2` and `tool charge c1`.

    Only the agents of `durable` have a name there.
    """
    found = _STEP.fullmatch(step)
    return (found["agent"] or "", found["part"]) if found else ("", step)


def agent_note(name: str, result: JsonValue) -> str | None:
    """Return what the step of an agent did, such as `model 4: gpt-5.2, 1,204 in / 88 out tokens`; None for others."""
    agent, part = agent_and_part(name)
    try:
        note = _note(part, result)
        return f"{agent}: {note}" if note and agent else note
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
        return f"prompt: {', '.join(part for part in (_first_line(result), str(result.get('changed') or '')) if part)}"
    if kind == "approval" and name.startswith("approval "):
        approvals = _object(_object(result["results"])["approvals"])
        return "approval: " + ", ".join(f"{call} {_verdict(one)}" for call, one in approvals.items())
    if name.startswith("approval ") and kind in ("approved", "denied"):
        return f"approval: {name.split(' ', 1)[1]} {answer_text(result)}"
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
    is_answer = type(result) is dict and result.get("kind") == "answer" and is_answer_name(name)
    return sum(_tokens(result)) if is_answer and type(result) is dict else None


class Spent(NamedTuple):
    """What some answers of models and some executions of tools have cost."""

    answers: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    tool_calls: int = 0

    def __add__(self, other: object) -> Spent:  # not as a tuple
        return Spent._make(map(sum, zip(self, other, strict=True))) if isinstance(other, Spent) else NotImplemented

    def text(self) -> str:
        """Return it as people read it, such as `3 answers (3,310 in / 240 out tokens) and 2 tool calls`."""
        answers = f"{self.answers} answer{'s' * (self.answers != 1)}"
        amount = f"{answers} ({_amount(self.input_tokens, self.output_tokens)})"
        calls = f"{self.tool_calls} tool call{'s' * (self.tool_calls != 1)}"
        return " and ".join([amount] * bool(self.answers) + [calls] * bool(self.tool_calls))


class Costs(NamedTuple):
    """What an agent has cost: what was paid, what was used again instead, and what was paid and then given back.

    An answer that was used again counts once, and is none that this session paid if a fork has copied it.
    """

    paid: Spent = Spent()
    used_again: Spent = Spent()
    thrown_away: Spent = Spent()

    def __add__(self, other: object) -> Costs:
        return Costs._make(map(Spent.__add__, self, other)) if isinstance(other, Costs) else NotImplemented

    def to_json(self) -> JsonObject:
        return {name: spent._asdict() for name, spent in self._asdict().items()}

    def text(self) -> str:
        """Return it in one line; empty if no answer was paid or used again."""
        if not self.paid.answers and not self.used_again.answers:
            return ""
        parts = {"paid": self.paid, "used again": self.used_again, "thrown away": self.thrown_away}
        return "; ".join(f"{name} {spent.text()}" for name, spent in parts.items() if any(spent))


NO_COSTS: Final = Costs()

Results: TypeAlias = Sequence[tuple[AttemptRecord, JsonValue]]  # the attempts of a step, with their results


def costs_of_step(attempts: Results, last_id: int | None) -> Costs:
    """Return the costs of a step of an agent; nothing if it is none.

    `last_id` is the last attempt of the task: what an earlier one, or a fork's original, has completed is used again.
    """
    step = attempts[0][0].step or ""
    is_model = is_answer_name(step)
    if not is_model and not is_call_name(step):
        return NO_COSTS
    paid = Spent(tool_calls=0 if is_model else executions(attempts))
    again = thrown_away = Spent()
    for record, result in attempts:
        spent = answer_cost(result) if is_model else Spent(tool_calls=_kind(result) != "approval")
        if record.status != "completed" or not any(spent):
            continue
        if is_model and record.run_id is not None:
            paid += spent
        if not record.in_effect:
            thrown_away += spent
        elif record.parent_id != last_id:
            again += spent
    return Costs(paid, again, thrown_away)


def answer_cost(result: JsonValue) -> Spent:
    """Return the cost of a model's answer, which is the result of its step; nothing if it is none."""
    return Spent(1, *_tokens(_object(result))) if _kind(result) == "answer" else Spent()


def executions(attempts: Results) -> int:
    """Return how often a step was executed.

    What an agent's call has done is given back if it ends in an error, and another attempt of the step keeps what the
    agent was told: that is no execution. Nor is a call that waits for an approval, a copy, or what a person has marked.
    """
    before = [None, *(record for record, _ in attempts)]
    return sum(
        each.run_id is not None and not (each.status == "completed" and _only_tells(one, each, _kind(result)))
        for one, (each, result) in zip(before, attempts, strict=False)
    )


def _only_tells(before: AttemptRecord | None, attempt: AttemptRecord, kind: JsonValue) -> bool:
    has_failed = before is not None and before.status == "failed" and before.parent_id == attempt.parent_id
    told = ("retry", "failed", "return", "return as json", "refused")
    return kind in ("unknown", "approval") or (has_failed and kind in told)


def is_answer_name(step: str) -> bool:
    """Whether a step of this name may be an answer of a model."""
    return _MODEL.fullmatch(agent_and_part(step)[1]) is not None


def is_agent_step(step: str) -> bool:
    """Whether a step of this name may be of an agent."""
    return _STEP.fullmatch(step) is not None or step.startswith("budget of agents")


def is_call_name(step: str) -> bool:
    """Whether a step of this name may be a call of a tool."""
    return agent_and_part(step)[1].startswith("tool ")


def _kind(result: JsonValue) -> JsonValue:
    return result.get("kind") if type(result) is dict else None


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


def _first_line(result: _Object) -> str:
    try:
        message = _list(result["message"])[0] if result["message"] else _list(result["history"])[-1]
        content = _object(_list(_object(message)["parts"])[-1])["content"]
    except (KeyError, IndexError, TypeError):
        return ""
    text = content if isinstance(content, str) else next((one for one in _list(content) if isinstance(one, str)), "")
    return text.partition("\n\n<live-context>")[0].strip().partition("\n")[0]


def answer_text(result: _Object) -> str:
    """Return what a person has answered about a call."""
    return f"{result['kind']}: {result['reason']}" if result.get("reason") else str(result["kind"])


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
