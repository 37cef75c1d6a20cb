"""Configure OpenTelemetry's SDK by its variables, for traces alone, as `opentelemetry-instrument` does it."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from importlib.metadata import entry_points
from typing import Any

_GROUP = "opentelemetry_traces_exporter"
_PROTOCOLS = {"http/protobuf": "otlp_proto_http", "grpc": "otlp_proto_grpc"}
_NEEDED = "install opentelemetry-sdk and opentelemetry-exporter-otlp-proto-http, or set ZRB_STORE_TRACES=off"


def configure(names: Sequence[str]) -> None:
    """Let these exporters get the spans of this process. If the packages are missing, nothing is exported."""
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
    provider = TracerProvider(resource=resource)
    for make in exporters:
        provider.add_span_processor(BatchSpanProcessor(make()))
    trace.set_tracer_provider(provider)


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
        warnings.warn(line, RuntimeWarning, stacklevel=1)
