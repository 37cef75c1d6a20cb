"""What was decided about tool calls that need an approval, as it is stored."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import TypeAdapter
from pydantic_ai import DeferredToolResults, ToolApproved, ToolDenied

from zrb_store.plugin.agents.prompts import NotReadable

_APPROVALS: TypeAdapter[DeferredToolResults] = TypeAdapter(DeferredToolResults)


def arguments_of(calls: Sequence[Any]) -> dict[str, Any]:
    """Return the arguments of tool calls by call id, as they are now. A hook of zrb may rewrite them in place."""
    return {call.tool_call_id: copy.deepcopy(call.args) for call in calls if isinstance(call.args, dict)}


def are_decided(results: DeferredToolResults) -> bool:
    """Whether each call is approved or denied. pydantic-ai refuses all else that a task's function may return."""
    return all(isinstance(one, (bool, ToolApproved, ToolDenied)) for one in results.approvals.values())


def stored_approvals(results: DeferredToolResults, calls: Sequence[Any], before: Mapping[str, Any]) -> dict[str, Any]:
    """Return what was decided as plain data.

    Args:
        results: What was decided.
        calls: The calls.
        before: Their arguments before it was decided.
    """
    now = arguments_of(calls)
    rewritten = {call_id: args for call_id, args in now.items() if args != before.get(call_id)}
    return {
        "kind": "approval",
        "results": _APPROVALS.dump_python(results, mode="json"),
        **({"rewritten": rewritten} if rewritten else {}),
    }


def repeat_approvals(stored: Any, calls: Sequence[Any]) -> DeferredToolResults:
    """Return what was decided, after the arguments of the calls are rewritten as they were then.

    Raises:
        NotReadable: It is no decision.
    """
    try:
        results = _APPROVALS.validate_python(stored["results"])
    except (KeyError, TypeError, ValueError) as error:
        raise NotReadable("no decision about calls") from error
    for call in calls:
        rewritten = stored.get("rewritten", {}).get(call.tool_call_id)
        if rewritten is not None and isinstance(call.args, dict):
            call.args.update(rewritten)
    return results
