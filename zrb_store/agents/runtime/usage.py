"""What calls of tools add to the usage of their agent, as agents inside them do that get `usage=ctx.usage`.

It is stored with a call, so that the usage and the limits of a resumed agent count what was paid before. Calls that run
at the same time add to one object: so each addition is noted for the call in whose context it is made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from decimal import Decimal
from typing import Any

from pydantic_ai.usage import RequestUsage, RunUsage

from zrb_store.agents.runtime.stored import Data

_spending: ContextVar[tuple[RunUsage, RunUsage] | None] = ContextVar("zrb_store_spending", default=None)
"""The usage of an agent, and what the call of a tool under way has added to it."""

# Kinds of outcomes for which pydantic-ai counts no call.
_NOT_COUNTED = ("retry", "failed", "approval", "deferred", "unknown")


@contextmanager
def spending(usage: RunUsage) -> Iterator[RunUsage]:
    """Yield what the code in the block adds to a usage."""
    spent = RunUsage()
    token = _spending.set((usage, spent))
    try:
        yield spent
    finally:
        _spending.reset(token)


def note(outcome: Data, spent: RunUsage) -> None:
    """Note in the outcome of a call what it has spent, if that is more than the call itself."""
    if spent != _of_kind(outcome):
        outcome["usage"] = {name: value for name, value in vars(spent).items() if value}


def spent_by(outcome: Any) -> RunUsage:
    """Return what the call with this stored outcome has added to the usage of its agent."""
    if isinstance(outcome, dict) and "kind" in outcome and isinstance(stored := outcome.get("usage"), dict):
        return RunUsage(**stored)
    return _of_kind(outcome)


def _of_kind(outcome: Any) -> RunUsage:
    kind = outcome.get("kind") if isinstance(outcome, dict) else None
    return RunUsage(tool_calls=int(kind not in _NOT_COUNTED))


def _noting(incr: Callable[[RunUsage, RunUsage | RequestUsage], None]) -> Callable[..., None]:
    def noted(self: RunUsage, incr_usage: RunUsage | RequestUsage) -> None:
        usage, spent = _spending.get() or (None, None)
        if usage is not self or spent is None:
            return incr(self, incr_usage)
        token = _spending.set(None)  # else what it sets would be noted too
        try:
            incr(self, incr_usage)
            incr(spent, incr_usage)
        finally:
            _spending.reset(token)

    return noted


def _set(self: RunUsage, name: str, value: Any) -> None:
    usage, spent = _spending.get() or (None, None)
    if usage is self and isinstance(value, (int, float, Decimal)):
        before = getattr(self, name, None) or 0
        setattr(spent, name, (getattr(spent, name, None) or 0) + value - before)
    object.__setattr__(self, name, value)


# Hook what pydantic-ai adds to a usage with.
setattr(RunUsage, "incr", _noting(RunUsage.incr))  # noqa: B010
setattr(RunUsage, "__setattr__", _set)  # noqa: B010
