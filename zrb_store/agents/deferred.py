"""What is decided about the calls of an answer that wait: approvals, and results that a capability of the agent gives.

`StoredHandler` makes a step of the latter, which pydantic-ai's `HandleDeferredToolCalls` gives, for example.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import TypeAdapter
from pydantic_ai import DeferredToolRequests, DeferredToolResults, ToolApproved, ToolDenied
from pydantic_ai.capabilities import AbstractCapability, CapabilityOrdering
from pydantic_ai.messages import ToolCallPart
from pydantic_ai.models import ModelRequestContext
from pydantic_ai.tools import AgentDepsT, RunContext

from zrb_store import codec
from zrb_store.agents.journal import Journal
from zrb_store.agents.outcomes import UNKNOWN, storable
from zrb_store.agents.prompts import Data, Mode, NotReadable, Stored, encoded_messages
from zrb_store.attempt import Attempt
from zrb_store.attempt.steps import Done
from zrb_store.errors import StepUncertain
from zrb_store.xcom import current_attempt

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
    if isinstance(stored, bool) or (isinstance(stored, dict) and stored.get("kind") in ("approved", "denied")):
        return DeferredToolResults(approvals={call.tool_call_id: decision(stored) for call in calls})
    try:
        results = _RESULTS.validate_python(stored["results"])
    except (KeyError, TypeError, ValueError) as error:
        raise NotReadable("no decision about calls") from error
    for call in calls:
        rewritten = stored.get("rewritten", {}).get(call.tool_call_id)
        if rewritten is not None and isinstance(call.args, dict):
            call.args.update(rewritten)
    return results


def decision(answer: Any) -> ToolApproved | ToolDenied:
    """Return what a person has answered about a call: what is no approval denies it."""
    answer = answer if isinstance(answer, dict) else {"kind": "approved" if answer is True else "denied"}
    if answer.get("kind") == "approved":
        return ToolApproved()
    return ToolDenied(str(answer["reason"])) if answer.get("reason") else ToolDenied()


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

    def get_ordering(self) -> CapabilityOrdering:
        """Ask to be the first, so that no other is asked again."""
        return CapabilityOrdering(position="outermost")

    async def before_run(self, ctx: RunContext[AgentDepsT]) -> None:
        """Note what a run of the agent starts from."""
        if self._journal.agent:
            self._journal.begin_run(ctx.prompt, ctx.messages, ctx.deps)

    async def before_model_request(
        self, ctx: RunContext[AgentDepsT], request_context: ModelRequestContext
    ) -> ModelRequestContext:
        """Note what the request is made of."""
        self._journal.fingerprints.before_hooks(ctx, request_context.messages)
        return request_context

    async def handle_deferred_tool_calls(
        self, ctx: RunContext[AgentDepsT], *, requests: DeferredToolRequests
    ) -> DeferredToolResults | None:
        """Return the stored results, or those that the others give, or a person; None if there are none."""
        results = await self._of_others(ctx, requests)
        journal = self._journal
        # zrb decides about the calls of its own agents.
        if not journal.agent or not journal.waits or self._is_asking or not isinstance(current_attempt.get(), Attempt):
            return results
        decided = results.approvals if results else {}
        left = [call for call in requests.approvals if call.tool_call_id not in decided]
        if not left:
            return results
        results = results or DeferredToolResults()
        answers = await journal.ask({journal.name_of_call(f"approval {call.tool_call_id}"): call for call in left})
        for call, answer in zip(left, answers, strict=True):
            results.approvals[call.tool_call_id] = decision(answer)
        return results

    async def _of_others(
        self, ctx: RunContext[AgentDepsT], requests: DeferredToolRequests
    ) -> DeferredToolResults | None:
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
