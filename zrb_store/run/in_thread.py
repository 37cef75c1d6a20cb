"""Calls in a thread that a coroutine waits for to the end."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
from collections.abc import Callable
from typing import TypeVar

from zrb_store.errors import ZrbStoreError

T = TypeVar("T")


async def in_thread(work: Callable[[], T], undo: Callable[[T], object] | None = None) -> T:
    """Call a function in a thread, and wait until it has ended, however often the coroutine is cancelled meanwhile.

    Args:
        work: The function. A thread cannot be cancelled: it goes on.
        undo: Called likewise with what `work` returned, if the coroutine was cancelled and nobody will get that.

    Returns:
        What the function returned.

    Raises:
        CancelledError: The coroutine was cancelled; the function has ended.
    """
    # Not a task: when its program ends, `asyncio.run` cancels all tasks at once, and what one returned would be lost.
    future = asyncio.get_running_loop().run_in_executor(None, contextvars.copy_context().run, work)
    cancelled: asyncio.CancelledError | None = None
    while not future.done():
        try:
            await asyncio.wait([future])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is None:
        return future.result()
    if future.exception() is None and undo is not None:
        with contextlib.suppress(ZrbStoreError):  # the cancellation under way says more
            await in_thread(functools.partial(undo, future.result()))
    raise cancelled
