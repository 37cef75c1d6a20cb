"""The process group of one command."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import IO

from zrb_store.process import has_living_member

# The command starts only after a line has come. If the consumer dies before, there is an end of file instead.
_GATE = 'read -r _ && exec "$@"'


class Child:
    """A command in a process group of its own, behind a gate: it starts when its stdin has got an empty line.

    It also has a session of its own. In the consumer's session it would be in the background of the terminal, which
    stops a process that reads from it, for ever. Without a terminal, reading fails. In both cases Ctrl-C reaches only
    the consumer.

    As in any command that a shell starts, variables of the environment whose names are no identifiers may be missing.

    Raises:
        OSError: The process cannot be started.
    """

    def __init__(self, arguments: Sequence[bytes], environment: Mapping[str, str] | None) -> None:
        self._process = subprocess.Popen(
            ["/bin/sh", "-c", _GATE, "zrb-store", *arguments],
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            start_new_session=True,
        )
        self.pid = self._process.pid
        self._pidfd: int | None = None
        with contextlib.suppress(AttributeError, OSError):  # not everywhere, and not on every Linux
            self._pidfd = os.pidfd_open(self.pid)

    @property
    def pipes(self) -> tuple[IO[bytes], IO[bytes], IO[bytes]]:
        """The other ends of its stdin, stdout and stderr."""
        process = self._process
        assert process.stdin
        assert process.stdout
        assert process.stderr
        return process.stdin, process.stdout, process.stderr

    def awaited(self) -> Iterator[tuple[int, int]]:
        """Yield what to poll for until it ends; nothing if `exit_code` has to be asked again and again."""
        if self._pidfd is not None:
            yield self._pidfd, select.POLLIN

    def exit_code(self) -> int | None:
        """Return its exit code, negative for a signal, or None while it runs. The process number stays in use."""
        if not hasattr(os, "waitid"):  # on macOS before Python 3.13
            return self._process.poll()
        ended = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if ended is None:
            return None
        return ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status

    def send(self, number: signal.Signals) -> None:
        """Send a signal to all processes of the group."""
        with contextlib.suppress(
            ProcessLookupError, PermissionError
        ):  # those of another user have to end by themselves
            os.killpg(self.pid, number)

    def group_is_alive(self) -> bool:
        """Whether any process of the group still runs."""
        return has_living_member(self.pid)

    def reap(self) -> None:
        """Wait until the command itself ends, and release its number."""
        self._process.wait()

    def wait_for_group(self, seconds: float) -> None:
        """Wait until nothing of the group runs any more, but no longer than this."""
        deadline = time.monotonic() + seconds
        while self.group_is_alive() and time.monotonic() < deadline:
            time.sleep(0.005)

    def close(self) -> None:
        """Close the pipes."""
        for pipe in self.pipes:
            pipe.close()
        if self._pidfd is not None:
            os.close(self._pidfd)
