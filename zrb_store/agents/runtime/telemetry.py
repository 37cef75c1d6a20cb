"""What OpenTelemetry is told about a resumed agent: spans and metrics of what ran, not of what came from the store.

From 2.68 on, pydantic-ai leaves out what it is told here to be stored. `_Tally` does the same for earlier releases: a
span that covers nothing else is never ended, and so not exported.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from opentelemetry import trace
from pydantic_ai import durable_exec
from pydantic_ai.capabilities import Instrumentation
from pydantic_ai.messages import ModelResponse
from pydantic_ai.models.instrumented import InstrumentationSettings
from pydantic_ai.usage import RunUsage

from zrb_store.attempt import Step
from zrb_store.attempt.steps import StoredResult

try:
    from pydantic_ai._usage_attribution import _active as _usage_of_run
except ImportError:  # 2.44 and before: the span of a run has the usage of the whole run
    _usage_of_run = ContextVar("zrb_store_usage_of_run", default=None)


def report(step: Step | StoredResult | None) -> None:
    """Report that a request or a call has run as a step, or that its result was stored; nothing if it was not made."""
    if step is not None:
        _record(executed=not isinstance(step, StoredResult))


def discount(response: ModelResponse) -> None:
    """Leave a stored answer out of the usage on the span of the run under way."""
    if (usage := _usage_of_run.get()) is not None:
        spent = RunUsage()
        for each in (response, *(getattr(response, "failed_attempts", None) or ())):
            spent.incr(each.usage or RunUsage())
        vars(usage).update({**vars(usage - spent), "cost": usage.cost})


class _Tally:
    """Counts what was done and what came from the store while a span was open, or a run."""

    def __init__(self, outer: _Tally | None = None) -> None:
        self.executed = self.stored = 0
        self._outer = outer

    def count(self, *, executed: bool) -> None:
        self.executed += executed
        self.stored += not executed
        if self._outer is not None:
            self._outer.count(executed=executed)

    @property
    def is_stored(self) -> bool:
        return self.stored > 0 and not self.executed


_tally: ContextVar[_Tally | None] = ContextVar("zrb_store_tally", default=None)


@contextmanager
def _counting(tally: _Tally) -> Iterator[None]:
    token = _tally.set(tally)
    try:
        yield
    finally:
        _tally.reset(token)


def _count(*, executed: bool) -> None:
    if (tally := _tally.get()) is not None:
        tally.count(executed=executed)


def _leaving_out(stock: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    """Return a hook of pydantic-ai, which opens a span, that leaves it out if all inside it came from the store."""

    @functools.wraps(stock)
    async def hooked(*args: Any, handler: Callable[..., Awaitable[Any]], **kwargs: Any) -> Any:
        outer, around = _tally.get(), trace.get_current_span()
        if outer is None:
            return await stock(*args, handler=handler, **kwargs)
        own = _Tally(outer)

        async def inside(*args: Any) -> Any:
            span = trace.get_current_span()
            try:
                return await handler(*args)
            finally:
                if span is not around and own.is_stored:
                    setattr(span, "end", lambda end_time=None: None)  # noqa: B010
                elif span is not around:
                    outer.count(executed=True)

        with _counting(own):
            return await stock(*args, handler=inside, **kwargs)

    return hooked


def _without_stored(stock: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(stock)
    def record_metrics(*args: Any, **kwargs: Any) -> None:
        if (tally := _tally.get()) is None or not tally.is_stored:
            stock(*args, **kwargs)

    return record_metrics


replay_scope: Any = getattr(durable_exec, "replay_scope", lambda: _counting(_Tally()))
"""A context for one run of an agent."""

_record: Any = getattr(durable_exec, "record_durable_unit", _count)

if _record is _count:
    for _name in ("wrap_run", "wrap_model_request", "wrap_tool_execute", "wrap_output_process"):
        setattr(Instrumentation, _name, _leaving_out(getattr(Instrumentation, _name)))
    setattr(InstrumentationSettings, "record_metrics", _without_stored(InstrumentationSettings.record_metrics))  # noqa: B010
