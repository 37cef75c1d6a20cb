"""One run of a stored agent: what it starts from, how zrb runs it, and what must not be done twice around it.

Before `AgentRun` are its parts: approvals of tool calls, and deferred calls that a capability of the agent answers,
such as pydantic-ai's `HandleDeferredToolCalls`.
"""

from __future__ import annotations

import copy
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from typing import Any, TypeVar

from pydantic import TypeAdapter
from pydantic_ai import DeferredToolRequests, DeferredToolResults, ToolApproved, ToolDenied
from pydantic_ai.capabilities import AbstractCapability, CapabilityOrdering
from pydantic_ai.messages import ModelMessage, ToolCallPart
from pydantic_ai.models import ModelRequestContext
from pydantic_ai.tools import AgentDepsT, RunContext
from pydantic_ai.usage import RunUsage

from zrb_store import codec
from zrb_store.attempt import Attempt, Step
from zrb_store.attempt.steps import Done
from zrb_store.codec.arguments import positional_and_named
from zrb_store.errors import StepUncertain
from zrb_store.plugin.agents.capability import StoredAgent
from zrb_store.plugin.agents.declared import declared_hooks, declared_instructions
from zrb_store.plugin.agents.fingerprint import digest
from zrb_store.plugin.agents.journal import Journal
from zrb_store.plugin.agents.outcomes import UNKNOWN, storable
from zrb_store.plugin.agents.prompts import Data, Mode, NotReadable, Prompt, Stored, encoded_messages, read_prompt
from zrb_store.plugin.compat import AnyTask
from zrb_store.records import JsonValue
from zrb_store.xcom import current_attempt

T = TypeVar("T")
_RESULTS: TypeAdapter[DeferredToolResults] = TypeAdapter(DeferredToolResults)


def arguments_of(calls: Sequence[ToolCallPart]) -> Data:
    """Return the arguments of tool calls by call id, as they are now. A hook of zrb may rewrite them in place."""
    return {call.tool_call_id: copy.deepcopy(call.args) for call in calls if isinstance(call.args, dict)}


def stored_approvals(results: DeferredToolResults, calls: Sequence[ToolCallPart], before: Mapping[str, Any]) -> Data:
    """Return what was decided as plain data. `before` are the arguments of the calls before that."""
    now = arguments_of(calls)
    rewritten = {call_id: args for call_id, args in now.items() if args != before.get(call_id)}
    return {
        "kind": "approval",
        "results": _RESULTS.dump_python(results, mode="json"),
        **({"rewritten": rewritten} if rewritten else {}),
    }


def repeat_approvals(stored: Any, calls: Sequence[ToolCallPart]) -> DeferredToolResults:
    """Return what was decided, after the arguments of the calls are rewritten as they were then."""
    try:
        results = _RESULTS.validate_python(stored["results"])
    except (KeyError, TypeError, ValueError) as error:
        raise NotReadable("no decision about calls") from error
    for call in calls:
        rewritten = stored.get("rewritten", {}).get(call.tool_call_id)
        if rewritten is not None and isinstance(call.args, dict):
            call.args.update(rewritten)
    return results


_KIND = "deferred results"
_HANDLE = "handle_deferred_tool_calls"


class StoredHandler(AbstractCapability[AgentDepsT]):
    """Makes a step of what the other capabilities of an agent do about the deferred calls of one answer.

    It also sees each request as it was before they may have changed it.
    """

    def __init__(self, journal: Journal) -> None:
        super().__init__()
        self._journal = journal
        self._is_asking = False
        self._hooks: str | None = None

    def get_ordering(self) -> CapabilityOrdering:
        """Ask to be the first, so that no other is asked again."""
        return CapabilityOrdering(position="outermost")

    async def before_model_request(
        self, ctx: RunContext[AgentDepsT], request_context: ModelRequestContext
    ) -> ModelRequestContext:
        """Note what the request is made of."""
        if self._hooks is None:
            self._hooks = declared_hooks(getattr(ctx, "root_capability", None))
        if self._hooks:
            self._journal.fingerprints.before_hooks(request_context.messages, self._hooks)
        return request_context

    async def handle_deferred_tool_calls(
        self, ctx: RunContext[AgentDepsT], *, requests: DeferredToolRequests
    ) -> DeferredToolResults | None:
        """Return the stored results, or those that the others give; None if they have none."""
        root: Any = getattr(ctx, "root_capability", None)  # older releases have none
        # What a tool does about calls of its own belongs to the step of the tool.
        if self._is_asking or not _has_handler(root) or not isinstance(current_attempt.get(), Attempt):
            return None
        journal = self._journal
        journal.refuse_if_stopping()
        ids = sorted(call.tool_call_id for call in (*requests.calls, *requests.approvals))
        name = journal.name_of_call(f"deferred {' '.join(ids)}")
        try:
            with journal.deferred(name, requests.calls) as step:
                if isinstance(step, Done):
                    return _read(codec.decode(step.result), requests)
                self._is_asking = True
                try:
                    results: DeferredToolResults | None = await root.handle_deferred_tool_calls(ctx, requests=requests)
                finally:
                    self._is_asking = False
                if results is None:
                    step.fail(None, "interrupted")  # zrb decides
                else:
                    journal.complete(step, _stored(results, journal.limit), {"kind": _KIND})
                return results
        except StepUncertain:
            if journal.fatal is not None:
                raise
            results = DeferredToolResults()
            results.calls |= {call.tool_call_id: UNKNOWN.format(name=call.tool_name) for call in requests.calls}
            with journal.deferred(name, requests.calls, repeat=True) as step:
                journal.complete(step, _stored(results, journal.limit), {"kind": _KIND})
            return results


def _has_handler(root: Any) -> bool:
    """Whether a capability beside ours may answer deferred calls."""
    stock = getattr(AbstractCapability, _HANDLE, None)
    return any(
        not isinstance(one, StoredHandler) and getattr(type(one), _HANDLE, None) is not stock
        for one in getattr(root, "capabilities", ())
    )


def _stored(results: DeferredToolResults, limit: int) -> Stored:
    def dump(mode: Mode) -> Data:
        dumped = _RESULTS.dump_python(results, mode=mode)
        if mode == "python":  # a picture among them would come back as a dict
            dumped["calls"] |= {name: own for name, one in results.calls.items() if (own := storable(one)) is not one}
        return {"kind": _KIND, "results": dumped}

    return encoded_messages(dump, limit)


def _read(stored: Any, requests: DeferredToolRequests) -> DeferredToolResults:
    """Return stored results. What a person has marked as the result is that of the only call."""
    if not isinstance(stored, dict) or stored.get("kind") != _KIND:
        if len(requests.calls) != 1:
            raise NotReadable("no result of deferred calls")
        return DeferredToolResults(calls={requests.calls[0].tool_call_id: stored})
    return _RESULTS.validate_python(stored["results"])


RunAgent = Callable[..., Awaitable[Any]]
Decide = Callable[..., Awaitable[DeferredToolResults | None]]


class AgentRun:
    """One run of the agent of a task, in an attempt that is stored."""

    def __init__(self, task: AnyTask, journal: Journal) -> None:
        self._task = task
        self.journal = journal
        self._agent: Any = None
        self._system_prompt = ""
        self._declared: dict[str, JsonValue] = {}
        self._step: Step | None = None
        self._opened = ExitStack()
        self._prompt: Prompt | None = None
        self._logged_usage: RunUsage | None = None

    def system_prompt(self, text: str) -> str:
        """Return the instructions of the agent: the stored ones, unless the task declares others now."""
        self._declared = declared_instructions(self._task, text)
        self._system_prompt = text
        stored = self.journal.stored_prompt()
        if stored is not None and positional_and_named(stored.arguments)[1].get("instructions") == self._declared:
            with suppress(NotReadable):  # `run` tells of it
                prompt = read_prompt(codec.decode(stored.result))
                self._system_prompt = prompt.system_prompt if prompt else text
        return self._system_prompt

    async def run(self, run_agent: Callable[..., Awaitable[T]], **kwargs: Any) -> T:
        """Run the agent as zrb does, over the steps of the attempt."""
        self._agent = agent = kwargs["agent"]
        agent.run = self._over_steps(agent.run)
        arguments: dict[str, JsonValue] = {
            "message": digest(kwargs.get("message")),
            "attachments": digest(kwargs.get("attachments") or []),
            "instructions": self._declared,
        }
        # A checkpoint of zrb would be ahead of the steps that stand.
        kwargs["checkpoint_fn"] = None
        try:
            with self._opened:
                step = self._opened.enter_context(self.journal.prompt(arguments))
                if isinstance(step, Done):
                    if not self.journal.changes.reuses_prompt:
                        self._prompt = read_prompt(codec.decode(step.result))
                    self._opened.close()
                else:
                    self._step = step
                if self._prompt is not None:
                    # Nothing has to be condensed or described again.
                    kwargs |= {"message_history": [], "attachments": None, "live_context": ""}
                return await run_agent(**kwargs)
        except Exception:
            if self.journal.fatal is not None:
                raise self.journal.fatal from None
            raise
        finally:
            self._agent = None

    def is_of(self, agent: Any) -> bool:
        """Whether this is the run of an agent: others may run inside it."""
        return agent is not None and agent is self._agent

    def start(self, history: list[ModelMessage], message: T) -> tuple[list[ModelMessage], T]:
        """Return the history and the message that the agent starts from: the stored ones, else those of zrb."""
        if self._step is not None:
            reason = self.journal.reasons.get(self._step.step)
            prompt = Prompt(message, history, self._system_prompt).stored(self.journal.limit, reason)
            self.journal.complete(self._step, prompt, {"kind": "prompt", **({"changed": reason} if reason else {})})
            self._step = None
            self._opened.close()
        elif self._prompt is not None:
            return list(self._prompt.history), self._prompt.message
        return history, message

    def _over_steps(self, run: RunAgent) -> RunAgent:
        async def run_over_steps(*args: Any, **kwargs: Any) -> Any:
            journal = self.journal
            position = journal.position
            journal.any_live = False
            capabilities = [*(kwargs.pop("capabilities", None) or ()), StoredHandler(journal), StoredAgent(journal)]
            try:
                result = await run(*args, capabilities=capabilities, **kwargs)
            except Exception:
                # zrb may run it again with the same history.
                journal.restart(position)
                raise
            if not journal.any_live:
                self._logged_usage = result.usage
            return result

        return run_over_steps

    def is_logged(self, usage: RunUsage) -> bool:
        """Whether zrb logged this usage before: every answer that it sums up came from the store."""
        return self._logged_usage is not None and usage is self._logged_usage

    async def approve(
        self, decide: Decide, note_edited: Callable[[Any, Any], None], requests: Any, *args: Any
    ) -> DeferredToolResults | None:
        """Return what was decided about tool calls that need an approval, then or now: each call is a step.

        `note_edited` is zrb's function that notes of an approved call that its arguments were edited.
        """
        decided: DeferredToolResults | None = None
        for name in ("calls", "approvals"):
            for call in getattr(requests, name) or ():
                one = replace(requests, **{"calls": [], "approvals": [], name: [call]})
                results = await self._approve_one(decide, note_edited, call, one, *args)
                if results is None:
                    return None
                if decided is None:
                    decided = results
                else:
                    decided.approvals.update(results.approvals)
        return decided if decided is not None else await decide(requests, *args)

    async def _approve_one(
        self, decide: Decide, note_edited: Callable[[Any, Any], None], call: ToolCallPart, *args: Any
    ) -> DeferredToolResults | None:
        with self.journal.approval(call.tool_call_id) as step:
            if isinstance(step, Done):
                repeated = repeat_approvals(codec.decode(step.result), [call])
                note_edited(call, repeated.approvals.get(call.tool_call_id))
                return repeated
            before = arguments_of([call])
            results = await decide(*args)
            # pydantic-ai refuses all else that a task's function may return.
            decided = (bool, ToolApproved, ToolDenied)
            if results is None or not all(isinstance(one, decided) for one in results.approvals.values()):
                step.fail(None, "interrupted")  # somebody decides later
            else:
                self.journal.complete(step, stored_approvals(results, [call], before))
            return results
