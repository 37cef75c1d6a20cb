"""A collector of spans, a store whose spans it gets, and programs that export to it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from tests.support.postgres import DEADLINE
from tests.traces.spans import Collector, Seen, collecting
from zrb_store import Store
from zrb_store.db.location import store_url
from zrb_store.traces.spans import Traces

SETUP = """
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter()))  # exports each span as it ends
trace.set_tracer_provider(provider)
"""
"""Python that lets a program export each span as it ends, and not when it exits."""


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as collector:
        yield collector


class InMemory(Collector):
    """A collector of what this process exports."""

    def __init__(self, exporter: InMemorySpanExporter) -> None:
        super().__init__("")
        self._exporter = exporter

    @property
    def spans(self) -> list[Seen]:
        self._spans.clear()
        if found := self._exporter.get_finished_spans():
            self.add(encode_spans(found).SerializeToString())
        return list(self._spans)


class Traced:
    """A store of which this process exports spans."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._exporter = InMemorySpanExporter()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.seen = InMemory(self._exporter)
        self.export()

    def export(self, *, with_values: bool = False) -> None:
        """Export from now on."""
        self.store.database.observer = Traces(with_values=with_values, provider=self.provider)


@pytest.fixture
def traced(store: Store) -> Traced:
    return Traced(store)


class Programs:
    """Programs in a folder of their own that use a store and export spans."""

    def __init__(self, folder: Path, location: str, collector: Collector) -> None:
        self.folder = folder / "programs"
        self.folder.mkdir()
        inherited = {name: text for name, text in os.environ.items() if not name.startswith(("ZRB_", "OTEL_"))}
        url = store_url(location).render_as_string(hide_password=False)
        self.environment = {**inherited, **collector.environment, "ZRB_STORE_URL": url, "HOME": str(folder)}
        self.environment["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"

    def write(self, name: str, text: str) -> None:
        """Write a file."""
        (self.folder / name).write_text(text)

    def run(self, *words: str, code: int = 0, more: Mapping[str, str] | None = None) -> str:
        """Run a program to its end, and return what it wrote to stderr."""
        done = subprocess.run(
            words,
            cwd=self.folder,
            env={**self.environment, **(more or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=DEADLINE,
        )
        assert done.returncode == code, f"{words} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
        return done.stderr


@pytest.fixture
def programs(tmp_path: Path, location: str, collector: Collector) -> Programs:
    return Programs(tmp_path, location, collector)
