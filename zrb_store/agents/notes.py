"""The steps of agents as a person reads them: questions to models, calls of tools, costs."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable
from decimal import Decimal
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from zrb_store.agents.kinds import APPROVAL, DEFERRED, KINDS, MODEL_REQUEST, PROMPT, TOOL_CALL
from zrb_store.agents.money import dollars, plain_amount, stored_amount
from zrb_store.agents.step import AgentStep, OfKind
from zrb_store.records import AttemptRecord, JsonObject, JsonValue

if TYPE_CHECKING:
    from zrb_store.inspect.told import Results, Told

Object: TypeAlias = dict[str, JsonValue]

_CONTENT = "zrb_store.agents.Content"
_MOST = 60  # characters of a call's arguments
# How a call may end, with what is said before what the agent was told.
_ENDS = {
    **dict.fromkeys(("value", "return", "value as json", "return as json", "approval", "deferred", "unknown"), ""),
    "retry": "asks to try again: ",
    "failed": "failed: ",
}
_OPEN_ENDS = {
    "approval": "waits for an approval",
    "deferred": "waits for a result",
    "unknown": "its outcome is unknown",
}


def teller(last: AttemptRecord | None, begun: Collection[OfKind] | None) -> Callable[[Results], Told]:
    """Return what tells the steps of the agents of a task, of which this is the last attempt.

    `begun` are the steps that it began, unless it has completed.
    """
    from zrb_store.inspect.told import Told

    last_id, agents = None if last is None else last.id, None if begun is None else agents_of(begun)

    def tell(attempts: Results) -> Told:
        step, stored = attempts[-1]
        result = stored if step.in_effect else None
        note = agent_note(step, result)
        costs = costs_of_step(attempts, last_id, agents)
        is_call = step.kind == TOOL_CALL and note is not None
        return Told(executions(attempts), is_call, note, agent_tokens(step.kind, result), costs)

    return tell


def agent_note(step: OfKind, result: JsonValue) -> str | None:
    """Return what the step of an agent did, such as `model 4: gpt-5.2, 1,204 in / 88 out tokens`; None for others."""
    if step.kind not in KINDS:
        return None
    own = AgentStep.of(step)
    note = _note(step.kind, own, as_object(result))
    return f"{own.label}: {note}" if note and own.label else note or None


def _note(of: str, own: AgentStep, result: Object) -> str:
    kind, changed = str(result.get("kind")), str(result.get("changed") or "")
    if of == MODEL_REQUEST and kind == "answer" and "response" in result:
        model = as_object(result["response"]).get("model_name")
        parts = [str(model or ""), amount(*tokens(result), usd(result)), changed]
        return f"model {own.number}: {', '.join(filter(None, parts))}"
    if of == MODEL_REQUEST and kind == "refused":
        return f"model {own.number}: refused: {_first_line(str(result.get('text', '')))}"
    if of == PROMPT and kind == "prompt":
        return f"prompt: {', '.join(filter(None, (_message(result), changed)))}"
    if of in (APPROVAL, DEFERRED) and (found := decisions(own, result)):
        arrow = "-> " if of == DEFERRED else ""
        return f"{of}: {', '.join(f'{call} {arrow}{told}' for call, told in found.items())}"
    if of == TOOL_CALL and kind in _ENDS:
        called = json.dumps(result["call"], ensure_ascii=False) if "call" in result else ""
        called = called if len(called) <= _MOST else f"{called[:_MOST]}..."
        return f"tool {own.tool} {called} -> {_OPEN_ENDS.get(kind) or end_of_call(result)}"
    return ""


def decisions(own: AgentStep, result: Object) -> dict[str, str]:
    """Return what was decided about calls, by their ids."""
    if result.get("kind") in ("approved", "denied"):  # by a person
        return {own.call: _verdict(result)}
    found = as_object(result.get("results"))
    approvals = {call: _verdict(one) for call, one in as_object(found.get("approvals")).items()}
    return approvals | {call: text_of(one) for call, one in as_object(found.get("calls")).items()}


def _verdict(decided: JsonValue) -> str:
    verdict = as_object(decided)
    is_denied = decided is False or verdict.get("kind") in ("denied", "tool-denied")
    why = verdict.get("reason") or verdict.get("message")
    return ("denied" if is_denied else "approved") + (f": {why}" if why else "")


def end_of_call(result: Object) -> str:
    """Return how a call of a tool ended, as the agent was told."""
    data = as_object(result.get("data")) or result
    names = ("value", "return_value", "message", "content")
    texts = [text_of(data[name]) for name in names if data.get(name) is not None]
    kind = str(result.get("kind"))
    none = "null" if kind.startswith("return") or data.keys() & names else "[not stored]"  # of a private agent
    return _ENDS.get(kind, "") + ("\n".join(texts) if texts else none)


def text_of(value: JsonValue) -> str:
    """Return what a model or a tool said, with a note in place of each picture or file."""
    value = plain(value)
    if isinstance(value, list) and value and all(isinstance(one, str) for one in value):
        return "\n".join(map(str, value))
    return "" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def plain(value: JsonValue) -> JsonValue:
    """Return a value with a note in place of each picture or file."""
    if isinstance(value, list):
        return [plain(one) for one in value]
    if type(value) is not dict:
        return value
    if value.get("type") == _CONTENT and "$" in value:
        return plain(as_list(value.get("v"))[-1])
    data = value.get("data")
    if "media_type" in value and ("url" in value or isinstance(data, str) or "$" in as_object(data)):
        kind = value["media_type"] or str(value.get("kind")).removesuffix("-url")
        text = data if isinstance(data, str) else str(as_object(data).get("v"))
        return f"[{kind}, {value.get('url') or f'{_bytes(text):,} bytes'}]"
    return {key: plain(one) for key, one in value.items()}


def _bytes(base64: str) -> int:
    return len(base64) * 3 // 4 - base64.count("=", -2)


def as_object(tree: JsonValue) -> Object:
    """Return stored data as an object, which is empty if it is none."""
    return tree if type(tree) is dict else {}


def as_list(tree: JsonValue) -> list[JsonValue]:
    """Return stored data as a list, which is empty if it is none."""
    return tree if type(tree) is list else []


def tokens(result: Object) -> tuple[int, int]:
    """Return how many tokens a model was sent for an answer, and how many it gave."""
    usage = as_object(as_object(result.get("response")).get("usage"))
    given, answered = usage.get("input_tokens"), usage.get("output_tokens")
    return given if type(given) is int else 0, answered if type(answered) is int else 0


def usd(result: Object) -> Decimal | None:
    """Return what an answer has cost in dollars; None if no price was known."""
    return stored_amount(as_object(result.get("cost")).get("usd"))


def amount(given: int, answered: int, cost: Decimal | None = None) -> str:
    """Say how many tokens there are, and what they cost."""
    return f"{given:,} in / {answered:,} out tokens" + (f", {dollars(cost)}" if cost is not None else "")


def _message(result: Object) -> str:
    """Return the first line of what a prompt asks for."""
    messages = [*as_list(result.get("history")), *as_list(result.get("message"))] or [None]
    part = (as_list(as_object(messages[-1]).get("parts")) or [None])[-1]
    return _first_line(text_of(as_object(part).get("content")).strip())


def _first_line(text: str) -> str:
    return text.partition("\n")[0]


class Spent(NamedTuple):
    """What some answers of models and some executions of tools have cost."""

    answers: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    tool_calls: int = 0
    usd: Decimal = Decimal()  # of the answers whose price was known
    priced_answers: int = 0
    unpriced_models: frozenset[str] = frozenset()  # whose answers had no price

    def __add__(self, other: object) -> Spent:  # not as a tuple
        if not isinstance(other, Spent):
            return NotImplemented
        return Spent(
            *(self.answers + other.answers, self.input_tokens + other.input_tokens),
            *(self.output_tokens + other.output_tokens, self.tool_calls + other.tool_calls),
            *(self.usd + other.usd, self.priced_answers + other.priced_answers),
            self.unpriced_models | other.unpriced_models,
        )

    @property
    def money(self) -> str:
        """What is known of its cost in dollars; empty if no answer has a price."""
        if not self.priced_answers:
            return ""
        priced = f"partly priced: {self.priced_answers} of {self.answers} answers"
        partly = f", {priced}, not {', '.join(sorted(self.unpriced_models))}" if self.unpriced_models else ""
        return dollars(self.usd) + partly

    def to_json(self) -> JsonObject:
        return {**self._asdict(), "usd": plain_amount(self.usd), "unpriced_models": sorted(self.unpriced_models)}

    def text(self) -> str:
        """Return it as people read it, such as `3 answers (3,310 in / 240 out tokens, $0.0206) and 2 tool calls`."""
        answers = f"{self.answers} answer{'s' * (self.answers != 1)}"
        in_all = ", ".join(filter(None, (amount(self.input_tokens, self.output_tokens), self.money)))
        of_answers = f"{answers} ({in_all})"
        calls = f"{self.tool_calls} tool call{'s' * (self.tool_calls != 1)}"
        return " and ".join([of_answers] * bool(self.answers) + [calls] * bool(self.tool_calls))


class AgentCosts(NamedTuple):
    """What an agent has cost: what was paid, what was used again instead, and what was paid and then given back.

    An answer that was used again counts once, and is none that this session paid if a fork has copied it.
    """

    paid: Spent = Spent()
    used_again: Spent = Spent()
    thrown_away: Spent = Spent()

    @property
    def title(self) -> str:
        return "Agents"

    def __add__(self, other: object) -> AgentCosts:
        return AgentCosts._make(map(Spent.__add__, self, other)) if isinstance(other, AgentCosts) else NotImplemented

    def to_json(self) -> JsonObject:
        return {name: spent.to_json() for name, spent in self._asdict().items()}

    def text(self) -> str:
        """Return it in one line; empty if no answer was paid or used again."""
        if not self.paid.answers and not self.used_again.answers:
            return ""
        parts = {"paid": self.paid, "used again": self.used_again, "thrown away": self.thrown_away}
        return "; ".join(f"{name} {spent.text()}" for name, spent in parts.items() if any(spent))


NO_COSTS: Final = AgentCosts()


def agents_of(steps: Iterable[OfKind]) -> frozenset[str]:
    """Return the runs of agents that have these steps."""
    return frozenset(AgentStep.of(step).label for step in steps if step.kind in KINDS)


def costs_of_step(attempts: Results, last_id: int | None, agents: Collection[str] | None) -> AgentCosts:
    """Return the costs of a step of an agent; nothing if it is none. What a fork has copied is paid by its original.

    The last attempt of the task may have used what another one, or a fork's original, has completed: that of the agents
    that it got to, or of all (None) if it has completed.
    """
    of, agent, costs = attempts[0][0].kind, AgentStep.of(attempts[0][0]).label, NO_COSTS
    for record, result in attempts if of in (MODEL_REQUEST, TOOL_CALL) else ():
        is_own, nothing = record.run_id is not None, Spent()
        is_call = _kind(result) != "approval" and (is_own or _kind(result) in _ENDS)  # else a person has marked it
        spent = answer_cost(result) if of == MODEL_REQUEST else Spent(tool_calls=is_call)
        if record.status == "completed":
            was_used = record.parent_id != last_id and (agents is None or agent in agents)
            costs += AgentCosts(
                spent if is_own else nothing,
                spent if record.in_effect and was_used else nothing,
                nothing if record.in_effect or not is_own else spent,
            )
    return costs._replace(paid=Spent(tool_calls=executions(attempts))) if of == TOOL_CALL else costs


def answer_cost(result: JsonValue) -> Spent:
    """Return the cost of a model's answer, which is the result of its step; nothing if it is none."""
    if _kind(result) != "answer":
        return Spent()
    answer = as_object(result)
    cost, model = usd(answer), str(as_object(answer.get("response")).get("model_name"))
    of_price = (Decimal(), 0, frozenset([model])) if cost is None else (cost, 1)
    return Spent(1, *tokens(answer), 0, *of_price)


def agent_tokens(kind: str, result: JsonValue) -> int | None:
    """Return the tokens of the answer of a model, and None of another step."""
    spent = answer_cost(result) if kind == MODEL_REQUEST else Spent()
    return spent.input_tokens + spent.output_tokens if spent.answers else None


def executions(attempts: Results) -> int:
    """Return how often a step was executed.

    What an agent's call has done is given back if it ends in an error, and another attempt of the step keeps what the
    agent was told: that is no execution. Nor is a call that waits for an approval, a copy, or what a person has marked.
    """
    before = [None, *(record for record, _ in attempts)]
    return sum(
        each.run_id is not None
        and not (each.kind in KINDS and each.status == "completed" and _only_tells(one, each, _kind(result)))
        for one, (each, result) in zip(before, attempts, strict=False)
    )


def _only_tells(before: AttemptRecord | None, attempt: AttemptRecord, kind: JsonValue) -> bool:
    has_failed = before is not None and before.status == "failed" and before.parent_id == attempt.parent_id
    told = ("retry", "failed", "return", "return as json", "refused")
    return kind in ("unknown", "approval") or (has_failed and kind in told)


def _kind(result: JsonValue) -> JsonValue:
    return as_object(result).get("kind")
