"""Commands that tests run as a consumer does: in this process, or in one of their own that they kill."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path

from zrb_store.process import process_started
from zrb_store.shell.child import Guard
from zrb_store.shell.command import CommandRunner, Outcome


def ignore(pid: int, started: str | None) -> None:
    """Store nothing about a command that starts."""


def is_gone(pid: int) -> bool:
    """Whether a process has ended; nobody may have reaped it."""
    return process_started(pid) is None


class Commands:
    """Runs commands whose output goes to files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @contextmanager
    def runner(self, *command: str, timeout: float | None = None) -> Iterator[CommandRunner]:
        """A runner of a command."""
        with (self.folder / "out").open("ab") as out, (self.folder / "err").open("ab") as err:
            files = out.fileno(), err.fileno()
            with CommandRunner(command, stdout=files[0], stderr=files[1], timeout=timeout) as runner:
                yield runner

    def __call__(self, *command: str, text: str = "value", timeout: float | None = None) -> Outcome:
        """Run a command for one value."""
        with self.runner(*command, timeout=timeout) as runner:
            return runner.run(text, None, ignore)

    def sh(self, script: str, *words: str, text: str = "value", timeout: float | None = None) -> Outcome:
        """Run a shell script for one value."""
        return self("sh", "-c", script, "script", *words, text=text, timeout=timeout)

    @property
    def out(self) -> bytes:
        """What was written to stdout."""
        return (self.folder / "out").read_bytes()

    @property
    def err(self) -> bytes:
        """What was written to stderr."""
        return (self.folder / "err").read_bytes()


def consume(pipe: Connection, *command: str, die: str = "", handle: int = 0) -> None:
    """Run a command for one value. Send its pid and its start time when it may start, and later how it ended.

    Args:
        pipe: To the test.
        command: The command.
        die: Where to die from SIGKILL: before the guard knows the command (register), or when it does (started).
        handle: A signal: when it comes, send its number, and go on.
    """
    os.setpgid(0, 0)
    null = os.open(os.devnull, os.O_WRONLY)
    signal.signal(handle or signal.SIGUSR1, lambda number, _: pipe.send(number))
    if die == "register":
        Guard.register = lambda self, group: report(group, process_started(group))  # type: ignore[method-assign]

    def report(pid: int, started: str | None) -> None:
        pipe.send((pid, started))
        if die:
            os.kill(os.getpid(), signal.SIGKILL)

    with CommandRunner(command, stdout=null, stderr=null) as runner:
        pipe.send(runner.run("value", None, report))
