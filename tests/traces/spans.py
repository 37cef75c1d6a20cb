"""Exported spans, and what tests say of them: the tree of each trace as text."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span as OtlpSpan
from opentelemetry.proto.trace.v1.trace_pb2 import Status

COUNTS = {"steps_from_store": "step", "tasks_from_store": "task"}


@dataclass(frozen=True)
class Seen:
    """A span as a collector has got it."""

    name: str
    id: str
    trace: str
    parent: str
    links: tuple[str, ...]
    kind: str
    attributes: Mapping[str, Any]
    events: tuple[Mapping[str, Any], ...]
    is_error: bool
    message: str
    start: int
    service: str

    @property
    def line(self) -> str:
        """`task load #2: completed, 3 steps from the store`; without an end of ours, the name alone."""
        ours = {name.removeprefix("zrb_store."): value for name, value in self.attributes.items()}
        if "status" not in ours:
            return self.name
        number = f" #{ours['attempt']}" if "attempt" in ours else ""
        counts = [_counted(ours[name], what) for name, what in COUNTS.items() if name in ours]
        return ", ".join([f"{self.name}{number}: {ours['status']}", *counts])


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)} from the store"


def tree(spans: list[Seen]) -> str:
    """Return each trace as an indented tree, the oldest first; the links of a span follow an arrow.

    A span whose parent was never exported is under a line `(lost)`.
    """
    ordered = sorted(spans, key=lambda each: each.start)
    known = {each.id: each for each in ordered}
    lines: list[str] = []

    def add(span: Seen, depth: int) -> None:
        links = [known[each].name if each in known else "(lost)" for each in span.links]
        lines.append("  " * depth + span.line + (f" <- {', '.join(links)}" if links else ""))
        for each in ordered:
            if each.parent == span.id:
                add(each, depth + 1)

    told: set[str] = set()
    for span in ordered:
        if not span.parent:
            add(span, 0)
        elif span.parent not in known:
            if span.parent not in told:
                told.add(span.parent)
                lines.append("(lost)")
            add(span, 1)
    return "\n".join(lines) + "\n"


def _plain(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    return None if kind is None else getattr(value, kind)


def _attributes(found: Any) -> dict[str, Any]:
    pairs: list[KeyValue] = list(found)
    return {each.key: _plain(each.value) for each in pairs}


class Collector:
    """A server that gets what OTLP/HTTP exporters send."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._lock = threading.Lock()
        self._spans: list[Seen] = []

    @property
    def environment(self) -> dict[str, str]:
        """The variables by which programs export to it."""
        return {"OTEL_EXPORTER_OTLP_ENDPOINT": self.url}

    @property
    def spans(self) -> list[Seen]:
        """What it has got."""
        with self._lock:
            return list(self._spans)

    @property
    def tree(self) -> str:
        """The traces that it has got, as text."""
        return tree(self.spans)

    def named(self, name: str) -> Seen:
        """Return the only span of a name."""
        [found] = [each for each in self.spans if each.name == name]
        return found

    def add(self, body: bytes) -> None:
        """Add the spans of a request."""
        request = ExportTraceServiceRequest.FromString(body)
        for of_resource in request.resource_spans:
            service = _attributes(of_resource.resource.attributes).get("service.name", "")
            for scope in of_resource.scope_spans:
                for span in scope.spans:
                    with self._lock:
                        self._spans.append(_seen(span, service))


def _seen(span: OtlpSpan, service: str) -> Seen:
    return Seen(
        name=span.name,
        id=span.span_id.hex(),
        trace=span.trace_id.hex(),
        parent=span.parent_span_id.hex(),
        links=tuple(each.span_id.hex() for each in span.links),
        kind=OtlpSpan.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"),
        attributes=_attributes(span.attributes),
        events=tuple(_attributes(each.attributes) for each in span.events),
        is_error=span.status.code == Status.STATUS_CODE_ERROR,
        message=span.status.message,
        start=span.start_time_unix_nano,
        service=service,
    )


@contextmanager
def collecting() -> Iterator[Collector]:
    """Run a collector during a block."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            collector.add(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    collector = Collector(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield collector
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
