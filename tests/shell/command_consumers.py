"""Consumers in processes of their own, for tests that kill them."""

from __future__ import annotations

import os
import signal
from multiprocessing.connection import Connection

from zrb_store.process import process_started
from zrb_store.shell.child import Guard
from zrb_store.shell.command import CommandRunner


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
