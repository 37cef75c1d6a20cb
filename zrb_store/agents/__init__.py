"""A wing: agents of pydantic-ai, each of whose requests to a model and executions of a tool is a step of an attempt.

`durable` is for a user's own agents; zrb's LLM tasks have theirs by llm_tasks/. `once.py` marks tools.

    rows        kinds (of steps), step (which step of an agent), money, queries, settings
    runtime/    the steps of an agent while it runs
    llm_tasks/  hooks of zrb's LLM tasks, one run of their agent, the plan of a resume
    readers     notes (what steps did and cost), stats, conversation, view (it on a terminal and a page)
    commands    approve (the operation), commands

Nothing here loads pydantic-ai before `durable` is called, or an LLM task is registered: that takes seconds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from zrb_store.agents.once import OncePolicy, policies
from zrb_store.errors import ZrbStoreError

__all__ = ["durable"]

if TYPE_CHECKING:
    from pydantic_ai.capabilities import AbstractCapability


def durable(
    *,
    once_tools: Sequence[str] | Mapping[str, OncePolicy] = (),
    budget: str | None = None,
    wait_for_approval: bool = False,
) -> AbstractCapability[Any]:
    """Make each model request and each tool call of an agent a step: `Agent(..., capabilities=[durable()])`.

    In a zrb task's action or in `with run.attempt(...)`, what has completed is not paid again in the task's next
    attempt, by `run`, `run_stream` and `iter`, also if agents are gathered. An agent inside a step or a tool belongs to
    it. Elsewhere the agent runs without a store, with a warning.

    Args:
        once_tools: Names of tools that must not be repeated, or a mapping of names to policies, as for `once_tool`,
            whose marks are found.
        budget: `tokens=N`, `usd=2.50` or both: what the agents of the session may use over all its runs, instead of
            `ZRB_STORE_BUDGET`.
        wait_for_approval: Let the session wait if a tool that requires an approval is called, or the budget is used up:
            `zrb-store approve` answers.

    Raises:
        ZrbStoreError: pydantic-ai is not installed, or too old.
        InvalidArgument: A policy or the budget is something else.
    """
    from zrb_store.agents.settings import budget_of  # late: the settings import the wings

    once = policies(once_tools, "once_tools")
    limits = budget_of(budget, "budget") if budget else None
    try:
        from zrb_store.agents.runtime.capability import Durable  # late: these load pydantic-ai
        from zrb_store.agents.runtime.journal import Terms
    except ImportError:
        from importlib.metadata import PackageNotFoundError, version

        try:
            found = f"{version('pydantic-ai-slim')} is installed"
        except PackageNotFoundError:
            found = "it is not installed"
        raise ZrbStoreError(f"durable() needs pydantic-ai 2.36 or later ({found})") from None
    return Durable(terms=Terms(once=once, budget=limits, waits=wait_for_approval))
