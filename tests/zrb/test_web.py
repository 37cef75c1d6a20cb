"""Sessions of zrb's web server are stored, ignore ZRB_STORE_SESSION, and resume on the command line."""

from __future__ import annotations

import json
import signal
import socket
import urllib.request
from typing import Any

import pytest

from tests.zrb.conftest import DEADLINE, Zrb, is_up, until
from zrb_store.queries import runs

pytestmark = pytest.mark.slow

TASKS = """
from zrb import PasswordInput, StrInput

@make_task(name="count", retries=0)
def count(ctx):
    ran("count")
    return 2

@make_task(
    name="load", upstream=count, retries=0,
    input=[StrInput("day-of", default="mon"), PasswordInput("key", default="k")],
    group=cli.add_group(Group(name="etl")),
)
def load(ctx):
    ran("load")
    value = ctx.xcom["count"].pop()
    if not exists("mended"):
        raise ValueError("not yet")
    return f"{ctx.input.day_of} {value}"
"""


def call(port: int, path: str, body: dict[str, Any] | None = None) -> Any:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/api/v1/task-sessions/{path}",
        data=None if body is None else json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=DEADLINE) as answer:
        return json.load(answer)


def status(zrb: Zrb, name: str) -> str:
    """Return the status of a session, which is stored a moment after the server answers with its name."""
    return next((one.status for one in zrb.sessions() if one.name == name), "unknown")


@pytest.mark.oldest
def test_a_task_run_by_the_web_server(zrb: Zrb) -> None:
    zrb.tasks(TASKS)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = zrb.start("server", "start", ZRB_WEB_HTTP_PORT=str(port), ZRB_STORE_SESSION="not-for-the-web")
    until(lambda: is_up(port) or server.ended())
    first = call(port, "etl/load", {"day-of": "tue", "key": "web-secret"})["session_name"]
    until(lambda: status(zrb, first) == "failed")
    zrb.mark("mended")
    second = call(port, "etl/load", {"day-of": "wed", "key": "web-secret"})["session_name"]
    until(lambda: status(zrb, second) == "completed")
    assert call(port, f"etl/load/{second}")["final_result"] == "wed 2"
    server.signal(signal.SIGINT).done()

    assert {one.name for one in zrb.sessions()} == {first, second}
    assert {one.parent for one in zrb.sessions()} == {None}
    assert b"web-secret" not in zrb.db.read_bytes()
    assert zrb.resume(first, "--key", "k").out.strip() == "tue 2"
    assert zrb.ran == ["count", "load", "count", "load", "load"]
    with zrb.store() as store:
        origins = [run.origin for run in runs.of_session(store.database, zrb.stored(first).record.id)]
    assert origins == ["web", "cli"]
