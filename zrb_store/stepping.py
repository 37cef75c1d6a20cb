"""What task files import: `step`, `wait`, and `once_tool` for agents. The import does not load SQLAlchemy."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, Literal, TypeVar, cast, overload

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


def wait(
    queue: str | None = None,
    timeout: timedelta | float | str | None = None,
    say: str | None = None,
    *,
    until: datetime | timedelta | None = None,
    name: str | None = None,
) -> Any:
    """Wait for a value of the session's own queue, or for a time, without a process.

    A wait is a step: its answer is kept. If the value is not there, the attempt and its run end here, and the session
    is `waiting`. When it continues, the task's next attempt takes the value here. In a coroutine, write `await
    wait(...)`; a lambda or a comprehension in it gets the value itself.

    Args:
        queue: Name of the queue.
        timeout: A timedelta, seconds, or a text such as `2d`, from the first time that the task waits here.
        say: The question to a person.
        until: Wait for this time instead, or for this length of time.
        name: Name of the step, by default `wait QUEUE`.

    Returns:
        The value; None after waiting for a time.

    Raises:
        Waiting: The attempt has ended: let it pass.
        TimeoutError: No value came in time.
        InvalidArgument: An argument is not of this form.
        ZrbStoreError: The code does not run in an attempt, or in one that cannot wait: the message says why.
    """
    from zrb_store.attempt import surrounding_attempt  # late: imports SQLAlchemy
    from zrb_store.attempt.waits import result_for, wait_in

    attempt = surrounding_attempt(name or ("wait" if queue is None else f"wait {queue}"))
    return result_for(sys._getframe(1), wait_in(attempt, queue, timeout, say, until, name))


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


def policies(named: Sequence[str] | Mapping[str, str], place: str) -> dict[str, Policy]:
    """Return the policies of tools that a user has named at this place, or named with policies."""
    found: dict[str, Policy] = {}
    if isinstance(named, str) or not isinstance(named, Iterable):
        raise InvalidArgument(f"{place} is {named!r}: set it to a list of names, or a mapping of names to policies")
    for name, own in named.items() if isinstance(named, Mapping) else [(name, "stop") for name in named]:
        if own not in POLICIES:
            raise InvalidArgument(f"{place}[{name!r}] is {own!r}: set it to `stop` or `tell`")
        found[name] = cast(Policy, own)
    return found


def policy_of(function: Any) -> Policy | None:
    """Return what happens if the end of a call of this tool is unknown; None if the tool is not marked."""
    found: Policy | None = getattr(function, _ATTRIBUTE, None)
    return found
