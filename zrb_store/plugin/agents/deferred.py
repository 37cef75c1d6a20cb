"""Deferred calls that a capability of the agent answers, such as pydantic-ai's `HandleDeferredToolCalls`."""

from __future__ import annotations

from typing import Any

from pydantic import TypeAdapter
from pydantic_ai import DeferredToolRequests, DeferredToolResults
from pydantic_ai.capabilities import AbstractCapability, CapabilityOrdering
from pydantic_ai.tools import RunContext

from zrb_store import codec
from zrb_store.attempt import Attempt, Done
from zrb_store.codec import Encoded
from zrb_store.errors import StepUncertain
from zrb_store.plugin.agents.journal import Journal
from zrb_store.plugin.agents.outcomes import UNKNOWN, storable
from zrb_store.plugin.agents.prompts import Mode, NotReadable, encoded_messages
from zrb_store.xcom import current_attempt

_RESULTS: TypeAdapter[DeferredToolResults] = TypeAdapter(DeferredToolResults)
_KIND = "deferred results"
_HANDLE = "handle_deferred_tool_calls"


class StoredHandler(AbstractCapability[Any]):
    """Makes a step of what the other capabilities of an agent do about the deferred calls of one answer."""

    def __init__(self, journal: Journal) -> None:
        super().__init__()
        self._journal = journal
        self._is_asking = False

    def get_ordering(self) -> CapabilityOrdering:
        """Ask to be the first, so that no other is asked again."""
        return CapabilityOrdering(position="outermost")

    async def handle_deferred_tool_calls(
        self, ctx: RunContext[Any], *, requests: DeferredToolRequests
    ) -> DeferredToolResults | None:
        """Return the stored results, or those that the others give; None if they have none."""
        root: Any = getattr(ctx, "root_capability", None)  # older releases have none
        # What a tool does about calls of its own belongs to the step of the tool.
        if self._is_asking or not _has_handler(root) or not isinstance(current_attempt.get(), Attempt):
            return None
        journal = self._journal
        journal.refuse_if_stopping()
        name = journal.name_of_call(f"deferred {' '.join(sorted(_names(requests)))}")
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
            unknown: dict[str, Any] = {
                call.tool_call_id: UNKNOWN.format(name=call.tool_name) for call in requests.calls
            }
            results = DeferredToolResults(calls=unknown)
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


def _names(requests: DeferredToolRequests) -> list[str]:
    return [call.tool_call_id for call in (*requests.calls, *requests.approvals)]


def _stored(results: DeferredToolResults, limit: int) -> Encoded | dict[str, Any]:
    def dump(mode: Mode) -> dict[str, Any]:
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
