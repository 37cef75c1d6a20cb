"""What happens where stored answers no longer fit the requests: a line says so, and the task's policy decides."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from functools import reduce
from typing import Literal, NoReturn

from zrb_store import codec
from zrb_store.attempt import Attempt
from zrb_store.attempt.exact_steps import completed_since
from zrb_store.errors import RequestChanged
from zrb_store.inspect.agents import Spent, answer_cost, is_agent_step, is_answer_name, is_call_name, step_name
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
    """Decides for one agent about stored answers whose requests have changed.

    Args:
        attempt: Where it works.
        policy: How it decides.
        setting: How a person sets another policy, which takes the place of `{}`.
    """

    def __init__(self, attempt: Attempt, policy: OnChange, setting: str) -> None:
        self.own: set[str] = set()  # names of the steps that the agent has come to
        self.reuses_prompt = False  # whether the agent starts from what its task says now, over the stored answers
        self._attempt = attempt
        self._policy = policy
        self._setting = setting
        self._reason: str | None = None
        self._was_announced = False

    def keeps(self, difference: str, step: str, tools: Collection[str] | None = None) -> bool:
        """Return whether the stored answers from this step on are used although the request differs in this way.

        Else they are given back, with what followed. A line announces either. `tools` are those that the agent has,
        if that is known. About a prompt, its first request decides.

        Raises:
            RequestChanged: A person has to decide.
        """
        found, once = completed_since(self._attempt, step, self.own)
        what, verb = _what(found)
        is_stored = difference != NOT_STORED
        policy = "rerun" if self._policy == "reuse" and not is_stored else self._policy
        if not what or (once and policy == "rerun"):
            return False  # nothing is made again, or the step refuses it
        name = step_name(step)
        if policy == "reuse" and name.kind == "prompt":
            self.reuses_prompt, self._reason = True, in_words(difference)
            return True
        why = self._reason or in_words(difference)
        if policy == "reuse":
            ours = [one for one in found if step_name(one.step).agent == name.agent]
            why_not = obstacle(ours, None) or obstacle(found[:1], tools)
            if why_not:
                self._stop(f"{why}, but {why_not}, so they cannot be used again", what, once=once)
        elif policy == "stop":
            self._stop(why, what, once=once, reuse=is_stored)
        if policy == "rerun" or not self._was_announced:
            self._say(f"{why}: {what} {verb} {'made again' if policy == 'rerun' else 'used all the same'}")
            self._was_announced = True
        return policy == "reuse"

    def begins(self, run: str, left: Sequence[StoredStep]) -> None:
        """Announce that a run of an agent is new, if completed steps of others are left, which it may have been.

        Raises:
            RequestChanged: A person has to decide, since steps that must not be repeated are among them, for example.
        """
        once = next((one.step for one in left if one.uncertain), "")
        what, verb = _what([one for one in left if one.in_effect])
        if what or once:
            why = f"{run} is a new run: no stored one started so, and {what or f'step {once}'} {verb} not used yet"
            if once or self._policy == "stop":
                self._stop(why, "a new run", once=bool(once))
            self._say(why)

    def _stop(self, why: str, what: str, *, once: bool, reuse: bool = False) -> NoReturn:
        task = self._attempt.task
        over = f"undo the change, or make {what} with --from {task} --repeat-once"
        again = over if once else f"{self._setting.replace('{}', 'rerun')} makes {what} again"
        kept = f", and {self._setting.replace('{}', 'reuse')} uses the stored ones" if reuse else ""
        raise RequestChanged(f"{task}: {why}: {again}{kept}")

    def _say(self, text: str) -> None:
        self._attempt.xcom.warn(f"{self._attempt.task}: {text}")


def _what(steps: Sequence[StoredStep]) -> tuple[str, str]:
    """Name completed steps by what they have cost, if they are of agents, and return the verb that follows."""
    spent = reduce(Spent.__add__, map(cost_of, steps), Spent())
    others = [f"step {each.step}" for each in steps if not is_agent_step(each.step)]
    is_one = spent.answers + spent.tool_calls + len(others) == 1
    return " and ".join([spent.text()] * any(spent) + others), "is" if is_one else "are"


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
