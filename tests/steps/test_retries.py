"""Options of steps and tasks: retries, their pauses, and timeouts of coroutine functions."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from zrb_store import AttemptClosed, InvalidArgument, Store, step
from zrb_store.db.clock import Clock
from zrb_store.queries import attempts
from zrb_store.queries.steps import of_attempt
from zrb_store.run import Run


class Server:
    """It fails a number of times before it answers."""

    def __init__(self, failures: int, error: BaseException | None = None) -> None:
        self.failures = failures
        self.error = error or ConnectionError("no route")
        self.calls = 0

    def get(self, what: str) -> str:
        self.calls += 1
        if self.calls <= self.failures:
            raise self.error
        return what

    async def get_async(self, what: str) -> str:
        await asyncio.sleep(0)
        return self.get(what)

    async def hang(self, what: str) -> str:
        self.calls += 1
        if self.calls <= self.failures:
            await asyncio.Event().wait()
        return what


def as_step(run: Run, options: dict[str, Any], function: Callable[..., Any], what: str) -> Any:
    with run.attempt("fetch"):
        return step.options(**options)("get", function, what)


def as_task(run: Run, options: dict[str, Any], function: Callable[..., Any], what: str) -> Any:
    return run.task.options(**options)("get", function, what)


def statuses(store: Store, kind: str) -> list[str]:
    """Return how the tries ended, in order."""
    record = store.session("night").record()
    every = attempts.of_session(store.database, record.id)
    if kind == "task":
        return [each.status for each in every]
    rows = [row for one in every for row in of_attempt(store.database, one.id).values()]
    newest = max(row.number for row in rows)
    found = [attempts.by_name(store.database, "night", rows[0].task, number) for number in range(1, newest + 1)]
    return [each.status for each in found if each is not None]


@pytest.fixture(params=["step", "task"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def call(kind: str) -> Any:
    return {"step": as_step, "task": as_task}[kind]


@pytest.mark.promise(number=11)
def test_each_try_is_an_attempt_and_the_last_error_propagates(store: Store, kind: str, call: Any) -> None:
    server = Server(2)
    with store.session("night").run() as run:
        assert call(run, {"retries": 2, "retry_after": 0}, server.get, "a") == "a"
    assert statuses(store, kind) == ["failed", "failed", "completed"]
    with pytest.raises(ConnectionError, match="no route"), store.session("day").run() as run:
        call(run, {"retries": 2, "retry_after": 0}, Server(3).get, "a")


def test_no_retries_are_made_of_refusals_and_of_interrupts(store: Store, call: Any) -> None:
    for number, error in enumerate((AttemptClosed("it is over"), KeyboardInterrupt())):
        server = Server(9, error)
        with pytest.raises(type(error)), store.session(f"night-{number}").run() as run:
            call(run, {"retries": 5, "retry_after": 0}, server.get, "a")
        assert server.calls == 1


@pytest.mark.on_sqlite
def test_pauses_go_by_the_clock(
    store: Store, call: Any, clock: Clock, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        clock.turn(seconds)

    monkeypatch.setattr(clock, "sleep", sleep)
    with store.session("night").run() as run:
        call(run, {"retries": 4, "retry_after": [1, timedelta(seconds=10)]}, Server(3).get, "a")
    assert sum(slept) == pytest.approx(21, abs=0.5)
    assert [text.rpartition(" in ")[2] for text in caplog.messages] == ["1 s", "10 s", "10 s"]


@pytest.mark.on_sqlite
def test_a_process_that_has_to_end_does_not_try_again(store: Store, call: Any, clock: Clock) -> None:
    class Stopping(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            store.database.stop_waiting(60)

    handler, log, server = Stopping(), logging.getLogger("zrb_store"), Server(9)
    log.addHandler(handler)
    try:
        with pytest.raises(ConnectionError), store.session("night").run() as run:
            call(run, {"retries": 5, "retry_after": 3600}, server.get, "a")
    finally:
        log.removeHandler(handler)
    assert server.calls == 1


@pytest.mark.on_sqlite
def test_coroutine_functions_have_timeouts(store: Store, kind: str, call: Any) -> None:
    async def work() -> list[str]:
        async with store.session("night").run() as run:
            first = await call(run, {"retries": 1, "retry_after": 0, "timeout": 0.01}, Server(1).hang, "a")
        async with store.session("other").run() as run:
            second = await call(run, {"retries": 2, "retry_after": 0}, Server(2).get_async, "b")
        return [first, second]

    if kind == "step":

        async def call(run: Run, options: dict[str, Any], function: Callable[..., Any], what: str) -> Any:
            with run.attempt("fetch"):
                return await step.options(**options)("get", function, what)

    assert asyncio.run(work()) == ["a", "b"]
    assert statuses(store, kind) == ["failed", "completed"]
    record = store.session("night").record()
    name = "get" if kind == "task" else "fetch/1"
    failed = attempts.by_name(store.database, record.name, name, 1)
    assert failed is not None
    assert failed.error is not None
    assert str(failed.error.message).endswith("get took longer than 0.01 s")


@pytest.mark.on_sqlite
def test_options_out_of_range_are_refused(store: Store, call: Any) -> None:
    with store.session("night").run() as run:
        with pytest.raises(InvalidArgument, match="for coroutine functions"):
            call(run, {"timeout": 5}, Server(0).get, "a")
        for options in ({"retries": -1}, {"retry_after": "10s"}, {"timeout": 0}, {"timeout": -1}):
            with pytest.raises(InvalidArgument):
                call(run, options, Server(0).get, "a")


@pytest.mark.on_sqlite
def test_coroutines_of_tasks_run_side_by_side_and_once(store: Store) -> None:
    server = Server(0)

    async def work() -> list[str]:
        async with store.session("night").run(again=True) as run:
            return await asyncio.gather(*(run.task(name, server.get_async, name) for name in "abc"))

    assert asyncio.run(work()) == asyncio.run(work()) == ["a", "b", "c"]
    assert server.calls == 3


@pytest.mark.on_sqlite
def test_an_asynchronous_block_ends_the_run_as_another_does(store: Store) -> None:
    async def work() -> None:
        async with store.session("night").run():
            raise ConnectionError("no route")

    with pytest.raises(ConnectionError):
        asyncio.run(work())
    assert store.session("night").status == "failed"


SCRIPT = """
import logging, os, signal, sys
from zrb_store import open_store, step

calls = 0

def get(what):
    global calls
    calls += 1
    print("call", flush=True)
    if "kill-in-try" in sys.argv and calls == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    raise ConnectionError("no route")

class Kill(logging.Handler):
    def emit(self, record):
        if "kill-in-pause" in sys.argv and calls:  # before, only a slow server is told
            os.kill(os.getpid(), signal.SIGKILL)

logging.getLogger("zrb_store").addHandler(Kill())
with open_store(sys.argv[1]) as store, store.session("night").run() as run:
    if sys.argv[2] == "task":
        run.task.options(retries=3, retry_after=0)("get", get, "a")
    else:
        with run.attempt("fetch"):
            step.options(retries=3, retry_after=0)("get", get, "a")
"""


@pytest.mark.slow
@pytest.mark.promise(number=20)
@pytest.mark.parametrize(
    ("where", "kind", "before", "after"),
    [
        ("kill-in-try", "step", 2, 3),  # one has failed, and one was cut off
        ("kill-in-try", "task", 2, 3),
        ("kill-in-pause", "step", 1, 4),  # after the last failure nothing began, so that the step was not survived
        ("kill-in-pause", "task", 1, 3),
    ],
)
def test_the_count_goes_on_where_a_process_was_killed(
    location: str, tmp_path: Path, where: str, kind: str, before: int, after: int
) -> None:
    script = tmp_path / "job.py"
    script.write_text(SCRIPT, encoding="utf-8")
    environ = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}

    def run(*how: str) -> tuple[int, int]:
        command = [sys.executable, str(script), location, kind, *how]
        done = subprocess.run(command, capture_output=True, text=True, env=environ, check=False)
        return done.returncode, done.stdout.count("call")

    assert run(where) == (-signal.SIGKILL, before)
    assert run() == (1, after)
    assert run() == (1, 4)  # what failed by itself is tried anew
