"""The steps that task files import: `step`, and `once_tool` for agents. The import does not load SQLAlchemy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Literal, TypeVar, overload

from zrb_store.errors import InvalidArgument

T = TypeVar("T")


def step(name: str, function: Callable[..., T], /, *args: Any, once: bool = False, **kwargs: Any) -> T:
    """Run a function once per task, as `Attempt.step` does, in the attempt that the code runs in.

    Args:
        *args: Stored, and compared with those of later calls.

    Returns:
        What the function returned, now or then.

    Raises:
        ZrbStoreError: The code does not run in an attempt. Otherwise as for `Attempt.step`.
    """
    from zrb_store.attempt import surrounding_attempt  # late: imports SQLAlchemy

    return surrounding_attempt(name).step(name, function, *args, once=once, **kwargs)


F = TypeVar("F", bound=Callable[..., Any])
Policy = Literal["stop", "tell"]
POLICIES: Final = ("stop", "tell")
_ATTRIBUTE = "__zrb_store_once_tool__"


@overload
def once_tool(function: F) -> F: ...


@overload
def once_tool(*, unknown: Policy = "stop") -> Callable[[F], F]: ...


def once_tool(function: Any = None, *, unknown: Policy = "stop") -> Any:
    """Mark a function as a tool whose call must not be repeated if its end is unknown.

    It is a decorator, with or without arguments, and leaves the function as it is: the tool also works without a store.

    Args:
        unknown: What happens if the process died during a call. `stop` ends the task with `StepUncertain`, and a person
            has to find out; `tell` lets the agent continue, with a result that says that the outcome is unknown.

    Raises:
        InvalidArgument: `unknown` is something else.
    """
    if unknown not in POLICIES:
        raise InvalidArgument(f"once_tool(unknown={unknown!r}): use `stop` or `tell`")

    def mark(tool: F) -> F:
        setattr(tool, _ATTRIBUTE, unknown)
        return tool

    return mark if function is None else mark(function)


def policy_of(function: Any) -> Policy | None:
    """Return what happens if the end of a call of this tool is unknown; None if the tool is not marked."""
    found: Policy | None = getattr(function, _ATTRIBUTE, None)
    return found
