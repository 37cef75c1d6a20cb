"""`step`, which task files import: so it must not import SQLAlchemy before it is called."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


def step(name: str, function: Callable[..., T], /, *args: Any, once: bool = False, **kwargs: Any) -> T:
    """Run a function once per task, as `Attempt.step` does, in the attempt that the code runs in.

    Args:
        name: Name of the step.
        function: Called with the arguments. If it is a coroutine function, the call returns an awaitable.
        *args: Stored, and compared with those of later calls.
        once: Do not run the step again by itself if it began before and its end is unknown.
        **kwargs: Likewise.

    Returns:
        What the function returned, now or then.

    Raises:
        ZrbStoreError: The code does not run in an attempt. Otherwise as for `Attempt.step`.
    """
    from zrb_store.attempt import surrounding_attempt  # late: imports SQLAlchemy

    return surrounding_attempt(name).step(name, function, *args, once=once, **kwargs)
