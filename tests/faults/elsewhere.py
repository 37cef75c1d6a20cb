"""Consumers on another host: processes with UTS and pid namespaces of their own, which tests can stop and kill."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil

from tests.support.postgres import wait_until

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


if __name__ == "__main__":
    main(*sys.argv[1:])
