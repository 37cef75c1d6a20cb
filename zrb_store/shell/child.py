"""The processes of whoever runs commands (a consumer, a run, a step): `Child` is a command with its process group.

`Guard` kills the running commands when their runner dies. `EndingSignals` are the signals that end the runner.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import select
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import FrameType
from typing import IO

from zrb_store import system
from zrb_store.errors import InvalidArgument

# The command starts only after a line has come. If the consumer dies before, there is an end of file instead.
_GATE = 'read -r _ && exec "$@"'
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SHELL = ("/bin/sh",)  # whichever that is: dash, bash, or what macOS has
_HIGHEST = 9  # every shell can name descriptors up to this one


def stdin_for_child(descriptor: int) -> int:
    """Return a duplicate of a descriptor that a `Child` can read from. Call this before others are opened."""
    copy = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 3)
    if copy > _HIGHEST:
        os.close(copy)
        raise InvalidArgument(f"the descriptors 3 to {_HIGHEST} are open: close one, as with `3<&-`")
    return copy


class Child:
    """A command in a process group of its own, behind a gate: it starts when its stdin has got an empty line.

    It also has a session of its own. In the consumer's session it would be in the background of the terminal, which
    stops a process that reads from it, for ever. Without a terminal, reading fails. In both cases Ctrl-C reaches only
    the consumer.

    With a `stdin`, the command reads from that descriptor itself, and what it leaves there others may read.
    """

    def __init__(
        self, arguments: Sequence[bytes], environment: Mapping[str, str] | None, stdin: int | None = None
    ) -> None:
        gate = _GATE if stdin is None else f"{_GATE} <&{stdin} {stdin}<&-"
        self._process = subprocess.Popen(
            [*_SHELL, "-c", gate, "zrb-store", *_dropped_by_shells(arguments, environment), *arguments],
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            pass_fds=() if stdin is None else (stdin,),
            start_new_session=True,
        )
        self.pid = self._process.pid
        self._handle = system.here().handle(self.pid)

    @property
    def pipes(self) -> list[IO[bytes]]:
        """The other ends of its stdin, stdout and stderr."""
        process = self._process
        return [pipe for pipe in (process.stdin, process.stdout, process.stderr) if pipe is not None]

    def awaited(self) -> Iterator[tuple[int, int]]:
        """Yield what to poll for until it ends; nothing if `exit_code` has to be asked again and again."""
        if self._handle is not None:
            yield self._handle, select.POLLIN

    def exit_code(self) -> int | None:
        """Return its exit code, negative for a signal, or None while it runs. The process number stays in use."""
        if not hasattr(os, "waitid"):  # on macOS before Python 3.13
            return self._process.poll()
        ended = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if ended is None:
            return None
        status: int = ended.si_status
        return status if ended.si_code == os.CLD_EXITED else -status

    def send(self, number: int) -> None:
        """Send a signal to all processes of the group."""
        with contextlib.suppress(ProcessLookupError, PermissionError):  # another user's have to end by themselves
            os.killpg(self.pid, number)

    def close(self) -> None:
        """Wait until the command itself ends, release its number, and close the pipes."""
        self._process.wait()
        for pipe in self.pipes:
            pipe.close()
        if self._handle is not None:
            os.close(self._handle)


def _dropped_by_shells(arguments: Sequence[bytes], environment: Mapping[str, str] | None) -> list[bytes]:
    """Return the beginning of a command line by which env(1) sets what a shell drops from the environment of commands.

    That is what has no identifier for a name, such as the functions that bash exports. dash drops it.
    """
    inherited = os.environ if environment is None else environment
    dropped = [os.fsencode(f"{name}={text}") for name, text in inherited.items() if not _IDENTIFIER.fullmatch(name)]
    return [b"/usr/bin/env", *dropped] if dropped and b"=" not in arguments[0] else []


# Each line has the numbers of all groups that run. An end of file means that the consumer is gone; then an unfinished
# line does not count, because the command that it was to announce has not passed its gate.
_SCRIPT = """
trap '' HUP INT QUIT TERM
groups=
while read -r line; do groups=$line; done
for group in $groups; do kill -s KILL -- "-$group"; done
"""


_PATIENCE = 5.0  # seconds


class Guard:
    """Kills the registered process groups when this process dies, in whatever way.

    It is a shell that reads the groups from a pipe whose other end only this process has. It lives in a session of its
    own, where no Ctrl-C reaches it, and holds nothing of this process open. If it was killed, another one takes over
    when the next command begins. Until then, a command that outlives this process keeps its value (`living_command`).
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._groups: set[int] = set()
        self._process, self._pipe = self._start()

    def register(self, group: int) -> None:
        """Let this process group die with this process. When this returns, nothing can prevent it any more."""
        with self._lock:
            self._groups.add(group)
            self._tell()

    def unregister(self, group: int) -> None:
        """Forget a process group. Its leader must not have been reaped, because then its number may be used again."""
        with self._lock:
            self._groups.discard(group)
            with contextlib.suppress(OSError):  # the group has ended
                self._tell()

    def close(self) -> None:
        """End the guard, and the groups that are still registered."""
        os.close(self._pipe)
        try:
            self._process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:  # it was stopped
            self._process.kill()
            self._process.wait()

    def _tell(self) -> None:
        line = self._line()
        try:
            if os.write(self._pipe, line) == len(line):
                return
        except (BrokenPipeError, BlockingIOError):
            pass
        self._replace()  # it has died, or it has been stopped for so long that its pipe is full

    def _replace(self) -> None:
        # Not by closing its pipe: it would kill the groups.
        self._process.kill()
        self._process.wait()
        self._process, pipe = self._start()
        os.dup2(pipe, self._pipe, inheritable=False)  # other threads use this descriptor
        os.close(pipe)

    def _start(self) -> tuple[subprocess.Popen[bytes], int]:
        reading, writing = os.pipe()
        try:
            os.set_blocking(writing, False)
            os.write(writing, self._line())
            process = subprocess.Popen(
                [*_SHELL, "-c", _SCRIPT, "zrb-store-guard"],
                stdin=reading,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd="/",
                env={},
                start_new_session=True,
            )
        except BaseException:
            os.close(writing)
            raise
        finally:
            os.close(reading)
        return process, writing

    def _line(self) -> bytes:
        return b"%s\n" % " ".join(map(str, sorted(self._groups))).encode()


_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class EndingSignals:
    """Lets the first signal finish what is in hand, and every further one end it at once, for as long as a block runs.

    Signals that this process was started to ignore, as by `nohup`, stay ignored. Outside the main thread nothing is
    handled.
    """

    def __init__(self, finish: Callable[[int], object], stop: Callable[[int], object]) -> None:
        """Prepare to call `finish` with the first signal, and `stop` with every further one."""
        self.first: int | None = None  # the first signal that came
        self.count = 0  # how many have come
        self._finish = finish
        self._stop = stop
        self._previous: dict[int, Callable[[int, FrameType | None], None] | int | None] = {}

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.count += 1
        if self.first is None:
            self.first = number
            self._finish(number)
        else:
            self._stop(number)

    def __enter__(self) -> EndingSignals:
        if threading.current_thread() is threading.main_thread():
            # If it were ignored, nobody would learn how a command ended.
            self._previous[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for number in _ENDING:
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._previous.items():
            # None: the handler was not set by Python, which then cannot set it again either.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
