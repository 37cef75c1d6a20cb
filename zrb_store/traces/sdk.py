"""Configure OpenTelemetry's SDK by its variables, for traces alone, as `opentelemetry-instrument` does it."""

from __future__ import annotations

import atexit
import logging
import os
from collections.abc import Callable, Sequence
from importlib.metadata import entry_points
from typing import Any

from zrb_store.render.stderr import PROGRAM, print_line

_GROUP = "opentelemetry_traces_exporter"
_PROTOCOLS = {"http/protobuf": "otlp_proto_http", "grpc": "otlp_proto_grpc"}
_LONGEST = 300  # characters of the reason why spans are not exported
_NEEDED = "install opentelemetry-sdk and opentelemetry-exporter-otlp-proto-http, or set ZRB_STORE_TRACES=off"


def configure(names: Sequence[str], flush: Callable[[], None]) -> None:
    """Let these exporters get the spans of this process, the last ones by `flush` when it exits.

    If the packages are missing, nothing is exported.
    """
    try:
        from opentelemetry import trace
        from opentelemetry.sdk.resources import SERVICE_NAME, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        _warn(f"traces are asked for, but OpenTelemetry has no SDK here: {_NEEDED}")
        return
    exporters = list(filter(None, map(_exporter, names)))
    if not exporters:
        _warn(f"there is no exporter of traces {', '.join(names)}: {_NEEDED}")
        return
    resource = Resource.create()
    if str(resource.attributes.get(SERVICE_NAME, "")).startswith("unknown_service"):
        resource = resource.merge(Resource({SERVICE_NAME: "zrb-store"}))
    if not logging.getLogger().handlers:  # else the program's own logging reports it
        logging.getLogger("opentelemetry").addHandler(_FirstFailure(logging.WARNING))
    # The SDK's own end may take half a minute if nobody answers.
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    atexit.register(flush)
    for make in exporters:
        provider.add_span_processor(BatchSpanProcessor(make()))
    trace.set_tracer_provider(provider)


class _FirstFailure(logging.Handler):
    """Reports in one line that spans cannot be exported."""

    def emit(self, record: logging.LogRecord) -> None:
        self.setLevel(logging.CRITICAL + 1)
        print_line(f"traces are not exported: {record.getMessage()[:_LONGEST]}", PROGRAM)


def _exporter(name: str) -> Callable[[], Any] | None:
    """Return what makes an exporter of this name; None if it is not installed."""
    names = [name]
    if name == "otlp":
        chosen = os.environ.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or os.environ.get("OTEL_EXPORTER_OTLP_PROTOCOL")
        names = [_PROTOCOLS.get(chosen, chosen)] if chosen else [*_PROTOCOLS.values()]
    found = {entry.name: entry for entry in entry_points(group=_GROUP)}
    entry = next((found[each] for each in names if each in found), None)
    return None if entry is None else entry.load()


def _warn(line: str) -> None:
    # Such variables may be set for other programs on the machine.
    if os.environ.get("ZRB_STORE_TRACES"):
        logging.getLogger("zrb_store").warning(line)
