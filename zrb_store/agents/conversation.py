"""The conversation of an agent as a person reads it, turn by turn, from the steps that stand.

`diff` compares what of a turn does not change by itself: not its time, nor the ids that a model gives to calls.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from itertools import groupby

from zrb_store.agents.kinds import APPROVAL, DEFERRED, MODEL_REQUEST, OF_CONVERSATION, PROMPT, TOOL_CALL
from zrb_store.agents.money import plain_amount
from zrb_store.agents.notes import (
    AgentCosts,
    amount,
    as_list,
    as_object,
    decisions,
    end_of_call,
    plain,
    text_of,
    tokens,
    usd,
)
from zrb_store.agents.step import AgentStep
from zrb_store.codec.compare import Difference
from zrb_store.codec.compare import differences as compared
from zrb_store.codec.display import key_segment
from zrb_store.db.transaction import Transaction
from zrb_store.errors import TaskNotFound
from zrb_store.inspect.show import SessionDocument, ShownStep, Task
from zrb_store.records import JsonObject, JsonValue, iso, pick

_LIVE_CONTEXT = "\n\n<live-context>"
_MOST_LINES, _MOST = 20, 2000  # lines and characters of a text, of the arguments of a call, or of its result
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
    usd: Decimal | None = None  # what an answer has cost, at its first turn, if its price was known
    model: str | None = None  # its name, of an answer, at its first turn
    from_store: bool = False  # whether a later attempt, or a fork, used it again
    live_context: str | None = None  # what zrb added to a message of the user
    agent: str | None = None  # the run of an agent, if the task may have several
    history: bool = False  # whether it is of an earlier conversation that the agent was given

    @property
    def name(self) -> str:
        """Who said it."""
        return f"{self.agent}: " * (self.agent is not None) + (f"{self.role} {self.tool}" if self.tool else self.role)

    @property
    def notes(self) -> list[str]:
        """What else is known of it."""
        spent = [self.model or "", amount(*self.tokens, self.usd)] if self.tokens else []
        of = self.call if self.tool is None else None  # what was decided about several calls, for example
        return [*filter(None, (*spent, of)), *["from the store"] * self.from_store]

    def said(self, *, full: bool) -> str:
        """Return the arguments of a call, and what was said; unless `full`, cut where they are long."""
        is_call = self.role == "tool call" and self.arguments is not None
        called = self.arguments if isinstance(self.arguments, str) else json.dumps(self.arguments, ensure_ascii=False)
        parts = [called if is_call else "", self.text, self.live_context or ""]
        if not full:
            parts = [*map(_cut, parts[:2]), f"[{len(parts[2]):,} characters of live context]" * bool(parts[2])]
            parts[1] = f"[{len(self.text):,} characters]" if self.role == "system" else parts[1]
        return "\n".join(filter(None, parts))

    def to_json(self) -> JsonObject:
        given, answered = self.tokens or (None, None)
        of_call = pick(self, "tool", "arguments", "call")
        cost: JsonObject = {"usd": None if self.usd is None else plain_amount(self.usd)}
        shown = pick(self, "role", "text", "model", "from_store", "live_context", "agent", "history")
        return {**shown, **of_call, "at": iso(self.at), "input_tokens": given, "output_tokens": answered, **cost}

    def compared(self) -> JsonValue:
        """Return what `diff` compares of it."""
        by: dict[str, JsonValue] = {} if self.model is None else {"model": self.model}
        called: dict[str, JsonValue] = {} if self.tool is None else {"tool": self.tool}
        if self.role == "tool call":  # its result may lack them
            called["arguments"] = self.arguments
        return {"role": self.role, "text": self.text, **by, **called}


def has_agent(task: Task) -> bool:
    """Whether an agent of a task has asked a model."""
    return task.is_of_wings and any(step.last.kind == MODEL_REQUEST for step in task.steps)


def conversation(document: SessionDocument, task: str | None) -> tuple[str, list[Turn]]:
    """Return the conversation of a task's agent, and the task: by default the only one that has an agent."""
    with_agent = {each.name: each for each in document.tasks if has_agent(each)}
    session, names = document.session.name, ", ".join(with_agent)
    if not with_agent:
        raise TaskNotFound(f"session {session} has no stored agent")
    name = next(iter(with_agent)) if task is None and len(with_agent) == 1 else task
    if name not in with_agent:
        what = (
            f"task {task} of session {session} has no stored agent" if task else f"session {session} has several agents"
        )
        raise TaskNotFound(f"{what}: name one of {names}")
    return name, turns(with_agent[name])


def folded(turns: Iterable[Turn]) -> Iterator[Turn]:
    """Yield turns, with one line in place of an earlier conversation."""
    for (agent, is_history), group in groupby(turns, lambda turn: (turn.agent, turn.history)):
        if is_history:
            yield Turn("earlier conversation", f"[{len(list(group)):,} turns]", agent=agent, history=True)
        else:
            yield from group


def by_agent(*tasks: Task) -> dict[str, list[Turn]]:
    """Return the turns of each of the agents of tasks, as the steps that stand began."""
    found: dict[str, list[tuple[str, list[Turn]]]] = {}
    for step in sorted((step for task in tasks for step in task.steps), key=lambda step: step.last.started_tick):
        if (kind := step.last.kind) in OF_CONVERSATION:
            own = AgentStep.of(step.last)
            said = [replace(turn, agent=own.label or None) for turn in _of_step(step, kind, own)]
            found.setdefault(own.label, []).append((kind, said))
    return {agent: list(_in_order(steps)) for agent, steps in found.items()}


def differences(transaction: Transaction, names: Sequence[str], tasks: Iterable[str]) -> Iterator[Difference]:
    """Find where the conversations of tasks differ between two sessions."""
    documents = [SessionDocument(transaction, name, None, only="next") for name in names]
    for name in tasks:
        one, two = (by_agent(*(task for task in each.tasks if task.name == name)) for each in documents)
        for agent in dict.fromkeys([*one, *two]):
            path = f"${key_segment(name)}.conversation" + (key_segment(agent) if agent else "")
            said, other = ([turn.compared() for turn in each.get(agent, ())] for each in (one, two))
            yield from compared(said, other, path)


def turns(task: Task) -> list[Turn]:
    """Return the turns of a task's agents, one agent after the other."""
    return [turn for each in by_agent(task).values() for turn in each]


def _in_order(steps: Iterable[tuple[str, list[Turn]]]) -> Iterator[Turn]:
    """Yield the ends of an answer's calls in the order in which it made them: they may have begun in any order."""
    calls, ends = dict[str | None, Turn](), list[Turn]()
    for kind, said in (*steps, ("", [])):
        if kind in (TOOL_CALL, APPROVAL, DEFERRED):
            ends += said
            continue
        if kind == MODEL_REQUEST:  # the model was told of all calls
            ended = {turn.call for turn in ends}
            missing = (turn for call, turn in calls.items() if call not in ended)
            ends += [
                Turn("tool result", "[not executed]", turn.tool, None, turn.call, agent=turn.agent) for turn in missing
            ]
        places = {call: place for place, call in enumerate(calls)}
        yield from sorted(ends, key=lambda turn: places.get(turn.call, len(places)))
        calls, ends = {turn.call: turn for turn in said if kind == MODEL_REQUEST and turn.role == "tool call"}, []
        yield from said


def _of_step(step: ShownStep, of: str, own: AgentStep) -> Iterator[Turn]:
    result, at = as_object(step.result), step.last.ended_at
    again = isinstance(step.costs, AgentCosts) and any(step.costs.used_again)
    kind = result.get("kind")
    by = Turn("assistant", "", at=at, from_store=again)
    if of == TOOL_CALL:
        by = replace(by, role="tool result", tool=own.tool, arguments=result.get("call"), call=own.call)
    if step.status != "completed":
        if of in (MODEL_REQUEST, TOOL_CALL) and step.status != "waiting":
            error = step.last.error
            why = f": {error.message}" if error and error.message else ""
            yield replace(by, text=f"[{step.status}{why}]")
    elif of == PROMPT:
        if system := result.get("system_prompt"):
            yield Turn("system", str(system))
        history, message = (list(_of_messages(as_list(result.get(part)))) for part in ("history", "message"))
        earlier = len(history) if message else len(history) - 1  # the last one is what it is asked
        yield from (replace(turn, history=place < earlier) for place, turn in enumerate(history))
        yield from message
    elif of == MODEL_REQUEST and kind == "answer":
        response = result.get("response")
        for place, turn in enumerate(_of_messages([response])):
            turn = replace(turn, at=at, from_store=again)
            model = str(as_object(response).get("model_name"))
            yield turn if place else replace(turn, tokens=tokens(result), usd=usd(result), model=model)
    elif of == MODEL_REQUEST and kind == "refused":
        yield replace(by, text=f"[refused: {result.get('text', '')}]", from_store=False)
    elif of in (MODEL_REQUEST, TOOL_CALL) and kind is None:  # what a person has marked
        yield replace(by, text=text_of(step.result))
    elif of == TOOL_CALL and kind != "approval":
        yield replace(by, text=end_of_call(result))
    elif of in (APPROVAL, DEFERRED):
        yield from (Turn(of, text, call=call, at=at) for call, text in decisions(own, result).items())


def _of_messages(messages: Iterable[JsonValue]) -> Iterator[Turn]:
    for message in map(as_object, messages):
        for part in map(as_object, as_list(message.get("parts"))):
            kind = str(part.get("part_kind"))
            tool, call = part.get("tool_name"), part.get("tool_call_id")
            arguments = part.get("args")
            if isinstance(arguments, str):
                with contextlib.suppress(ValueError, RecursionError):  # the model wrote something else
                    arguments = json.loads(arguments)
            text, has_context, context = text_of(part.get("content")).partition(_LIVE_CONTEXT)
            yield Turn(
                _ROLES.get(kind, kind),
                text,
                None if tool is None else str(tool),
                plain(arguments),
                None if call is None else str(call),
                live_context=context if has_context else None,
            )


def _cut(text: str) -> str:
    """Return the first lines of a text, and how much there is besides."""
    beginning = "\n".join(text[:_MOST].split("\n")[:_MOST_LINES])
    left = len(text) - len(beginning)
    return f"{beginning}\n[{left:,} more characters]" if left else text
