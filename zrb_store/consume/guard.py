"""The guard: a process that kills the running commands when the consumer that started them dies."""

from __future__ import annotations

import contextlib
import os
import subprocess
import threading

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
    own, where no Ctrl-C reaches it, and holds nothing of this process open. If it is killed, another one takes over.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._groups: set[int] = set()
        self._process, self._pipe = self._start()

    def fileno(self) -> int:
        """Return a descriptor that `poll` reports with an error when the guard has died: then call `replace`."""
        return self._pipe

    def register(self, group: int) -> None:
        """Let this process group die with this process. When this returns, nothing can prevent it any more."""
        with self._lock:
            self._groups.add(group)
            self._tell()

    def unregister(self, group: int) -> None:
        """Forget a process group. Its leader must not have been reaped, because then its number may be used again."""
        with self._lock:
            self._groups.discard(group)
            with contextlib.suppress(OSError):  # the group has ended, and those that run will call `replace`
                self._tell()

    def replace(self) -> None:
        """Start another guard if this one has died.

        Raises:
            OSError: No process can be started.
        """
        with self._lock:
            if self._process.poll() is not None:
                self._replace()

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
        os.dup2(pipe, self._pipe, inheritable=False)  # other threads are polling this descriptor
        os.close(pipe)

    def _start(self) -> tuple[subprocess.Popen[bytes], int]:
        reading, writing = os.pipe()
        try:
            os.set_blocking(writing, False)
            os.write(writing, self._line())
            process = subprocess.Popen(
                ["/bin/sh", "-c", _SCRIPT, "zrb-store-guard"],
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
