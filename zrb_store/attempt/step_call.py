"""A call of `step`, and what may come of it."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from types import FunctionType, NoneType
from typing import Any, NamedTuple

from zrb_store.errors import InvalidArgument

_FINISHED = frozenset({bool, bytes, dict, float, int, list, NoneType, str, tuple})  # most results are of these types


class StepCall(NamedTuple):
    """A call of `step`.

    Attributes:
        name: Name of the step.
        function: What it runs.
        args: The positional arguments.
        kwargs: The named arguments.
        once: Whether the step must not be repeated if its end is unknown.
    """

    name: str
    function: Callable[..., Any]
    args: Sequence[Any]
    kwargs: Mapping[str, Any]
    once: bool

    @property
    def is_async(self) -> bool:
        """Whether the function is a coroutine function."""
        function = self.function
        if type(function) is FunctionType and not vars(function):  # nothing marks it as something else
            return bool(function.__code__.co_flags & inspect.CO_COROUTINE)
        while isinstance(function, functools.partial):
            function = function.func
        call = getattr(type(function), "__call__", None)  # noqa: B004 - it may be a coroutine function
        return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(call)


class Done(NamedTuple):
    """A step that is done.

    Attributes:
        result: Its encoded result.
    """

    result: str


def refuse_unfinished(result: Any, name: str) -> None:
    """Refuse a result whose code has still to run, which would be outside of the step."""
    if type(result) in _FINISHED:
        return
    if inspect.isawaitable(result):
        for end in ("close", "cancel"):  # of a coroutine; of an asyncio task
            getattr(result, end, lambda: None)()
        raise InvalidArgument(f"the function of step {name} returned an awaitable: give the coroutine function itself")
    if inspect.isgenerator(result) or inspect.isasyncgen(result):
        raise InvalidArgument(
            f"the function of step {name} returned a generator, whose code would run outside of the step: "
            "return a list instead"
        )
