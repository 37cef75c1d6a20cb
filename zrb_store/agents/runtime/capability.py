"""What pydantic-ai calls: a capability that makes each model request and each tool execution a step (`StoredAgent`).

`Durable` finds the attempt of each run. First come tools that run in threads. Nothing can stop a thread: after a
signal, a call in a thread continues to its end.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import threading
import warnings
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, cast

from pydantic_ai import AgentRunResult, DeferredToolRequests, DeferredToolResults, _function_schema
from pydantic_ai.capabilities import (
    AbstractCapability,
    CapabilityOrdering,
    CombinedCapability,
    Instrumentation,
    WrapRunHandler,
)
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

from zrb_store import codec, settings
from zrb_store.agents.once import OncePolicy, policy_of
from zrb_store.agents.runtime import stored
from zrb_store.agents.runtime.changes import OnChange, refuse_to_forget
from zrb_store.agents.runtime.decisions import RESULTS, UNDECIDED, dump_decisions, read_decisions
from zrb_store.agents.runtime.digests import plain
from zrb_store.agents.runtime.journal import Journal, Terms, reading
from zrb_store.agents.runtime.names import bounded
from zrb_store.agents.runtime.stored import dump_response, read_response
from zrb_store.agents.runtime.telemetry import discount, replay_scope, report
from zrb_store.agents.runtime.usage import note, spending, spent_by
from zrb_store.agents.settings import budget_of
from zrb_store.attempt import Attempt, Step
from zrb_store.attempt.steps import StoredResult
from zrb_store.errors import StepUncertain, ZrbStoreError
from zrb_store.xcom import current_attempt, leave

_call: ContextVar[tuple[Journal, asyncio.Task[Any] | None] | None] = ContextVar("zrb_store_tool_call", default=None)
"""The journal of the tool call under way, and asyncio's task that makes it. Agents inside the tool have other tasks."""


class NotBegun(asyncio.CancelledError):
    """A tool was cancelled before its thread began."""


def finishing(run_in_thread: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    """Return a function that calls others in threads, as that one does, and lets a tool's call end after a signal."""

    async def run_in_executor(function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
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
            if not journal.is_stopping:
                work.cancel()
                raise
        while not work.done():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait([work])
        journal.wait_for_store()  # what followed the signal may have taken long
        return work.result()

    return run_in_executor


# Hook what pydantic-ai calls functions in threads with, as far as this release has it.
if _found := vars(_function_schema).get("run_in_executor"):
    setattr(_function_schema, "run_in_executor", finishing(_found))  # noqa: B010


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
        await self._journal.ready()
        with self._journal.request(self.wrapped, model_settings, model_request_parameters, messages) as step:
            if isinstance(step, StoredResult):
                return read_response(codec.decode(step.result))
            response = await self.wrapped.request(messages, model_settings, model_request_parameters)
            self._journal.keep(step, functools.partial(dump_response, response))
            return response

    @contextlib.asynccontextmanager
    async def request_stream(
        self,
        messages: list[ModelMessage],
        model_settings: ModelSettings | None,
        model_request_parameters: ModelRequestParameters,
        run_context: RunContext[Any] | None = None,
    ) -> AsyncGenerator[StreamedResponse]:
        """Stream the stored answer, with all its events, or that of the model."""
        await self._journal.ready()
        with self._journal.request(self.wrapped, model_settings, model_request_parameters, messages) as step:
            if isinstance(step, StoredResult):
                yield CompletedStreamedResponse(
                    read_response(codec.decode(step.result)),
                    model_request_parameters=model_request_parameters,
                    replay_events=True,
                )
                return
            async with self.wrapped.request_stream(
                messages, model_settings, model_request_parameters, run_context
            ) as stream:
                # What reads the stream is no part of the step.
                token = current_attempt.set(step.parent)
                if step.span is not None:
                    step.span.leave()
                reading.set((*reading.get(), step))
                try:
                    yield stream
                finally:
                    leave(token)
                self._journal.keep(step, functools.partial(dump_response, stream.get()))


@dataclass
class StoredAgent(AbstractCapability[AgentDepsT]):
    """Makes each model request and each tool execution of an agent a step of the attempt that it works in."""

    journal: Journal

    def get_ordering(self) -> CapabilityOrdering:
        """Ask to be the last before the model, so that what is compared is what is sent."""
        return CapabilityOrdering(position="innermost")

    async def wrap_run(self, ctx: RunContext[AgentDepsT], *, handler: Callable[[], Awaitable[Any]]) -> Any:
        """Note the end of a run."""
        try:
            return await handler()
        finally:
            if self.journal.agent:  # zrb runs its own agents several times
                self.journal.end_run()

    async def before_model_request(
        self, ctx: RunContext[AgentDepsT], request_context: ModelRequestContext
    ) -> ModelRequestContext:
        """Send the request through the store."""
        if not isinstance(request_context.model, StoredModel):
            request_context.model = StoredModel(request_context.model, self.journal)
        return request_context

    async def wrap_model_request(
        self,
        ctx: RunContext[AgentDepsT],
        *,
        request_context: ModelRequestContext,
        handler: Callable[[ModelRequestContext], Awaitable[ModelResponse]],
    ) -> ModelResponse:
        """Report the request where its span is open: who reads a stream, and so makes its request, may be elsewhere."""
        self.journal.request_step = None
        try:
            response = await handler(request_context)
        finally:
            report(self.journal.request_step)
        if isinstance(self.journal.request_step, StoredResult):
            discount(response)
        return response

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
        journal = self.journal
        if isinstance(current_attempt.get(), Step):
            return await handler(args)
        if policy := marked_policy(ctx, call.tool_name):
            journal.once.setdefault(call.tool_name, policy)
        new = journal.tool_call(call, is_approved=ctx.tool_call_approved)
        # As the model gave them: what pydantic makes of them, such as a default, may be different the next time.
        arguments = {name: plain(value, repr) for name, value in call.args_as_dict().items()}

        open_step = functools.partial(journal.tool, new, call.tool_name, arguments)

        async def execute() -> Any:
            # If it runs in a thread, it ends before the agent does after a signal.
            token = _call.set((journal, asyncio.current_task()))
            try:
                return await handler(args)
            finally:
                _call.reset(token)

        try:
            with open_step() as step:
                report(step)
                if isinstance(step, StoredResult):
                    outcome = codec.decode(step.result)
                    ctx.usage.incr(spent_by(outcome))
                    return stored.repeat(outcome)
                try:
                    with spending(ctx.usage) as spent:
                        end = await stored.ended(execute)
                except NotBegun as error:
                    journal.fail(step, error)  # its end is known
                    raise
                note(end.outcome, spent)
                if len(str(arguments)) < 200:
                    end.outcome["call"] = arguments  # for `show`, which does not read the arguments of steps
                if not end.undone:
                    return self._end(step, end)
                journal.fail(step, end.error)
        except StepUncertain:
            if journal.fatal is not None:
                raise
            told = stored.UNKNOWN.format(name=call.tool_name)
            end = stored.Ended({"kind": "unknown", "value": told, "call": arguments}, told)
        # What the failed call did to queues is given back. How it ended is stored, to be told to the model again.
        with open_step(repeat=True) as step:
            return self._end(step, end)

    def _end(self, step: Step, end: stored.Ended) -> Any:
        self.journal.end(step, end.outcome)
        if end.raised is not None:
            raise end.raised
        return end.result


def marked_policy(ctx: RunContext[Any], name: str) -> OncePolicy | None:
    """Return the policy of a tool whose function is marked with `once_tool`, whatever name a toolset gives it."""
    tool: Any = (getattr(getattr(ctx, "tool_manager", None), "tools", None) or {}).get(name)
    while hasattr(tool, "source_tool"):
        tool = tool.source_tool
    schema = getattr(getattr(tool, "call_func", None), "__self__", None)
    return policy_of(getattr(schema, "function", None))


_HANDLE = "handle_deferred_tool_calls"


@dataclass
class StoredHandler(AbstractCapability[AgentDepsT]):
    """Makes a step of what the other capabilities of an agent do about the deferred calls of one answer.

    It also sees each request as it was before they may have changed it.
    """

    journal: Journal
    is_asking: bool = False
    _is_noted: bool = False  # whether what the request under way is made of was noted

    def get_ordering(self) -> CapabilityOrdering:
        """Ask to be the first, so that no other is asked again, and no span is around the run."""
        return CapabilityOrdering(position="outermost", wraps=[Instrumentation])

    async def wrap_run(self, ctx: RunContext[AgentDepsT], *, handler: WrapRunHandler) -> AgentRunResult[Any]:
        """Keep what comes from the store out of what is reported of the run."""
        with replay_scope():
            return await handler()

    async def before_run(self, ctx: RunContext[AgentDepsT]) -> None:
        """Note what a run of the agent starts from."""
        journal = self.journal
        if journal.agent:
            journal.begin_run(ctx.prompt, ctx.messages, ctx.deps)
        is_needed = journal.fingerprints.begin_run(ctx)
        root = getattr(ctx, "root_capability", None)  # older releases have none
        asks = journal.agent and journal.terms.waits
        # pydantic-ai copies the context for each capability at each hook, so that one with nothing to do leaves.
        if not (is_needed or asks or _has_handler(root)) and type(root) is CombinedCapability:
            root.capabilities = [one for one in root.capabilities if one is not self]

    async def before_model_request(
        self, ctx: RunContext[AgentDepsT], request_context: ModelRequestContext
    ) -> ModelRequestContext:
        """Note what the request is made of. Older releases call this hook before the one around the request."""
        self._note(request_context)
        return request_context

    async def wrap_model_request(
        self,
        ctx: RunContext[AgentDepsT],
        *,
        request_context: ModelRequestContext,
        handler: Callable[[ModelRequestContext], Awaitable[ModelResponse]],
    ) -> ModelResponse:
        """Note what the request is made of, before another capability may change it here."""
        self._note(request_context)
        try:
            return await handler(request_context)
        finally:
            self._is_noted = False

    def _note(self, request_context: ModelRequestContext) -> None:
        if not self._is_noted:
            self.journal.fingerprints.before_hooks(request_context.messages)
            self._is_noted = True

    async def handle_deferred_tool_calls(
        self, ctx: RunContext[AgentDepsT], *, requests: DeferredToolRequests
    ) -> DeferredToolResults | None:
        """Return the stored results, or those that the others give, or a person; None if there are none."""
        # What a tool does about calls of its own belongs to the step of the tool.
        if self.is_asking or not isinstance(current_attempt.get(), Attempt):
            return None
        root: Any = getattr(ctx, "root_capability", None)  # older releases have none
        results = await self._of_others(ctx, root, requests) if _has_handler(root) else None
        journal, decided = self.journal, results.approvals if results else {}
        left = [call for call in requests.approvals if call.tool_call_id not in decided]
        # zrb decides about the calls of its own agents.
        if not left or not journal.agent or not journal.terms.waits:
            return results
        results = results or DeferredToolResults()
        results.approvals |= await journal.ask([(journal.approval(call), call) for call in left])
        return results

    async def _of_others(
        self, ctx: RunContext[AgentDepsT], root: Any, requests: DeferredToolRequests
    ) -> DeferredToolResults | None:
        journal = self.journal
        new = journal.deferred([*requests.calls, *requests.approvals])
        try:
            with journal.decision(new, requests.calls) as step:
                if isinstance(step, StoredResult):
                    return read_decisions(codec.decode(step.result), requests.calls, kind=RESULTS)
                self.is_asking = True
                try:
                    results: DeferredToolResults | None = await root.handle_deferred_tool_calls(ctx, requests=requests)
                finally:
                    self.is_asking = False
                if results is None:
                    step.fail(UNDECIDED, "interrupted")  # zrb decides
                else:
                    journal.keep(step, functools.partial(dump_decisions, RESULTS, results, None))
                return results
        except StepUncertain:
            if journal.fatal is not None:
                raise
            results = DeferredToolResults()
            results.calls |= {call.tool_call_id: stored.UNKNOWN.format(name=call.tool_name) for call in requests.calls}
            with journal.decision(new, requests.calls, repeat=True) as step:
                journal.keep(step, functools.partial(dump_decisions, RESULTS, results, None))
            return results


def _has_handler(root: Any) -> bool:
    """Whether a capability beside ours may answer deferred calls."""
    stock = getattr(AbstractCapability, _HANDLE, None)
    return any(
        not isinstance(one, (StoredHandler, InsideStep)) and getattr(type(one), _HANDLE, None) is not stock
        for one in getattr(root, "capabilities", ())
    )


@dataclass
class InsideStep(AbstractCapability[AgentDepsT]):
    """Refuses to wait for an approval inside a step or a tool: after the wait it would be repeated, and paid again."""

    step: Step
    agent: str

    def get_ordering(self) -> CapabilityOrdering:
        """Ask to be the last, so that others may answer."""
        return CapabilityOrdering(position="innermost")

    async def before_model_request(
        self, ctx: RunContext[AgentDepsT], request_context: ModelRequestContext
    ) -> ModelRequestContext:
        """Refuse a request whose answer may ask for an approval that nobody gives."""
        if not _has_handler(getattr(ctx, "root_capability", None)):
            tools = request_context.model_request_parameters.function_tools
            self._refuse([tool.name for tool in tools if tool.kind == "unapproved"])
        return request_context

    async def handle_deferred_tool_calls(self, ctx: RunContext[AgentDepsT], *, requests: DeferredToolRequests) -> None:
        """Refuse what nobody has answered."""
        self._refuse([call.tool_name for call in requests.approvals])

    def _refuse(self, tools: Sequence[str]) -> None:
        if tools:
            raise ZrbStoreError(
                f"agent {self.agent} cannot wait for an approval of {tools[0]} inside step {self.step.step} of "
                f"{self.step.parent.full_name}: run it outside of steps and tools, or without wait_for_approval"
            )


@dataclass(kw_only=True)
class Durable(AbstractCapability[AgentDepsT]):
    """What `durable` returns. In each run of the agent, it is replaced by the capabilities that work in one attempt."""

    terms: Terms

    async def for_run(self, ctx: RunContext[AgentDepsT]) -> AbstractCapability[AgentDepsT]:
        """Return the capabilities of a run."""
        attempt = current_attempt.get()
        mode = settings.choice("ZRB_STORE_AGENTS")
        if attempt is None:
            warnings.warn(
                "an agent with durable() runs outside of any attempt, so nothing of it is stored: run it in a zrb "
                "task's action or in `with run.attempt(...)`",
                RuntimeWarning,
                stacklevel=1,
            )
        name = getattr(ctx.agent, "name", None) or "agent"
        if not isinstance(attempt, Attempt):
            if isinstance(attempt, Step) and self.terms.waits:
                return CombinedCapability([InsideStep(attempt, name)])
            return CombinedCapability([])
        if mode == "off":
            refuse_to_forget(attempt, bounded(name))
            return CombinedCapability([])
        on_change = cast(OnChange, settings.choice("ZRB_STORE_CHANGED_REQUEST"))
        budget = budget_of() if self.terms.budget is None else self.terms.budget
        terms = self.terms._replace(is_private=mode == "private", on_change=on_change, budget=budget)
        journal = Journal(attempt, terms, name)
        return CombinedCapability([StoredHandler(journal), StoredAgent(journal)])
