"""What happens where stored answers no longer fit the requests: the task's policy decides, and a line says so.

`decide` is for a run as for the plan of a resume; `ChangedRequests` asks it in a run, and tells of it.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from functools import reduce
from itertools import pairwise
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, NoReturn, TypeAlias

from zrb_store import codec
from zrb_store.agents.kinds import KINDS, MODEL_REQUEST, PROMPT, TOOL_CALL
from zrb_store.agents.notes import Spent, answer_cost
from zrb_store.agents.step import AgentStep
from zrb_store.attempt import Attempt
from zrb_store.attempt.exact_steps import steps_before, steps_since
from zrb_store.errors import RequestChanged
from zrb_store.queries.steps import StepKey, StepRecord

OnChange = Literal["rerun", "reuse", "stop"]
"""Make changed requests and what follows again, use the stored answers anyway, or let a person decide."""
Tools: TypeAlias = Mapping[str, Mapping[str, Any]]
"""The JSON schemas of the parameters of an agent's tools, by their names."""
NO_TOOLS: Tools = MappingProxyType({})

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


class Verdict(NamedTuple):
    """What becomes of stored steps that do not fit."""

    action: Literal["made-again", "reused", "stops", "refused"]  # the last by a step that must not be repeated
    obstacle: str = ""  # why they cannot be used, if they should be


def decide(policy: OnChange, difference: str, steps: Sequence[StepRecord], tools: Tools) -> Verdict:
    """Decide about a step whose request differs now, and those that began after it; the agent has `tools` there."""
    if policy == "rerun" or not paid(steps)[0] or (policy == "reuse" and difference == NOT_STORED):
        return Verdict("refused" if any(step.uncertain for step in steps) else "made-again")
    if policy == "reuse" and steps[0].kind == PROMPT:
        return Verdict("reused")  # its first request decides
    agent = AgentStep.of(steps[0]).label
    found = _obstacle([step for step in steps if AgentStep.of(step).label == agent], tools)
    return Verdict("stops" if policy == "stop" or found else "reused", found if policy == "reuse" else "")


def _obstacle(steps: Sequence[StepRecord], tools: Tools) -> str:
    """Say why stored answers of an agent cannot be used for other requests; empty if they can.

    Whether the agent has the tools that the others call is decided at their own requests.
    """
    answers = [step for step in steps if step.in_effect and step.kind == MODEL_REQUEST]
    made = {AgentStep.of(step).call for step in steps if step.in_effect and step.kind == TOOL_CALL}
    if any(later.started_tick < (earlier.ended_tick or 0) for earlier, later in pairwise(answers)):
        return "its agents overlapped"
    result = codec.decode(steps[0].result or "null") if steps[0] in answers else None
    parts = result.get("response", {}).get("parts", ()) if isinstance(result, dict) else ()
    for call in (part for part in parts if part.get("part_kind") == "tool-call"):
        name, args = call["tool_name"], call.get("args") or {}
        if name not in tools:
            return f"an answer calls tool {name}, which is gone"
        fits = _fits(tools[name], codec.decode(args) if isinstance(args, str) else args)
        if call["tool_call_id"] in made and not fits:  # the model of any other was told so
            return f"an answer calls tool {name}, which has other parameters now"
    return ""


def schemas_of(parameters: Any) -> Tools:
    """Return the schemas of the tools of a request, by name, from pydantic-ai's `ModelRequestParameters`."""
    return {tool.name: tool.parameters_json_schema for tool in (*parameters.function_tools, *parameters.output_tools)}


def _fits(schema: Mapping[str, Any], arguments: Any) -> bool:
    """Whether a call has the arguments that a tool needs, and no others, by their names."""
    if not isinstance(arguments, dict):
        return True
    is_closed, known = schema.get("additionalProperties") is False, schema.get("properties", {}).keys()
    return arguments.keys() >= set(schema.get("required", ())) and (not is_closed or arguments.keys() <= known)


def paid(steps: Sequence[StepRecord]) -> tuple[str, str]:
    """Name the completed ones of some steps, those of agents by what they have cost, and return the verb after it."""
    standing = [step for step in steps if step.in_effect]
    spent = reduce(Spent.__add__, map(_cost, standing), Spent())
    others = [f"step {step.step}" for step in standing if step.kind not in KINDS]
    verb = "are" if spent.answers + spent.tool_calls + len(others) > 1 else "is"
    return " and ".join([spent.text()] * any(spent) + others), verb


def _cost(step: StepRecord) -> Spent:
    if step.kind == MODEL_REQUEST:
        return answer_cost(step.result and codec.to_json(step.result))
    return Spent(tool_calls=step.kind == TOOL_CALL)


def paid_by(agent: str, steps: Sequence[StepRecord]) -> tuple[str, str]:
    """Name the completed steps of all runs of an agent, which is the task's own if it has no name, as `paid` does."""
    return paid([step for step in steps if step.kind in KINDS and AgentStep.of(step).agent == agent])


def refuse_to_forget(attempt: Attempt, agent: str = "") -> None:
    """Raise `RequestChanged` if an agent would run without steps although it has stored ones."""
    what, verb = paid_by(agent, steps_before(attempt, results=True))
    if what:
        raise RequestChanged(
            f"{attempt.task}: {what} {verb} stored, and would be made again, because the agent is not stored now: "
            "switch it on (ZRB_STORE_AGENTS, `store_agent`), or start the task over with "
            f"--from {shlex.quote(attempt.task)}"
        )


class ChangedRequests:
    """Decides for one agent about stored answers whose requests have changed.

    `setting` is how a person sets another policy, which takes the place of `{}` in it.
    """

    def __init__(self, attempt: Attempt, policy: OnChange, setting: str) -> None:
        self.own: set[StepKey] = set()  # the steps that the agent has come to
        self.reuses_prompt = False  # whether the agent starts from what its task says now, over the stored answers
        self._attempt = attempt
        self._policy = policy
        self._setting = setting
        self._reason: str | None = None
        self._was_announced = False

    def keeps(self, difference: str, step: StepKey, tools: Tools = NO_TOOLS) -> bool:
        """Return whether the stored answers from this step on are used although the request differs in this way.

        Else they are given back, with what followed. A line announces either.

        Raises:
            RequestChanged: A person has to decide.
        """
        found = steps_since(self._attempt, step, self.own)
        verdict, why = decide(self._policy, difference, found, tools), in_words(difference)
        what, verb = paid(found)
        if verdict.action == "reused" and step.kind == PROMPT:
            self.reuses_prompt, self._reason = True, why
            return True
        why = self._reason or why
        if verdict.action == "stops":
            if verdict.obstacle:
                why = f"{why}, but {verdict.obstacle}, so they cannot be used"
            can_reuse = not verdict.obstacle and difference != NOT_STORED
            self._stop(why, f"repeat {what}", found, can_reuse=can_reuse)
        if what and (verdict.action == "made-again" or (verdict.action == "reused" and not self._was_announced)):
            done = "made again" if verdict.action == "made-again" else "used anyway"
            self._say(f"{why}: {what} {verb} {done}")
            self._was_announced = True
        return verdict.action == "reused"

    def passes_over(self, left: Sequence[StepRecord], run: str | None = None, *, is_new: bool = False) -> None:
        """Announce that steps are left, to which the attempt has not come: before a run pays, or at the end.

        Raises:
            RequestChanged: A person has to decide, since steps that must not be repeated are among them, for example.
        """
        if not left:
            return
        keys = {step.key for step in left}
        what, verb = paid([step for step in steps_before(self._attempt, results=True) if step.key in keys])
        once = next((step.step for step in left if step.uncertain), "")
        runs = ", ".join(dict.fromkeys(filter(None, (AgentStep.of(step).label for step in left))))
        what, verb = (f"{what} of {runs}" if runs else what, verb) if what else (f"step {once}", "is")
        does = "make a new run"
        if run is None:
            why, does = f"{what} {verb} left, and the task would complete without them", "complete without them"
        elif is_new:
            why = f"{run} is a new run: no stored one starts like it, and {what} {verb} not used yet"
        else:
            does = "continue without them"
            why = f"{run or 'the agent'} continues where nothing is stored, and {what} {verb} not used yet"
        if once or self._policy == "stop":
            self._stop(why, does, left)
        self._say(why.replace("would complete", "completes"))

    def _stop(self, why: str, does: str, steps: Sequence[StepRecord], *, can_reuse: bool = False) -> NoReturn:
        task = self._attempt.task
        again = f"{self._setting.replace('{}', 'rerun')} {does.replace(' ', 's ', 1)}"
        if any(step.uncertain for step in steps):
            again = f"undo the change, or {does} with --from {shlex.quote(task)} --repeat-once"
        kept = f", and {self._setting.replace('{}', 'reuse')} uses the stored ones" if can_reuse else ""
        raise RequestChanged(f"{task}: {why}: {again}{kept}")

    def _say(self, text: str) -> None:
        self._attempt.xcom.warn(f"{self._attempt.task}: {text}")
