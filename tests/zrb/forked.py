"""Processes of zrb that are forks of one that has loaded it (see fork_server.py)."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.support.postgres import DEADLINE

_SERVER = Path(__file__).with_name("fork_server.py")
DESCRIPTOR = "TEST_FORK_SERVER"
# Where the descriptor does not lead, as in a command of a task, the program itself is started.
_PROGRAM = """
import json, os, socket, sys
program = {program!r}
try:
    control = socket.socket(fileno=int(os.environ[{DESCRIPTOR!r}]))
except OSError:
    os.execv(program, [program, *sys.argv[1:]])
order = {{"program": program, "args": sys.argv[1:], "cwd": os.getcwd(), "env": dict(os.environ)}}
answers, theirs = socket.socketpair()
socket.send_fds(control, [json.dumps(order).encode()], [theirs.fileno(), 1, 2, 0])
theirs.close()
code = int(answers.makefile().read().split()[1])
if code < 0:
    os.kill(os.getpid(), -code)
os._exit(code)
"""


class Forked:
    """A running fork, with the methods of `subprocess.Popen` that the tests use.

    Attributes:
        pid: The id of the process.
        returncode: Its exit code, as of `subprocess.Popen`; None while it is not known.
    """

    def __init__(self, answers: socket.socket, stdout: int, stderr: int) -> None:
        self._answers = answers
        self._output = {stdout: b"", stderr: b""}
        self._open = {stdout, stderr}
        self.returncode: int | None = None
        self.pid = int(self._line())

    def _line(self) -> str:
        """Read what the server says next: the pid, or at the end the exit code."""
        line = b""
        while not line.endswith(b"\n"):
            part = self._answers.recv(1)
            assert part, "the server that forks has died"
            line += part
        return line.decode()

    def poll(self) -> int | None:
        """Return the exit code if the process has ended."""
        if self.returncode is None and _is_readable(self._answers.fileno(), 0):
            self.returncode = int(self._line())
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal, unless the process is known to have ended."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Read stdout and stderr to their ends, and wait until the process has ended.

        Raises:
            subprocess.TimeoutExpired: It does not in time. It may be called again.
        """
        ends = time.monotonic() + (DEADLINE if timeout is None else timeout)
        with selectors.DefaultSelector() as selector:
            for descriptor in self._open:
                selector.register(descriptor, selectors.EVENT_READ)
            while self._open:
                ready = selector.select(max(0.0, ends - time.monotonic()))
                if not ready:
                    raise subprocess.TimeoutExpired("zrb", timeout or DEADLINE)
                for key, _ in ready:
                    part = os.read(key.fd, 1 << 16)
                    self._output[key.fd] += part
                    if not part:
                        selector.unregister(key.fd)
                        self._open.remove(key.fd)
                        os.close(key.fd)
        if self.returncode is None and not _is_readable(self._answers.fileno(), max(0.0, ends - time.monotonic())):
            raise subprocess.TimeoutExpired("zrb", timeout or DEADLINE)
        self.poll()
        out, err = (content.decode().replace("\r\n", "\n") for content in self._output.values())
        return out, err

    def close(self) -> None:
        """Close what is still open of it. Call this at last."""
        for descriptor in self._open:
            os.close(descriptor)
        self._open.clear()
        self._answers.close()


def _is_readable(descriptor: int, seconds: float) -> bool:
    with selectors.DefaultSelector() as selector:
        selector.register(descriptor, selectors.EVENT_READ)
        return bool(selector.select(seconds))


class ForkServer:
    """Forks a Python program again and again."""

    def __init__(self, program: Path, environ: Mapping[str, str], *modules: str) -> None:
        """Start the server.

        Args:
            program: The script of zrb in the environment of a release.
            environ: What is set while the modules are imported.
            modules: What is imported beside what zrb needs.
        """
        self._folder = program.parent
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [program.with_name("python"), _SERVER, str(theirs.fileno()), program, *modules],
                env=environ,
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                start_new_session=True,
            )
        assert self._control.recv(100) == b"ready", "the server does not start"

    def start(self, program: str, args: Sequence[str], cwd: Path, environ: Mapping[str, str]) -> Forked:
        """Start a program in a session of its own, as `subprocess.Popen` would."""
        answers, theirs = socket.socketpair()
        read_out, write_out = os.pipe()
        read_err, write_err = os.pipe()
        order = json.dumps({"program": str(self._folder / program), "args": args, "cwd": str(cwd), "env": environ})
        socket.send_fds(self._control, [order.encode()], [theirs.fileno(), write_out, write_err])
        theirs.close()
        os.close(write_out)
        os.close(write_err)
        return Forked(answers, read_out, read_err)

    def descriptor(self) -> int:
        """Return the descriptor to which programs that `install` has written send their orders."""
        return self._control.fileno()

    def install(self, folder: Path) -> None:
        """Write programs that let the server become zrb and zrb-store, for shells that get the descriptor."""
        for name in ("zrb", "zrb-store"):
            (folder / name).write_text(
                f"#!{sys.executable} -IS\n{_PROGRAM.format(program=str(self._folder / name), DESCRIPTOR=DESCRIPTOR)}"
            )
            (folder / name).chmod(0o755)

    def close(self) -> None:
        """End the server. It leaves alone what it has forked."""
        self._control.close()
        self._process.wait(DEADLINE)
