"""How a command ended, and in which words; before that, what goes into it (`Feed`) and what comes out (`Relay`).

Nothing here ever waits: the caller polls.
"""

from __future__ import annotations

import fcntl
import os
import select
import signal
import struct
import termios
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

from zrb_store.masking import mask_printed, one_line, storable

KEPT = 4096
"""Bytes that are kept of what a command wrote."""
_LONGEST = 200  # characters of the last line


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a command ended.

    Attributes:
        exit_code: Its exit code; the negative number of the signal if one ended it.
        error: What went wrong, on one line, with secrets masked; None if the command succeeded.
        output: The end of what it wrote to stdout and stderr, with secrets masked.
        stopped: Whether it was ended because the consumer stops.
        timed_out: Whether it was ended because it took too long.
    """

    exit_code: int
    error: str | None
    output: str
    stopped: bool = False
    timed_out: bool = False


def make_outcome(name: str, exit_code: int, written: bytes, *, stopped: bool, timed_out: float | None) -> Outcome:
    """Describe how a command ended.

    Args:
        written: The end of its output: more than is kept, so that a secret that is cut in two does not remain.
        timed_out: The seconds that it had, if they were not enough.
    """
    text = storable(mask_printed(written.decode(errors="backslashreplace")))
    output = text.encode()[-KEPT:].decode(errors="ignore")
    if stopped:
        what = "was stopped"
    elif timed_out is not None:
        what = f"timed out after {timed_out:g} s"
    elif exit_code < 0:
        what = f"was killed by {_signal_name(-exit_code)}"
    elif exit_code:
        what = f"exited with {exit_code}"
    else:
        return Outcome(exit_code, None, output)
    lines = [line for line in map(one_line, output.splitlines()) if line]
    error = f"{one_line(name)} {what}" + (f": {_shortened(lines[-1])}" if lines else "")
    return Outcome(exit_code, error, output, stopped, timed_out is not None)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal
        return f"signal {number}"


def _shortened(line: str) -> str:
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 1]}…"


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
            while self._rest and not self._pipe.closed:
                self._rest = self._rest[os.write(self._pipe.fileno(), self._rest) :]
        except BlockingIOError:
            return
        except BrokenPipeError:  # the command does not read it, which is its own affair
            pass
        self._pipe.close()


class Relay:
    """Passes on what a command writes to one of our own outputs.

    Args:
        pipe: What the command writes to.
        target: Where it goes. If that fails, as when its reader has gone, the rest is dropped: the command's work
            counts, whether or not anybody reads about it.
        tail: Keeps the end of it.
    """

    def __init__(self, pipe: IO[bytes], target: int, tail: bytearray) -> None:
        self._pipe = pipe
        self._target: int | None = target  # None after it has failed
        self._tail = tail
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
        self._tail += data
        del self._tail[: -2 * KEPT]
        self._pending = data

    def _write(self) -> None:
        if self._target is None:
            self._pending = b""
            return
        with _writing:  # another thread must not fill the pipe in between
            try:
                if _takes_more(self._target):
                    self._pending = self._pending[os.write(self._target, self._pending) :]
            except BlockingIOError:
                pass
            except OSError:
                self._target, self._pending = None, b""


def _takes_more(target: int) -> bool:
    poll = select.poll()
    poll.register(target, select.POLLOUT)
    return bool(poll.poll(0))
