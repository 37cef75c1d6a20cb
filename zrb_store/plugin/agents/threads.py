"""Tools that run in threads. Nothing can stop a thread: after a signal, a call that runs in one goes on to its end."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import threading
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from types import SimpleNamespace
from typing import Any

from pydantic_ai import _function_schema
from zrb.llm.agent import common

from zrb_store.plugin.agents.journal import Journal
from zrb_store.plugin.signals import signals

_call: ContextVar[tuple[Journal, Any] | None] = ContextVar("zrb_store_tool_call", default=None)
"""The journal of the tool call under way, and asyncio's task that makes it. Agents inside the tool have other tasks."""


class NotBegun(asyncio.CancelledError):
    """A tool was cancelled before its thread began."""


@contextlib.contextmanager
def waiting_for_threads(journal: Journal) -> Iterator[None]:
    """Let a tool call that is made here, in a thread, end after a signal before the agent does."""
    token = _call.set((journal, asyncio.current_task()))
    try:
        yield
    finally:
        _call.reset(token)


def _hooked(run_in_thread: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(run_in_thread)
    async def run_in_executor(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        journal, task = _call.get() or (None, None)
        if journal is None or task is not asyncio.current_task():
            return await run_in_thread(function, *args, **kwargs)
        begins = threading.Lock()  # whoever gets it decides whether the function is called

        def call(*args: Any, **kwargs: Any) -> Any:
            if not begins.acquire(blocking=False):
                raise asyncio.CancelledError
            return function(*args, **kwargs)

        work = asyncio.ensure_future(run_in_thread(call, *args, **kwargs))
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            if begins.acquire(blocking=False):
                work.cancel()
                raise NotBegun("cancelled before it began") from None
            if not signals.received:
                work.cancel()
                raise
        while not work.done():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait([work])
        journal.wait_for_store()  # what followed the signal may have taken long
        return work.result()

    return run_in_executor


def _install() -> None:
    """Hook what zrb and pydantic-ai call functions in threads with, as far as this release has it."""
    for module, name in ((common, "asyncio"), (_function_schema, "run_in_executor")):
        found: Any = vars(module).get(name)
        if found is asyncio:  # that module of zrb has no other use for it
            setattr(module, name, SimpleNamespace(**{**vars(asyncio), "to_thread": _hooked(asyncio.to_thread)}))
        elif found is not None:
            setattr(module, name, _hooked(found))


_install()
