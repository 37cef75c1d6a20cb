"""Which LLM tasks store their steps: ZRB_STORE_AGENTS, and attributes of the task."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal, cast

from zrb_store import settings
from zrb_store.agent_tools import POLICIES, Policy, policy_of
from zrb_store.errors import InvalidArgument

STORE_AGENT: Final = "store_agent"
"""On a task: False to store no steps of its agent, "private" to store neither prompts nor answers."""
ONCE_TOOLS: Final = "once_tools"
"""On a task: names of tools that must not be repeated, or a dictionary of names and policies."""

Mode = Literal["on", "off", "private"]


def mode_of(task: Any) -> Mode:
    """Return how the steps of a task's agent are stored.

    Raises:
        InvalidArgument: The setting or the task's attribute has another value.
    """
    mode = settings.agents()
    own = getattr(task, STORE_AGENT, True)
    if own not in (True, False, "private"):
        raise InvalidArgument(f'{task.name}.{STORE_AGENT} is {own!r}: set it to True, False or "private"')
    if mode == "off" or own is False:
        return "off"
    return "private" if own == "private" else cast(Mode, mode)


def once_tools(task: Any, tools: list[Any]) -> dict[str, Policy]:
    """Return the tools of a task that must not be repeated, by name, and what happens if the end of one is unknown.

    Args:
        task: The task.
        tools: Its tools: functions, or pydantic-ai's objects that have one.

    Raises:
        InvalidArgument: The task's attribute has another form.
    """
    found: dict[str, Policy] = {}
    for tool in tools:
        function = getattr(tool, "function", tool)
        policy = policy_of(function)
        if policy is not None:
            found[str(getattr(tool, "name", None) or getattr(function, "__name__", ""))] = policy
    named = getattr(task, ONCE_TOOLS, ())
    for name, own in named.items() if isinstance(named, Mapping) else [(name, "stop") for name in named]:
        if own not in POLICIES:
            raise InvalidArgument(f"{task.name}.{ONCE_TOOLS}[{name!r}] is {own!r}: set it to stop or tell")
        found[name] = cast(Policy, own)
    return found
