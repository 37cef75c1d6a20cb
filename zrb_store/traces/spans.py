"""Spans of OpenTelemetry, of what the core tells (`observe.py`).

A name has few values, an attribute says which one: `run etl` and `zrb_store.session`. What was stored before is a
number on the span that has used it.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING

from opentelemetry import context, trace
from opentelemetry.trace import Link, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from zrb_store.masking import mask_printed, mask_text
from zrb_store.records import UNSUCCESSFUL

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.util.types import AttributeValue

    from zrb_store.masking import ErrorText
    from zrb_store.observe import Details, Observed

_PROPAGATOR = TraceContextTextMapPropagator()
_INSIDE = context.create_key("zrb_store")  # of a context: the innermost span of ours
_CONTENT = ("arguments", "data")  # the details that are values of the user
_LONGEST = 16 * 1024  # characters of a value
_MESSAGING = {
    "queue": "messaging.destination.name",
    "value": "messaging.message.id",
    "values": "messaging.batch.message_count",
}


def read(traceparent: str | None) -> Context:
    """Return a context in which code belongs to a span of another process; an empty one if that is not known."""
    return _PROPAGATOR.extract({"traceparent": traceparent or ""}, context=context.Context())


def _links(traceparents: Iterable[str | None]) -> Iterator[Link]:
    for each in traceparents:
        found = trace.get_current_span(read(each)).get_span_context()
        if found.is_valid:
            yield Link(found)


class Traces:
    """Makes spans of runs, and of what is in them."""

    def __init__(self, *, with_values: bool, provider: trace.TracerProvider | None = None) -> None:
        """Prepare to make spans by a provider, by default that of the process."""
        self._tracer = trace.get_tracer("zrb_store", version("zrb-store"), provider)
        self.with_values = with_values

    def begin(self, what: str, name: str, details: Details, links: Sequence[str | None] = ()) -> TracedSpan:
        """Return the span of a run, inside what this code belongs to or else of what the process was started in."""
        return self.make(_current() or self._environment(), None, what, name, details, links)

    def around(self) -> TracedSpan | None:
        """Return the span of another process that this one was started in."""
        found = trace.get_current_span(self._environment())
        return TracedSpan(self, found, None) if found.get_span_context().is_valid else None

    def traceparent(self, span: Observed | None) -> str | None:
        """Return what names the span that the code runs in, or else the given one, or that of the environment."""
        current = _current()
        if current is None and span is not None:
            return span.traceparent or None
        return _carrier(current or self._environment()).get("traceparent")

    def _environment(self) -> Context:
        carrier = {name: os.environ.get(name.upper(), "") for name in ("traceparent", "tracestate")}
        return _PROPAGATOR.extract(carrier, context=context.Context())

    def make(
        self,
        parent: Context,
        outer: TracedSpan | None,
        what: str,
        name: str,
        details: Details,
        links: Iterable[str | None],
    ) -> TracedSpan:
        """Return a span that begins now."""
        attributes = self.attributes(details)
        kind = SpanKind.INTERNAL
        if what == "delivery":
            kind, what = SpanKind.CONSUMER, "process"
            attributes |= {"messaging.system": "zrb_store", "messaging.operation.name": "process"}
            attributes |= {"messaging.operation.type": "process"}
        elif details.get("kind") == "wait":
            what = "wait"  # as most of their names begin
        shown = mask_text(name if name.startswith(what) else f"{what} {name}".rstrip())
        made = self._tracer.start_span(shown, context=parent, kind=kind, attributes=attributes, links=[*_links(links)])
        return TracedSpan(self, made, outer)

    def attributes(self, details: Details) -> dict[str, AttributeValue]:
        """Return details as attributes; those of the user's values only if that was asked for, and masked."""
        found: dict[str, AttributeValue] = {}
        for name, fact in details.items():
            if fact is None or (name in _CONTENT and not self.with_values) or (name == "values" and fact == 1):
                continue
            masked = mask_printed(fact)[:_LONGEST] if name in _CONTENT and isinstance(fact, str) else fact
            found[_MESSAGING.get(name, f"zrb_store.{name}")] = mask_text(masked) if isinstance(masked, str) else masked
        return found


class TracedSpan:
    """The span of a run, an attempt or a step."""

    def __init__(self, traces: Traces, span: trace.Span, outer: TracedSpan | None) -> None:
        self.span = span
        self.outer = outer  # the one around it
        self._traces = traces
        self._before: Context | None = None
        self._counts: Counter[str] = Counter()
        self._pid = os.getpid()
        self._has_ended = False

    @property
    def traceparent(self) -> str:
        return _carrier(trace.set_span_in_context(self.span)).get("traceparent", "")

    @property
    def environment(self) -> Mapping[str, str]:
        return {name.upper(): text for name, text in _carrier(trace.set_span_in_context(self.span)).items()}

    def begin(self, what: str, name: str, details: Details, links: Sequence[str | None] = ()) -> TracedSpan:
        if what == "delivery":  # a consumer may work for years: each delivery is a trace of its own
            return self._traces.make(context.Context(), None, what, name, details, [*links, self.traceparent])
        # Spans of others may lie between ours. A thread without a context has none.
        current = context.get_current()
        inner = context.get_value(_INSIDE, current)
        while isinstance(inner, TracedSpan) and inner is not self:
            inner = inner.outer
        parent = current if inner is self else trace.set_span_in_context(self.span, current)
        return self._traces.make(parent, self, what, name, details, links)

    def note(self, details: Details, links: Sequence[str | None] = ()) -> None:
        self.span.set_attributes(self._traces.attributes(details))
        for link in _links(links):
            self.span.add_link(link.context)

    def count(self, name: str, number: int = 1) -> None:
        self._counts[name] += number

    def enter(self) -> None:
        self._before = context.get_current()
        context.attach(context.set_value(_INSIDE, self, trace.set_span_in_context(self.span)))

    def leave(self) -> None:
        # Not by token: a generator that is closed elsewhere ends in another context, where there is nothing to leave.
        if self._before is not None and context.get_value(_INSIDE) is self:
            context.attach(self._before)

    def end(self, status: str, error: ErrorText | None = None, result: str | None = None) -> None:
        if self._has_ended or self._pid != os.getpid():
            return
        self._has_ended = True
        counted = {name: number for name, number in self._counts.items() if number}
        self.span.set_attributes(self._traces.attributes({"status": status, **counted}))
        if result is not None and self._traces.with_values:
            self.span.set_attribute("zrb_store.result", mask_printed(result)[:_LONGEST])
        if error is not None:  # masked, as it is stored
            self.span.set_attribute("error.type", error.type)
            about = {"type": error.type, "message": error.message, "stacktrace": error.traceback}
            self.span.add_event("exception", {f"exception.{name}": text for name, text in about.items() if text})
        if status in UNSUCCESSFUL and status != "interrupted":
            self.span.set_status(Status(StatusCode.ERROR, None if error is None else error.message))
        self.span.end()


def _current() -> Context | None:
    """Return the context of this code if it belongs to a span."""
    current = context.get_current()
    return current if trace.get_current_span(current).get_span_context().is_valid else None


def _carrier(of: Context) -> dict[str, str]:
    carrier: dict[str, str] = {}
    _PROPAGATOR.inject(carrier, context=of)
    return carrier
