"""Steps as agents store them, for tests that have no agent."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from zrb_store.agents.kinds import APPROVAL, BUDGET, MODEL_REQUEST, PROMPT, TOOL_CALL
from zrb_store.agents.step import AgentStep
from zrb_store.attempt import Attempt, Step
from zrb_store.attempt.exact_steps import ExactStep, open_exact
from zrb_store.queries.steps import NewStep

_KINDS = {"model": MODEL_REQUEST, "prompt": PROMPT, "tool": TOOL_CALL, "approval": APPROVAL, "budget": BUDGET}
_NAME = re.compile(r"(?:(\w+)(?:~(\d+))?: )?(\w+)(?: ([^~]+))?(?:~(\d+))?")


def new_step(name: str, arguments: str | None = "[[],{}]") -> NewStep:
    """Return the step to which an agent gives this name, such as `desk~2: tool charge c1`."""
    found = _NAME.fullmatch(name)
    assert found is not None
    agent, run, what, of, number = found.groups()
    tool, _, call = (of or "").removesuffix(" approved").rpartition(" ")
    own = AgentStep(agent or "", int(run or 1), int(number or 1), tool, call)
    return NewStep(name, arguments, kind=_KINDS[what], attributes=own.encoded())


def columns_of(name: str) -> dict[str, Any]:
    """Return what the row of the step of an agent has, given its name."""
    new = new_step(name)
    return {"step": name, "kind": new.kind, "attributes": new.attributes}


def keep(attempt: Attempt, name: str, function: Callable[..., Any], *args: Any) -> None:
    """Do what a step of an agent does, and keep the result in it."""
    with open_exact(attempt, ExactStep(new_step(name), lambda _: None)) as step:
        assert isinstance(step, Step)
        step.complete(function(*args))
