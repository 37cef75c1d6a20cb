"""`CommandRunner` runs a command for one value after the other, or for several at a time; none outlives this process.

Before it is the command line: a check of it, and its arguments for one value.
"""

from __future__ import annotations

import errno
import math
import os
import select
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import PurePath
from types import TracebackType

from zrb_store.consume.child import Child, Guard
from zrb_store.consume.outcome import Feed, Outcome, Relay, make_outcome
from zrb_store.errors import InvalidArgument
from zrb_store.process import process_started

PLACE = "{}"
"""What stands for the value."""


def check_command(command: Sequence[str]) -> None:
    """Raise an error if a command cannot run, whatever the value is.

    Raises:
        InvalidArgument: It does not exist, may not be executed, or would be a value itself.
    """
    if not command or not command[0]:
        raise InvalidArgument("there is no command: write it after --")
    if PLACE in command[0]:
        raise InvalidArgument(f"a value cannot be the command itself, or a part of it: {command[0]!r}")
    if shutil.which(command[0]) is None:
        raise InvalidArgument(f"{command[0]!r} does not exist or may not be executed")


def arguments(command: Sequence[str], text: str) -> list[bytes]:
    """Return a command line with a value in place of each `{}`, whether that is an argument or a part of one.

    Raises:
        InvalidArgument: The value contains NUL, which no argument can.
    """
    takes_value = any(PLACE in word for word in command)
    if takes_value and "\0" in text:
        raise InvalidArgument(f"the value contains NUL, and no argument can: read it from stdin instead of {PLACE}")
    return [os.fsencode(word).replace(PLACE.encode(), as_bytes(text)) for word in command]


def as_bytes(text: str) -> bytes:
    """Encode the text of a value. What came from undecodable bytes, as in a file's name, becomes these bytes again."""
    try:
        return os.fsencode(text)
    except UnicodeEncodeError:  # it contains other lone surrogates
        return text.encode(sys.getfilesystemencoding(), "backslashreplace")


GRACE = 5.0
"""Seconds between SIGTERM and SIGKILL."""
_LOOK = 0.05  # seconds between two looks at what cannot be polled
_LONGEST_WAIT = 3600.0  # poll() takes no more than 24 days

Started = Callable[[int, str | None], object]
"""A function that gets the pid of a command and the kernel's count of when it started."""


class CommandRunner:
    """Runs one command for many values; several threads may do so at once.

    All commands that run die with this process, even if it is killed. No signal handler is installed: a handler may
    call `stop`.

    Args:
        command: The command and its arguments. A value's text replaces `{}` in the arguments.
        timeout: Seconds after which a command is ended.
        stdout: The descriptor that gets what commands write to stdout, as they write it.
        stderr: Likewise for stderr.

    Raises:
        InvalidArgument: The command does not exist or may not be executed.
        OSError: No process can be started.
    """

    def __init__(self, command: Sequence[str], *, stdout: int, stderr: int, timeout: float | None = None) -> None:
        check_command(command)
        self._command = list(command)
        self._timeout = timeout
        self._outputs = stdout, stderr
        self._stopped = False
        self._guard = Guard()
        self._stop_read, self._stop_write = os.pipe()
        os.set_blocking(self._stop_write, False)

    def can_run(self) -> bool:
        """Whether the command still exists and may be executed."""
        try:
            check_command(self._command)
        except InvalidArgument:
            return False
        return True

    def stop(self) -> None:
        """End all commands: with SIGTERM, and with SIGKILL five seconds later. A signal handler may call this."""
        self._stopped = True
        with suppress(BlockingIOError):
            os.write(self._stop_write, b"x")  # never read, so that it wakes every thread

    def run(self, text: str, environment: Mapping[str, str] | None, on_started: Started) -> Outcome:
        """Run the command for one value.

        When this returns, nothing of the command's process group is left, unless the command succeeded: then processes
        that it left in the background stay.

        Args:
            text: The value's text: the command's stdin, and what replaces `{}`.
            environment: The command's environment; None for that of this process.
            on_started: Called when the command has a process, which waits for this to return. An error ends it.

        Raises:
            InvalidArgument: The value cannot be an argument.
        """
        with ExitStack() as stack:
            child = self._start(text, environment)
            stack.callback(child.close)
            stack.callback(child.reap)
            stack.callback(self._guard.unregister, child.pid)
            stack.push(lambda kind, *_: child.send(signal.SIGKILL) if kind else None)
            self._guard.register(child.pid)
            on_started(child.pid, process_started(child.pid))
            outcome = self._attend(child, text)
        if outcome.error is not None:
            child.wait_for_group(GRACE)
        return outcome

    def _start(self, text: str, environment: Mapping[str, str] | None) -> Child:
        try:
            return Child(arguments(self._command, text), environment)
        except OSError as error:
            if error.errno != errno.E2BIG:
                raise
            if any(PLACE in word for word in self._command):
                raise InvalidArgument(
                    f"the value is too long for an argument: read it from stdin, not {PLACE}"
                ) from None
            raise InvalidArgument("the command line and the environment are too long") from None

    def _attend(self, child: Child, text: str) -> Outcome:
        """Open the gate, and return when the command has ended and all that it wrote was passed on."""
        stdin, *pipes = child.pipes
        tail = bytearray()
        relays = [Relay(pipe, target, tail) for pipe, target in zip(pipes, self._outputs, strict=True)]
        feed = Feed(stdin, b"\n" + as_bytes(text))
        exit_code, why = self._wait(child, feed, relays)
        if exit_code or why:
            child.send(signal.SIGKILL)
        self._drain(relays)
        return make_outcome(
            PurePath(self._command[0]).name,
            exit_code,
            bytes(tail),
            stopped=why == "stop",
            timed_out=self._timeout if why == "timeout" else None,
        )

    def _wait(self, child: Child, feed: Feed, relays: list[Relay]) -> tuple[int, str | None]:
        """Wait until the command ends, or end it. Return its exit code, and why it had to be ended: stop or timeout."""
        why = None
        deadline = math.inf if self._timeout is None else time.monotonic() + self._timeout
        # When it is being ended, the others of its group have the same time as the command itself.
        while (exit_code := child.exit_code()) is None or (why and deadline < math.inf and child.group_is_alive()):
            now = time.monotonic()
            if why is None and (self._stopped or now >= deadline):
                why = "stop" if self._stopped else "timeout"
                child.send(signal.SIGTERM)
                deadline = now + GRACE
            elif now >= deadline:
                child.send(signal.SIGKILL)
                deadline = math.inf
            streams: list[Feed | Relay] = [*relays]
            if why is None:  # else it might take a part of the value for all of it
                streams.append(feed)
            for stream in streams:
                stream.proceed()
            watch = [] if exit_code is not None else list(child.awaited())
            seconds = deadline - now if watch else min(deadline - now, _LOOK)
            self._poll([*watch, *_awaited(streams)], seconds, stoppable=why is None)
        return exit_code, why

    def _drain(self, relays: list[Relay]) -> None:
        """Pass on what the command has written, even if that takes long; but do not wait when the consumer stops."""
        for relay in relays:
            relay.finish()
        while True:
            for relay in relays:
                relay.proceed()
            stopped = self._stopped
            if all(relay.done for relay in relays):
                return
            if not self._poll(_awaited(relays), 0 if stopped else math.inf, stoppable=not stopped):
                return

    def _poll(self, awaited: Iterable[tuple[int, int]], seconds: float, *, stoppable: bool) -> bool:
        """Wait until something can be done, and return whether there is; replace a guard that has died."""
        poll = select.poll()
        poll.register(self._guard, 0)
        if stoppable:
            poll.register(self._stop_read, select.POLLIN)
        for descriptor, events in awaited:
            poll.register(descriptor, events)
        found = [descriptor for descriptor, _ in poll.poll(min(max(seconds, 0), _LONGEST_WAIT) * 1000)]
        if self._guard.fileno() in found:
            self._guard.replace()
        return bool(found)

    def close(self) -> None:
        """End the guard. No command may be running."""
        self._guard.close()
        os.close(self._stop_read)
        os.close(self._stop_write)

    def __enter__(self) -> CommandRunner:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _awaited(streams: Iterable[Feed | Relay]) -> list[tuple[int, int]]:
    return [pair for stream in streams for pair in stream.awaited()]
