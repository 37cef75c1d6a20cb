"""What happens where stored answers no longer fit the requests: a line says so, and the task's policy decides."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from functools import reduce
from typing import Literal

from zrb_store import codec
from zrb_store.attempt import Attempt
from zrb_store.attempt.exact_steps import completed_since
from zrb_store.errors import RequestChanged
from zrb_store.inspect.agents import Spent, answer_cost, is_agent_step, is_answer_name, is_call_name
from zrb_store.queries.dependent_steps import StoredStep

OnChange = Literal["rerun", "reuse", "stop"]
"""Make changed requests and what follows again, use the stored answers all the same, or let a person decide."""

_WORDS = {
    "message": "the message has changed",
    "attachments": "the attachments have changed",
    "deps": "the deps have changed",
    "instructions": "the system prompt has changed",
    "output": "the form of the output has changed",
}
NOT_STORED = "an answer is not stored"


def in_words(difference: str) -> str:
    """Say what has changed, such as `the system prompt has changed`, from the names of the parts."""
    return " and ".join(_WORDS.get(part) or _sentence(part) for part in difference.split(", "))


def _sentence(part: str) -> str:
    if found := re.fullmatch(r"messages\[(\d+)\]", part):
        return f"message {found[1]} of the conversation has changed"
    return part if re.search(" (is new|is gone|became .*|is not stored)$", part) else f"{part} has changed"


class ChangedRequests:
    """Decides for one attempt about stored answers whose requests have changed."""

    def __init__(self, attempt: Attempt, policy: OnChange) -> None:
        self.own: set[str] = set()  # names of the steps that the agent has come to
        self.reuses_prompt = False  # whether the agent starts from what its task says now, over the stored answers
        self._attempt = attempt
        self._policy = policy
        self._reason: str | None = None
        self._was_announced = False

    def keeps(self, difference: str, step: str, tools: Collection[str] | None = None) -> bool:
        """Return whether the stored answers from this step on are used although the request differs in this way.

        Else they are given back, with what followed. A line announces either. `tools` are those that the agent has,
        if that is known: of the prompt it is not, and its first request decides.

        Raises:
            RequestChanged: A person has to decide.
        """
        found, once = completed_since(self._attempt, step, self.own)
        spent = reduce(Spent.__add__, map(cost_of, found), Spent())
        others = [each.step for each in found if not is_agent_step(each.step)]
        what = " and ".join([spent.text()] * any(spent) + [f"step {name}" for name in others])
        if not what or (once and self._policy == "rerun"):
            return False  # nothing is made again, or the step refuses it
        if self._policy == "reuse" and tools is None and difference != NOT_STORED:
            self.reuses_prompt, self._reason = True, in_words(difference)
            return True
        why = self._reason or in_words(difference)
        again = f"`ZRB_STORE_CHANGED_REQUEST=rerun zrb xcom resume {self._attempt.session}` makes {what} again"
        task = self._attempt.task
        if self._policy == "stop":
            raise RequestChanged(f"{task}: {why}: {again}, and `reuse` in place of `rerun` uses the stored ones")
        if self._policy == "reuse":
            why_not = NOT_STORED if difference == NOT_STORED else obstacle(found, tools or ())
            if why_not:
                raise RequestChanged(f"{task}: {why}, but {why_not}, so they cannot be used again: {again}")
        if self._policy == "rerun" or not self._was_announced:
            self._attempt.xcom.warn(
                f"{task}: {why}: {what} are {'made again' if self._policy == 'rerun' else 'used all the same'}"
            )
            self._was_announced = True
        return self._policy == "reuse"


def cost_of(step: StoredStep) -> Spent:
    """Return what a step of an agent has cost."""
    if is_answer_name(step.step):
        return answer_cost(step.result and codec.to_json(step.result))
    return Spent(tool_calls=1) if is_call_name(step.step) else Spent()


def obstacle(steps: Sequence[StoredStep], tools: Collection[str] | None) -> str:
    """Say why stored answers cannot be used for other requests: they are of agents that overlapped, or need a tool.

    `tools` are those that the agent has; None if that is not known.
    """
    ended = 0
    for step in steps:
        if not is_answer_name(step.step):
            continue
        if step.started_tick < ended:
            return "its agents overlapped"
        ended = step.ended_tick or 0
        result = codec.decode(step.result or "null")
        parts = result.get("response", {}).get("parts", ()) if isinstance(result, dict) else ()
        for part in parts:
            if tools is not None and part.get("part_kind") == "tool-call" and part["tool_name"] not in tools:
                return f"an answer calls tool {part['tool_name']}, which is gone"
    return ""
