"""Blocking work in a thread, for coroutines."""

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

    If it was cancelled, nobody gets what the function returned: `undo` is called with it likewise.
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
        with contextlib.suppress(ZrbStoreError):  # the cancellation itself says more
            await in_thread(functools.partial(undo, future.result()))
    raise cancelled
