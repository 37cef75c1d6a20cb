"""Child processes for tests: they run a function of an importable module and always end with the test.

They are forked from a server process that has already imported the package. This takes ten milliseconds instead of half
a second.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any, Concatenate, ParamSpec

import psutil

from tests.support.postgres import wait_until
from zrb_store import Store

DEADLINE = 1800.0  # some children work for minutes where the machine is loaded

P = ParamSpec("P")

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(
    [
        "tests.shell.commands",
        "tests.support.consumers",
        "tests.support.runners",
        "tests.shell.consumers",
        "tests.support.workers",
    ]
)


def start_server() -> None:
    """Start the server process, from which child processes get their environment, unless it runs."""
    forkserver.ensure_running()


class Child:
    """A running child process.

    Its function gets one end of a connection as its first argument; this object holds the other end.
    """

    def __init__(self, function: Callable[Concatenate[Connection, P], object], *args: P.args, **kwargs: P.kwargs):
        self._pipe, theirs = _context.Pipe()
        self._process = _context.Process(target=function, args=(theirs, *args), kwargs=kwargs, daemon=True)
        self._process.start()
        theirs.close()

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether the child has not ended."""
        return self._process.is_alive()

    def receive(self) -> Any:
        """Return the next object that the child sends."""
        assert self._pipe.poll(DEADLINE), "the child sends nothing"
        try:
            return self._pipe.recv()
        except EOFError:
            raise AssertionError(f"the child has ended, exit {self.join()}") from None

    def send(self, message: Any) -> None:
        """Send an object to the child."""
        self._pipe.send(message)

    def join(self) -> int:
        """Wait until the child ends and return its exit code, which is negative if a signal ended it."""
        self._process.join(DEADLINE)
        assert self._process.exitcode is not None, "the child does not end"
        return self._process.exitcode

    def kill(self) -> None:
        """Send SIGKILL, and wait until the child has ended."""
        self._process.kill()
        self.join()

    def stop(self) -> None:
        """Send SIGSTOP, and wait until the child has stopped."""
        os.kill(self.pid, signal.SIGSTOP)
        self.wait_until_stopped()

    def stop_between_writes(self, store: Store) -> None:
        """Send SIGSTOP while the child has no lock: it may just be renewing its lease."""
        self.stop()
        while store.database.dialect_name == "sqlite" and is_locked(store):
            self.resume()
            self.stop()

    def wait_until_stopped(self) -> None:
        """Wait until a SIGSTOP has taken effect."""
        process = psutil.Process(self.pid)
        wait_until(lambda: process.status() == psutil.STATUS_STOPPED, lambda: "the child does not stop", DEADLINE)

    def resume(self) -> None:
        """Send SIGCONT."""
        os.kill(self.pid, signal.SIGCONT)

    def __enter__(self) -> Child:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.is_alive():
            self.kill()
        self._pipe.close()
        self._process.close()


@contextmanager
def children(
    count: int, function: Callable[Concatenate[Connection, P], object], *args: P.args, **kwargs: P.kwargs
) -> Iterator[list[Child]]:
    """Start several children with the same function."""
    with ExitStack() as stack:
        yield [stack.enter_context(Child(function, *args, **kwargs)) for _ in range(count)]


def is_locked(store: Store) -> bool:
    """Whether another program holds the lock of a SQLite store."""
    with contextlib.closing(sqlite3.connect(store.database.url.database or "", timeout=0.1)) as other:
        try:
            other.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return True
        return False
