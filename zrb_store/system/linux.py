"""What Linux tells: by /proc, which may be missing or mounted with hidepid, by handles of processes, and by inotify."""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import sys
from collections.abc import Iterable
from pathlib import Path

from zrb_store.system.portable import FileWatch, Portable, deepest_mount, refuse_hidden

assert sys.platform == "linux"  # a type checker for another system reads no further


class Linux(Portable):
    """Answers of /proc, which is quicker than psutil, and need not be installed."""

    def __init__(self, proc: Path = Path("/proc")) -> None:
        """Read what is under `proc`."""
        self._proc = proc

    def boot_id(self) -> str | None:
        try:
            return (self._proc / "sys/kernel/random/boot_id").read_text().strip()
        except OSError:
            return None

    def pid_namespace(self) -> str | None:
        # A start time counts from the boot, as the reader's time namespace sees it: time_namespaces(7), of Linux 5.6.
        namespaces = self._proc / "self/ns"
        names = ["pid", "time"] if (namespaces / "time").exists() else ["pid"]
        try:
            return " ".join(str((namespaces / name).readlink()) for name in names)
        except OSError:
            return None

    def started(self, pid: int) -> str | None:
        try:
            fields = self._stat(pid)
        except OSError:
            refuse_hidden(pid)
            return None
        return None if fields[0] in "ZX" else fields[19]

    def program(self, pid: int) -> str | None:
        # Where the stack is: `execv` changes it.
        try:
            stack = self._stat(pid)[25]
        except (OSError, IndexError):
            return None
        return None if stack == "0" else stack

    def ancestors(self) -> list[int]:
        found = [os.getpid()]
        with contextlib.suppress(OSError):
            while (parent := int(self._stat(found[-1])[1])) > 0:
                found.append(parent)
        return found

    def pids(self) -> list[int]:
        try:
            return [int(entry.name) for entry in self._proc.iterdir() if entry.name.isdecimal()]
        except OSError:
            return []

    def environment(self, pid: int, variable: str) -> dict[str, str]:
        try:
            data = (self._proc / str(pid) / "environ").read_bytes()
        except OSError:  # it has ended, or belongs to another user
            return {}
        if variable.encode() not in data:  # most processes
            return {}
        found = dict(text.partition("=")[::2] for text in os.fsdecode(data).split("\0") if text)
        return found if variable in found else {}

    def command_line(self, pid: int) -> list[str]:
        try:
            return os.fsdecode((self._proc / str(pid) / "cmdline").read_bytes()).split("\0")[:-1]
        except OSError:
            return []

    def is_stopped(self, pid: int) -> bool:
        try:
            return self._stat(pid)[0] in "Tt"
        except OSError:
            return False

    def caught_signals(self, pid: int) -> int | None:
        try:
            status = (self._proc / str(pid) / "status").read_text()
            return int(status.partition("\nSigCgt:")[2].split()[0], 16)
        except (OSError, ValueError, IndexError):
            return None

    def handle(self, pid: int) -> int | None:
        with contextlib.suppress(AttributeError, OSError):  # Python or the kernel may lack it, or no file may be opened
            return os.pidfd_open(pid)
        return None

    def signal(self, handle: int, number: int) -> None:
        signal.pidfd_send_signal(handle, number)

    def lock_holder(self, files: Iterable[Path]) -> int | None:
        with contextlib.suppress(OSError, ValueError, IndexError):
            inodes = {file.stat().st_ino for file in files if file.exists()}
            for line in (self._proc / "locks").read_text().splitlines():
                _, kind, _, mode, pid, place, *_ = line.split()
                if (kind, mode) == ("POSIX", "WRITE") and int(place.rpartition(":")[2]) in inodes:
                    return int(pid)
        return None

    def mount(self, path: Path) -> str | None:
        with contextlib.suppress(OSError, IndexError):
            # Only a handle: unlike a file, closing it drops none of SQLite's locks.
            handle = os.open(path, os.O_PATH | os.O_CLOEXEC)
            try:
                return (self._proc / f"self/fdinfo/{handle}").read_text().partition("mnt_id:")[2].split()[0]
            finally:
                os.close(handle)
        return None

    def file_system(self, path: Path) -> str | None:
        try:
            mounts = [line.split() for line in (self._proc / "mounts").read_text().splitlines()]
        except OSError:
            return None
        # A space is written as \040.
        return deepest_mount(
            path, ((re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), each[1]), each[2]) for each in mounts)
        )

    def file_watch(self, path: Path) -> FileWatch | None:
        with contextlib.suppress(OSError):
            return InotifyWatch(path)
        return None

    def _stat(self, pid: int) -> list[str]:
        """Return what is told of a process, from its state on. Before that is its name, which may contain spaces."""
        return (self._proc / str(pid) / "stat").read_text().rpartition(")")[2].split()


class InotifyWatch:
    """Notices that a file is written. It is not opened: closing it would drop SQLite's locks."""

    _WRITTEN = 0x2  # IN_MODIFY in sys/inotify.h; the end of the file is told in any case

    def __init__(self, path: Path) -> None:
        """Prepare to watch a file; raise `OSError` if the system has no room."""
        import ctypes

        self._path = os.fsencode(path)
        self._libc = ctypes.CDLL(None)
        self._events: int = self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._events < 0:
            raise OSError("inotify has no room")
        self._poll = select.poll()
        self._poll.register(self._events, select.POLLIN)

    def arm(self) -> bool:
        """Forget what was written up to now, and watch the file that has the name now. Return whether there is one."""
        with contextlib.suppress(BlockingIOError):
            os.read(self._events, 1 << 16)
        return bool(self._libc.inotify_add_watch(self._events, self._path, self._WRITTEN) >= 0)

    def wait(self, seconds: float) -> bool:
        """Wait until the file is written; return False if it was not in this time."""
        return bool(self._poll.poll(max(0.0, seconds) * 1000))

    def __del__(self) -> None:
        if getattr(self, "_events", -1) >= 0:
            os.close(self._events)
