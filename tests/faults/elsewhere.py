"""Consumers on another host: processes with UTS and pid namespaces of their own, which tests can stop and kill."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil

from tests.support.postgres import private_server, wait_until
from tests.support.rows import faults, query
from zrb_store import Store, open_store

COMMAND = ["unshare", "--uts", "--pid", "--mount-proc", "--fork", "--kill-child"]


@functools.cache
def why_impossible() -> str:
    """Return why there can be no such processes here; an empty text if there can."""
    try:
        done = subprocess.run([*COMMAND, "true"], capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        return str(error)
    return done.stderr if done.returncode else ""


class Elsewhere:
    """A consumer of the queue `inbox/files` on another host. It ends a delivery when it is told to `go_on`."""

    def __init__(self, location: str, session: str, lease: float = 60.0) -> None:
        words = [*COMMAND, sys.executable, "-m", "tests.faults.elsewhere", location, session, str(lease)]
        self._process = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1, cwd=Path(__file__).parents[2]
        )

    def says(self) -> str:
        """Return the next line that it prints."""
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def go_on(self) -> None:
        """Let it end its delivery."""
        assert self._process.stdin is not None
        self._process.stdin.write("go on\n")

    def stop(self) -> None:
        """Send SIGSTOP to it, and wait until it has stopped."""
        process = self._inner()
        process.suspend()
        wait_until(lambda: process.status() == psutil.STATUS_STOPPED, lambda: "it does not stop")

    def resume(self) -> None:
        """Send SIGCONT to it."""
        self._inner().resume()

    def kill(self) -> None:
        """Kill it as a power cut would."""
        with contextlib.suppress(psutil.NoSuchProcess, IndexError):
            self._inner().kill()
        self._process.kill()
        self._process.wait()

    def _inner(self) -> psutil.Process:
        return psutil.Process(self._process.pid).children()[0]

    def __enter__(self) -> Elsewhere:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()


def consume(location: str, session: str, lease: float) -> Iterator[str]:
    """Consume the inbox, and yield what happens. Each delivery ends when a line comes."""
    from zrb_store import LeaseLost, open_store
    from zrb_store.runtime import lease as leases

    socket.sethostname("elsewhere")
    leases.set_duration(lease)
    with open_store(location) as store:
        done = store.session("done").xcom["files"]
        try:
            with store.session(session).run(again=True) as run:
                for delivery in run.consume(store.session("inbox").xcom["files"]):
                    with delivery as value:
                        yield f"took {value}"
                        sys.stdin.readline()
                        done.push(value)
                    yield f"did {value}"
        except LeaseLost as error:
            yield str(error)


def main(*arguments: Any) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for pytest
    for line in consume(arguments[0], arguments[1], float(arguments[2])):
        print(line, flush=True)
    os._exit(0)


CONSUMERS = 2


def outlive(location: str, lease: float, suspicion: float, outage: Callable[[list[Elsewhere]], None]) -> str:
    """Let consumers on another host hold values during an outage, while a taker here looks for dead holders.

    Args:
        location: An empty store.
        lease: How long the leases of the consumers last.
        suspicion: How long a taker suspects a holder before it reclaims.
        outage: Makes the store, or the consumers, unavailable for longer than a lease.

    Returns:
        What happened, in words.
    """
    with ExitStack() as stack:
        with open_store(location) as store:
            store.session("inbox").xcom["files"].extend(range(CONSUMERS))
        consumers = [stack.enter_context(Elsewhere(location, f"worker-{n}", lease)) for n in range(CONSUMERS)]
        held = [consumer.says() for consumer in consumers]
        assert sorted(held) == [f"took {n}" for n in range(CONSUMERS)]
        began = time.monotonic()
        outage(consumers)
        away = time.monotonic() - began
        with open_store(location) as store:
            suspected = watch(store, lease / 4 + suspicion + 2)
            for consumer in consumers:
                consumer.go_on()
            assert [consumer.says() for consumer in consumers] == [line.replace("took", "did") for line in held]
            assert sorted(store.session("done").xcom["files"]) == list(range(CONSUMERS))
            assert query(store, "SELECT count(*) FROM zrb_return") == [(0,)]
            assert query(store, "SELECT count(*) FROM zrb_run WHERE origin = 'reclaim'") == [(0,)]
            assert faults(store) == []
    return f"{CONSUMERS} consumers outlived {away:.0f} s ({suspected} were suspected); no value changed hands"


def watch(store: Store, seconds: float) -> int:
    """Try to take the values that others hold, for some time. Return how many holders were suspected meanwhile."""
    end = time.monotonic() + seconds
    suspected: set[int] = set()
    with store.session("taker").run(again=True) as run:
        while time.monotonic() < end:
            assert run.consumer(store.session("inbox").xcom["files"]).take() is None, "a live consumer lost its value"
            suspected.update(row[0] for row in query(store, "SELECT id FROM zrb_run WHERE suspected_at IS NOT NULL"))
            time.sleep(0.1)
    return len(suspected)


def suspend(seconds: float) -> Callable[[list[Elsewhere]], None]:
    """Return an outage: the machine of the consumers stops, and goes on later."""

    def outage(consumers: list[Elsewhere]) -> None:
        for consumer in consumers:
            consumer.stop()
        time.sleep(seconds)
        for consumer in consumers:
            consumer.resume()

    return outage


def lose_the_server(seconds: float, suspicion: float, lease: float) -> str:
    """Stop a server for some time while consumers hold values."""
    with private_server() as server:

        def outage(consumers: list[Elsewhere]) -> None:
            server.stop()
            time.sleep(seconds)
            server.start()

        return outlive(server.url, lease, suspicion, outage)


if __name__ == "__main__":
    main(*sys.argv[1:])
