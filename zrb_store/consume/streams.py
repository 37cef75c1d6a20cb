"""What goes into a command and what comes out of it. Nothing here ever waits: the caller polls."""

from __future__ import annotations

import fcntl
import os
import select
import struct
import termios
import threading
from collections.abc import Iterator
from typing import IO

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


class Tail:
    """The last bytes of what a command writes."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._data = bytearray()

    def add(self, data: bytes) -> None:
        """Append these bytes."""
        self._data += data
        del self._data[: -self._limit]

    def __bytes__(self) -> bytes:
        return bytes(self._data)


class Relay:
    """Passes on what a command writes to one of our own outputs.

    Args:
        pipe: What the command writes to.
        target: Where it goes. If that fails, as when its reader has gone, the rest is dropped: the command's work
            counts, whether or not anybody reads about it.
        tail: What keeps the end of it.
    """

    def __init__(self, pipe: IO[bytes], target: int, tail: Tail) -> None:
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
        self._tail.add(data)
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
