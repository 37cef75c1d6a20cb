"""Whether this process is traced: OpenTelemetry is imported only if it is.

A process without an SDK only passes on the span that it was started in (`PassedOn`).
"""

from __future__ import annotations

import os
import re
import sys
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from zrb_store import settings

if TYPE_CHECKING:
    from zrb_store.observe import Details, Observed, Observer

TRACEPARENT = "TRACEPARENT"
_VALID = r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_FLUSH = 3.0  # seconds at most


class PassedOn:
    """Nobody observes this process, but its pushes belong to the span that it was started in."""

    def __init__(self, traceparent: str) -> None:
        self._traceparent = traceparent

    def begin(self, what: str, name: str, details: Details, links: Sequence[str | None] = ()) -> None:
        return None

    def around(self) -> None:
        return None

    def traceparent(self, span: Observed | None) -> str:
        return self._traceparent


def observer() -> Observer | None:
    """Return what makes spans of what this process does; None if nobody wants any."""
    if _is_off():
        return None
    if _is_configured():
        from zrb_store.traces.spans import Traces

        return Traces(with_values=settings.choice("ZRB_STORE_TRACES") == "values")
    given = os.environ.get(TRACEPARENT, "")
    return PassedOn(given) if given and re.fullmatch(_VALID, given) else None


def configure() -> None:
    """Configure an SDK that is installed, if variables say where to export to and nobody has configured one."""
    exporters = os.environ.get("OTEL_TRACES_EXPORTER") or ("otlp" if any(map(os.environ.get, _ENDPOINTS)) else "none")
    if exporters != "none" and not _is_off() and not _is_configured():
        from zrb_store.traces.sdk import configure

        configure([name.strip() for name in exporters.split(",")], flush)


def flush() -> None:
    """Export the spans that have ended, in a few seconds or not at all."""
    export = getattr(_provider(), "force_flush", None)
    if export is not None:
        thread = threading.Thread(target=export, daemon=True)
        thread.start()
        thread.join(_FLUSH)


def _is_off() -> bool:
    # A replay happens in a copy of the store: its spans would be those of the record once more.
    is_off = settings.choice("ZRB_STORE_TRACES") == "off" or settings.REPLAYS in os.environ
    return is_off or os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true"


def _is_configured() -> bool:
    provider = _provider()
    return provider is not None and not isinstance(provider, _api().ProxyTracerProvider)


def _provider() -> Any:
    """Return what makes tracers; None if OpenTelemetry was not even imported, so that nobody has configured it."""
    return None if _api() is None else _api().get_tracer_provider()


def _api() -> Any:
    return sys.modules.get("opentelemetry.trace")
