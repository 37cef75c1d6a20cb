"""Tools that must not be repeated: `once_tool` marks them, and a policy says what happens if the end is unknown."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, Literal, TypeVar, cast, overload

from zrb_store.errors import InvalidArgument

F = TypeVar("F", bound=Callable[..., Any])
OncePolicy = Literal["stop", "tell"]
POLICIES: Final = ("stop", "tell")
_ATTRIBUTE = "__zrb_store_once_tool__"


@overload
def once_tool(function: F) -> F: ...


@overload
def once_tool(*, unknown: OncePolicy = "stop") -> Callable[[F], F]: ...


def once_tool(function: Any = None, *, unknown: OncePolicy = "stop") -> Any:
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
        setattr(getattr(tool, "__func__", tool), _ATTRIBUTE, unknown)  # of a class method, what pydantic-ai calls
        return tool

    return mark if function is None else mark(function)


def policies(named: Sequence[str] | Mapping[str, str], place: str) -> dict[str, OncePolicy]:
    """Return the policies of tools that a user has named at this place, or named with policies."""
    found: dict[str, OncePolicy] = {}
    if isinstance(named, str) or not isinstance(named, Iterable):
        raise InvalidArgument(f"{place} is {named!r}: set it to a list of names, or a mapping of names to policies")
    for name, own in named.items() if isinstance(named, Mapping) else [(name, "stop") for name in named]:
        if own not in POLICIES:
            raise InvalidArgument(f"{place}[{name!r}] is {own!r}: set it to `stop` or `tell`")
        found[name] = cast(OncePolicy, own)
    return found


def policy_of(function: Any) -> OncePolicy | None:
    """Return what happens if the end of a call of this tool is unknown; None if the tool is not marked."""
    found: OncePolicy | None = getattr(function, _ATTRIBUTE, None)
    return found
