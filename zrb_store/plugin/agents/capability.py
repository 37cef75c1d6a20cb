"""What pydantic-ai calls: a capability that makes each model request and each tool execution a step (`StoredAgent`).

First come tools that run in threads. Nothing can stop a thread: after a signal, a call in a thread continues to its
end.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, ParamSpec, Protocol, TypeVar

from pydantic_ai import _function_schema
from pydantic_ai.capabilities import AbstractCapability, CapabilityOrdering
from pydantic_ai.messages import ModelMessage, ModelResponse, ToolCallPart
from pydantic_ai.models import (
    CompletedStreamedResponse,
    Model,
    ModelRequestContext,
    ModelRequestParameters,
    StreamedResponse,
)
from pydantic_ai.models.wrapper import WrapperModel
from pydantic_ai.settings import ModelSettings
from pydantic_ai.tools import AgentDepsT, RunContext, ToolDefinition
from pydantic_core import to_jsonable_python
from zrb.llm.agent import common

from zrb_store import codec
from zrb_store.attempt import Step
from zrb_store.attempt.steps import Done
from zrb_store.errors import StepUncertain
from zrb_store.plugin.agents import outcomes
from zrb_store.plugin.agents.journal import Journal
from zrb_store.plugin.agents.prompts import read_response, stored_response, summary_of_response
from zrb_store.plugin.signals import signals

P = ParamSpec("P")
R = TypeVar("R")

_call: ContextVar[tuple[Journal, asyncio.Task[Any] | None] | None] = ContextVar("zrb_store_tool_call", default=None)
"""The journal of the tool call under way, and asyncio's task that makes it. Agents inside the tool have other tasks."""


class NotBegun(asyncio.CancelledError):
    """A tool was cancelled before its thread began."""


class RunInThread(Protocol):
    """As `asyncio.to_thread`."""

    async def __call__(self, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call a function in a thread."""


def _hooked(run_in_thread: RunInThread) -> RunInThread:
    async def run_in_executor(function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        journal, task = _call.get() or (None, None)
        if journal is None or task is not asyncio.current_task():
            return await run_in_thread(function, *args, **kwargs)
        begins = threading.Lock()  # whoever gets it decides whether the function is called

        def call(*args: P.args, **kwargs: P.kwargs) -> R:
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


# Hook what zrb and pydantic-ai call functions in threads with, as far as this release has it.
for _module, _name in ((common, "asyncio"), (_function_schema, "run_in_executor")):
    _found = vars(_module).get(_name)
    if _found is asyncio:  # that module of zrb has no other use for it
        setattr(_module, _name, SimpleNamespace(**{**vars(asyncio), "to_thread": _hooked(asyncio.to_thread)}))
    elif _found is not None:
        setattr(_module, _name, _hooked(_found))


class StoredModel(WrapperModel):
    """A model whose answers are steps. A stored answer is given again without a request."""

    def __init__(self, wrapped: Model, journal: Journal) -> None:
        super().__init__(wrapped)
        self._journal = journal

    async def request(
        self,
        messages: list[ModelMessage],
        model_settings: ModelSettings | None,
        model_request_parameters: ModelRequestParameters,
    ) -> ModelResponse:
        """Return the stored answer, or ask the model."""
        with self._journal.request(self.wrapped, model_settings, model_request_parameters, messages) as step:
            if isinstance(step, Done):
                return read_response(codec.decode(step.result))
            response = await self.wrapped.request(messages, model_settings, model_request_parameters)
            self._complete(step, response)
            return response

    @asynccontextmanager
    async def request_stream(
        self,
        messages: list[ModelMessage],
        model_settings: ModelSettings | None,
        model_request_parameters: ModelRequestParameters,
        run_context: RunContext[Any] | None = None,
    ) -> AsyncGenerator[StreamedResponse]:
        """Stream the stored answer, with all its events, or that of the model."""
        with self._journal.request(self.wrapped, model_settings, model_request_parameters, messages) as step:
            if isinstance(step, Done):
                yield CompletedStreamedResponse(
                    read_response(codec.decode(step.result)),
                    model_request_parameters=model_request_parameters,
                    replay_events=True,
                )
                return
            async with self.wrapped.request_stream(
                messages, model_settings, model_request_parameters, run_context
            ) as stream:
                yield stream
                self._complete(step, stream.get())

    def _complete(self, step: Step, response: ModelResponse) -> None:
        stored = stored_response(response, self._journal.limit, self._journal.reasons.get(step.step))
        self._journal.complete(step, stored, summary_of_response(response))


@dataclass(init=False)
class StoredAgent(AbstractCapability[AgentDepsT]):
    """Makes each model request and each tool execution of an agent a step of the attempt that it works in."""

    def __init__(self, journal: Journal) -> None:
        super().__init__()
        self._journal = journal

    def get_ordering(self) -> CapabilityOrdering:
        """Ask to be the last before the model, so that what is compared is what is sent."""
        return CapabilityOrdering(position="innermost")

    async def before_model_request(
        self, ctx: RunContext[AgentDepsT], request_context: ModelRequestContext
    ) -> ModelRequestContext:
        """Send the request through the store."""
        if not isinstance(request_context.model, StoredModel):
            request_context.model = StoredModel(request_context.model, self._journal)
        return request_context

    async def wrap_tool_execute(
        self,
        ctx: RunContext[AgentDepsT],
        *,
        call: ToolCallPart,
        tool_def: ToolDefinition,
        args: dict[str, Any],
        handler: Callable[[dict[str, Any]], Awaitable[Any]],
    ) -> Any:
        """Return the stored result of a tool call, or execute it as a step."""
        journal = self._journal
        # A call that waited for an approval is executed again when it has one.
        suffix = " approved" if ctx.tool_call_approved else ""
        name = journal.name_of_call(f"tool {call.tool_name} {call.tool_call_id}{suffix}")
        arguments = to_jsonable_python(args, fallback=repr, bytes_mode="base64")

        open_step = functools.partial(journal.tool, name, call.tool_name, arguments)

        async def execute() -> Any:
            # If it runs in a thread, it ends before the agent does after a signal.
            token = _call.set((journal, asyncio.current_task()))
            try:
                return await handler(args)
            finally:
                _call.reset(token)

        journal.refuse_if_stopping()
        try:
            with open_step() as step:
                if isinstance(step, Done):
                    result = outcomes.repeat(codec.decode(step.result))
                    ctx.usage.tool_calls += 1  # as pydantic-ai counts a call that returns
                    return result
                try:
                    end = await outcomes.ended(execute)
                except NotBegun as error:
                    journal.fail(step, error)  # its end is known
                    raise
                if len(str(arguments)) < 200:
                    end.outcome["call"] = arguments  # for `show`, which does not read the arguments of steps
                if not end.undone:
                    return self._end(step, end)
                journal.fail(step, end.error)
        except StepUncertain:
            if journal.fatal is not None:
                raise
            with open_step(repeat=True) as step:
                told = outcomes.UNKNOWN.format(name=call.tool_name)
                journal.complete(step, {"kind": "unknown", "value": told, "call": arguments})
                return told
        # What the failed call did to queues is given back. How it ended is stored, to be told to the model again.
        with open_step(repeat=True) as step:
            return self._end(step, end)

    def _end(self, step: Step, end: outcomes.Ended) -> Any:
        self._journal.complete(step, outcomes.encoded(end.outcome, self._journal.limit), {"kind": end.outcome["kind"]})
        if end.raised is not None:
            raise end.raised
        return end.result
