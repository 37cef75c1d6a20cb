"""Options of a step or a task, which its caller gives before its name and its function."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from types import FunctionType
from typing import Any, Final, NamedTuple, ParamSpec, TypeVar

from zrb_store.attempt.retries import NO_RETRIES, Retries
from zrb_store.errors import InvalidArgument
from zrb_store.local_time import delay_in_micros

P = ParamSpec("P")
T = TypeVar("T")

RetryAfter = Iterable[timedelta | float] | timedelta | float
"""Pauses before the retries: one for each, of which the last one repeats, or one for all."""


class CallOptions(NamedTuple):
    """The options of a call."""

    retries: Retries = NO_RETRIES
    timeout: float | None = None  # seconds of one try of a coroutine function
    once: bool = False

    @classmethod
    def of(
        cls,
        retries: int = 0,
        retry_after: RetryAfter | None = None,
        timeout: timedelta | float | None = None,
        once: bool = False,
    ) -> CallOptions:
        """Return them as a Python user gives them; raise `InvalidArgument` if one has another form."""
        seconds = None if timeout is None else delay_in_micros(timeout) / 1_000_000
        if seconds == 0:
            raise InvalidArgument(f"timeout={timeout!r} leaves no time: give None for no limit")
        return cls(Retries.of(retries, retry_after), seconds, once)

    def refuse_timeout(self, what: str) -> None:
        """Raise `InvalidArgument` if a function has a timeout that is not a coroutine function."""
        if self.timeout is not None:
            raise InvalidArgument(
                f"{what} has a timeout, which is for coroutine functions: nothing ends another function, so it would "
                "continue beside its retry"
            )

    async def in_time(self, work: Awaitable[T], what: str) -> T:
        """Await something; raise TimeoutError if it takes longer than it may."""
        if self.timeout is None:
            return await work
        import asyncio

        try:
            async with asyncio.timeout(self.timeout) as limit:
                return await work
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise TimeoutError(f"{what} took longer than {self.timeout:g} s") from error


NO_OPTIONS: Final = CallOptions()
ONCE: Final = CallOptions(once=True)


class WithOptions:
    """`step` or `run.task` with options. Call it in the same way."""

    def __init__(
        self,
        run: Callable[[str, Callable[..., Any], Sequence[Any], Mapping[str, Any], CallOptions], Any],
        options: CallOptions,
    ) -> None:
        self._run = run
        self._options = options

    def __call__(self, name: str, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a function once, with these options."""
        return self._run(name, function, args, kwargs, self._options)  # type: ignore[no-any-return]


def is_async(function: Callable[..., Any]) -> bool:
    """Whether this is a coroutine function."""
    if type(function) is FunctionType and not vars(function):  # nothing marks it as something else
        return bool(function.__code__.co_flags & inspect.CO_COROUTINE)
    while isinstance(function, functools.partial):
        function = function.func
    call = getattr(type(function), "__call__", None)  # noqa: B004 - it may be a coroutine function
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(call)
