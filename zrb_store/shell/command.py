"""`CommandRunner` runs a command for one value after the other, or for several at a time; none outlives this process.

`consume` gives it values; `run` and `step` run one command without any. Before it are how a command ended (`Outcome`),
what goes into it (`Feed`) and comes out (`Relay`), where nothing ever waits, and the command line.
"""

from __future__ import annotations

import errno
import fcntl
import functools
import math
import os
import select
import shutil
import signal
import struct
import sys
import termios
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import PurePath
from typing import IO

from zrb_store.attempt import OpenAttempt
from zrb_store.db.clock import clock
from zrb_store.errors import InvalidArgument
from zrb_store.masking import ErrorText, mask_printed, one_line, storable
from zrb_store.process import has_living_member, start_if_seen, wait_for_group
from zrb_store.records import COMMAND_FAILED
from zrb_store.shell.child import Child, Guard

KEPT = 4096
"""Bytes that are kept of what a command wrote."""
_LONGEST_LINE = 200  # characters of the last line


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a command ended. Secrets are masked in its texts."""

    exit_code: int  # the negative number of the signal if one ended it
    failure: str | None  # `bash exited with 1`; None if the command succeeded
    last_words: str  # the last line that it wrote to stderr, or why else it failed
    output: str  # the end of what it wrote to stdout and stderr
    stopped: bool = False  # whether it was ended because its runner stops
    timed_out: bool = False  # whether it was ended because it took too long

    @property
    def shell_exit_code(self) -> int:
        """Its exit code as a shell shows it: 128 + N if signal N ended it."""
        return self.exit_code if self.exit_code >= 0 else 128 - self.exit_code

    @property
    def error(self) -> str | None:
        """What went wrong, on one line; None if the command succeeded."""
        return f"{self.failure}: {self.last_words}" if self.failure and self.last_words else self.failure

    def error_text(self) -> ErrorText:
        """Return the error as it is kept with an attempt."""
        kind, message = "CommandTimedOut" if self.timed_out else COMMAND_FAILED, self.error or ""
        # `log` shows only this text, so it ends as a traceback does: with what went wrong.
        return ErrorText(kind, message, f"{self.output.rstrip()}\n{kind}: {message}".lstrip())


def make_outcome(
    name: str, exit_code: int, written: bytes, errors: bytes, *, stopped: bool, timed_out: float | None
) -> Outcome:
    """Describe how a command ended that had `timed_out` seconds, if they were not enough.

    The last line of `errors`, which it wrote to stderr, says why it failed; a line of stdout is none.
    """
    output = _end_of(written)
    if stopped:
        what = "was stopped"
    elif timed_out is not None:
        what = f"timed out after {timed_out:g} s"
    elif exit_code < 0:
        what = f"was killed by {_signal_name(-exit_code)}"
    elif exit_code:
        what = f"exited with {exit_code}"
    else:
        return Outcome(exit_code, None, "", output)
    lines = [line for line in map(one_line, _end_of(errors).splitlines()) if line]
    last = lines[-1] if lines else ""
    last = last if len(last) <= _LONGEST_LINE else f"{last[: _LONGEST_LINE - 1]}…"
    return Outcome(exit_code, f"{one_line(name)} {what}", last, output, stopped, timed_out is not None)


def _end_of(written: bytes) -> str:
    text = storable(mask_printed(written.decode(errors="backslashreplace")))
    return text.encode()[-KEPT:].decode(errors="ignore")


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal
        return f"signal {number}"


_PIECE = 4096  # bytes that a pipe takes at once if it takes any (PIPE_BUF); macOS takes as many in practice

_writing = threading.Lock()


class Feed:
    """Writes bytes to a command's stdin, as fast as it reads them, and closes it."""

    def __init__(self, pipe: IO[bytes], data: bytes) -> None:
        self._pipe = pipe
        self._rest = memoryview(data)
        os.set_blocking(pipe.fileno(), False)

    def awaited(self) -> Iterator[tuple[int, int]]:
        """Yield what to poll for."""
        if not self._pipe.closed:
            yield self._pipe.fileno(), select.POLLOUT

    def proceed(self) -> None:
        """Write what the pipe takes now."""
        try:
            while not self._pipe.closed and self._rest:
                self._rest = self._rest[os.write(self._pipe.fileno(), self._rest) :]
        except BlockingIOError:
            return
        except BrokenPipeError:  # the command does not read it, which is its own affair
            pass
        self._pipe.close()


class Relay:
    """Passes on what a command writes to one of our own outputs.

    If that fails, as when its reader has gone, the rest is dropped: the command's work counts, whether or not anybody
    reads about it.
    """

    def __init__(self, pipe: IO[bytes], target: int, keep: Callable[[bytes], object]) -> None:
        """Prepare to pass on what comes from a pipe to a target, and to call `keep` with each piece of it."""
        self._pipe = pipe
        self._target: int | None = target  # None after it has failed
        self.error: str | None = None  # why it has failed, unless its reader has gone
        self._keep = keep
        self._pending = b""
        self._left: int | None = None
        os.set_blocking(pipe.fileno(), False)

    def awaited(self) -> Iterator[tuple[int, int]]:
        """Yield what to poll for."""
        if self._pending and self._target is not None:
            yield self._target, select.POLLOUT
        elif not self._pipe.closed:
            yield self._pipe.fileno(), select.POLLIN

    def proceed(self) -> None:
        """Read and write a piece, if that can be done now."""
        if not self._pending and not self._pipe.closed:
            self._read()
        if self._pending:
            self._write()

    def finish(self) -> None:
        """Read only what the pipe holds now: the command has ended, and others that have the pipe may never end."""
        if not self._pipe.closed:
            (self._left,) = struct.unpack("i", fcntl.ioctl(self._pipe, termios.FIONREAD, bytes(4)))
            if not self._left:
                self._pipe.close()

    @property
    def done(self) -> bool:
        """Whether everything was passed on."""
        return self._pipe.closed and not self._pending

    def _read(self) -> None:
        try:
            data = os.read(self._pipe.fileno(), _PIECE if self._left is None else min(_PIECE, self._left))
        except BlockingIOError:
            return
        if self._left is not None:
            self._left -= len(data)
        if not data or self._left == 0:
            self._pipe.close()
        self._keep(data)
        self._pending = data

    def _write(self) -> None:
        if self._target is None:
            self._pending = b""
            return
        with _writing:  # another thread must not fill the pipe in between
            try:
                if _is_ready(self._target, select.POLLOUT):
                    self._pending = self._pending[os.write(self._target, self._pending) :]
            except BlockingIOError:
                pass
            except OSError as error:
                self._target, self._pending = None, b""
                if not isinstance(error, BrokenPipeError):
                    self.error = error.strerror


def _is_ready(descriptor: int, events: int) -> bool:
    poll = select.poll()
    poll.register(descriptor, events)
    return bool(poll.poll(0))


PLACE = "{}"
"""What stands for the value."""


def text_or_bytes(data: bytes) -> str | bytes:
    """Return what a command has written: as text if it is UTF-8."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data


def check_command(command: Sequence[str]) -> None:
    """Raise `InvalidArgument` if a command cannot run, whatever the value is."""
    if not command or not command[0]:
        raise InvalidArgument("there is no command: write it after --")
    if PLACE in command[0]:
        raise InvalidArgument(f"a value cannot be the command, or a part of its name: {command[0]!r}")
    if shutil.which(command[0]) is None:
        raise InvalidArgument(f"{command[0]!r} does not exist or may not be executed")


def arguments(command: Sequence[str], text: str) -> list[bytes]:
    """Return a command line with a value in place of each `{}`, whether that is an argument or a part of one."""
    takes_value = any(PLACE in word for word in command)
    if takes_value and "\0" in text:
        raise InvalidArgument(f"the value contains NUL, as no argument can: read it from stdin instead of {PLACE}")
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

Keep = Callable[[str, bytes], object]
"""A function that gets `stdout` or `stderr`, and a piece of what a command writes to it."""
Started = Callable[[int, str | None], object]
"""A function that gets the pid of a command and the kernel's count of when it started."""


class CommandRunner:
    """Runs one command for many values, or without any; several threads may do so at once.

    All commands that run die with this process, even if it is killed, unless their guard was killed before. No signal
    handler is installed: a handler may call `stop` and `pass_on`.
    """

    def __init__(self, command: Sequence[str], *, stdout: int, stderr: int, timeout: float | None = None) -> None:
        """Prepare to run a command for `timeout` seconds at most, and to pass on what it writes to descriptors."""
        self._command = list(command)
        self._timeout = timeout
        self._outputs = stdout, stderr
        self._stopped = False
        self._passed_on: int | None = None
        self.output_error: str | None = None  # why what the last command wrote to stdout could not be passed on
        self._children: set[Child] = set()
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

    def pass_on(self, number: int) -> None:
        """Send a signal to all commands, which end by themselves if they want to. A signal handler may call this."""
        self._passed_on = number
        for child in list(self._children):
            child.send(number)

    def run(
        self,
        text: str | None,
        environment: Mapping[str, str] | None,
        on_started: Started,
        *,
        stdin: int | None = None,
        keep: Keep = lambda *_: None,
    ) -> Outcome:
        """Run the command for one value.

        When this returns, nothing of the command's process group is left, unless the command succeeded: then processes
        that it left in the background stay. The value's text is the command's stdin, and replaces `{}`; it is None if
        the command takes no value. `on_started` is called when the command has a process, which waits for it to return;
        an error ends the command. `stdin` is a descriptor of `stdin_for_child`, which a command without a value reads.
        """
        with ExitStack() as stack:
            child = self._start(text, environment, stdin)
            stack.callback(child.close)
            self._children.add(child)
            stack.callback(self._children.discard, child)
            stack.callback(self._guard.unregister, child.pid)
            stack.push(lambda kind, *_: child.send(signal.SIGKILL) if kind else None)
            self._guard.register(child.pid)
            on_started(child.pid, start_if_seen(child.pid))
            if self._passed_on is not None:
                child.send(self._passed_on)
            outcome = self._attend(child, Feed(child.pipes[0], b"\n" + as_bytes(text or "")), keep)
        if outcome.error is not None:
            wait_for_group(child.pid, GRACE)
        return outcome

    def _start(self, text: str | None, environment: Mapping[str, str] | None, stdin: int | None) -> Child:
        words = [os.fsencode(word) for word in self._command] if text is None else arguments(self._command, text)
        try:
            return Child(words, environment, stdin)
        except OSError as error:
            if error.errno != errno.E2BIG:
                raise
            if text is not None and any(PLACE in word for word in self._command):
                raise InvalidArgument(
                    f"the value is too long for an argument: read it from stdin, not {PLACE}"
                ) from None
            raise InvalidArgument("the command line and the environment are too long") from None

    def _attend(self, child: Child, feed: Feed, keep: Keep) -> Outcome:
        """Open the gate, and return when the command has ended and all that it wrote was passed on."""
        _, *pipes = child.pipes
        tail, errors = bytearray(), bytearray()

        def keep_end(stream: str, data: bytes) -> None:
            for end in (tail, errors) if stream == "stderr" else (tail,):
                end.extend(data)
                del end[: -2 * KEPT]  # more than is kept, so that a secret that is cut in two does not remain
            keep(stream, data)

        relays = [
            Relay(pipe, target, functools.partial(keep_end, stream))
            for pipe, target, stream in zip(pipes, self._outputs, ("stdout", "stderr"), strict=True)
        ]
        exit_code, why = self._wait(child, feed, relays)
        is_signalled = bool(exit_code) and self._passed_on is not None
        if is_signalled:
            wait_for_group(child.pid, GRACE)  # others of the group have got the signal, too
        if exit_code or why:
            child.send(signal.SIGKILL)
        self._drain(relays)
        self.output_error = relays[0].error
        return make_outcome(
            PurePath(self._command[0]).name,
            exit_code,
            bytes(tail),
            bytes(errors),
            stopped=why == "stop" or is_signalled,
            timed_out=self._timeout if why == "timeout" else None,
        )

    def _wait(self, child: Child, feed: Feed, relays: list[Relay]) -> tuple[int, str | None]:
        """Wait until the command ends, or end it. Return its exit code, and why it had to be ended: stop or timeout."""
        why = None
        deadline = math.inf if self._timeout is None else clock.monotonic() + self._timeout
        # When it is being ended, the others of its group have the same time as the command itself.
        while (exit_code := child.exit_code()) is None or (
            why and deadline < math.inf and has_living_member(child.pid)
        ):
            now = clock.monotonic()
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
            seconds = min(deadline - now, clock.ask_every if watch else _LOOK)
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
        """Wait until something can be done, and return whether there is."""
        poll = select.poll()
        if stoppable:
            poll.register(self._stop_read, select.POLLIN)
        for descriptor, events in awaited:
            poll.register(descriptor, events)
        return bool(poll.poll(min(max(seconds, 0), _LONGEST_WAIT) * 1000))

    def __enter__(self) -> CommandRunner:
        return self

    def __exit__(self, *error: object) -> None:
        """End the guard. No command may be running."""
        self._guard.close()
        os.close(self._stop_read)
        os.close(self._stop_write)


def _awaited(streams: Iterable[Feed | Relay]) -> list[tuple[int, int]]:
    return [pair for stream in streams for pair in stream.awaited()]


def environment_of(attempt: OpenAttempt) -> dict[str, str]:
    """Return the environment of a command, whose pushes and pops belong to the attempt."""
    url = attempt.database.url.render_as_string(hide_password=False)
    inherited = {name: text for name, text in os.environ.items() if name != "ZRB_STORE_SESSION"}
    observed = {} if attempt.span is None else attempt.span.environment
    return {**inherited, **observed, "ZRB_STORE_URL": url, "ZRB_STORE_ATTEMPT": attempt.token}
