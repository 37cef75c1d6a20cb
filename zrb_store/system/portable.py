"""What any POSIX system tells, by psutil. An answer that only some systems have is None, or nothing."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol


class FileWatch(Protocol):
    """Notices that a file is written."""

    def arm(self) -> bool:
        """Forget what was written up to now, and watch the file that has the name now. Return whether there is one."""

    def wait(self, seconds: float) -> bool:
        """Wait until the file is written; return False if it was not in this time."""


class Portable:
    """Answers that psutil gives on each system, and none where it has none."""

    # -- processes

    def boot_id(self) -> str | None:
        """Return what distinguishes this boot of this machine from all others."""
        import psutil

        return repr(psutil.boot_time())

    def pid_namespace(self) -> str | None:
        """Return what names the namespace in which process numbers and start times are valid."""
        return "none"

    def started(self, pid: int) -> str | None:
        """Return the kernel's count of when a process started, or None if there is no such process or it is a zombie.

        Raise PermissionError if the process exists, but this user may not read its start time.
        """
        import psutil

        try:
            process = psutil.Process(pid)
            return None if process.status() == psutil.STATUS_ZOMBIE else repr(process.create_time())
        except psutil.NoSuchProcess:
            return None
        except psutil.AccessDenied:
            refuse_hidden(pid)
            return None

    def program(self, pid: int) -> str | None:
        """Return what changes when a process executes another program; None if that cannot be read."""
        return None

    def ancestors(self) -> list[int]:
        """Return this process and those above it, which have started it."""
        import psutil

        return [os.getpid(), *(each.pid for each in psutil.Process().parents())]

    def pids(self) -> list[int]:
        """Return the numbers of all processes that this user sees."""
        import psutil

        return psutil.pids()

    def environment(self, pid: int, variable: str) -> dict[str, str]:
        """Return the environment that a process was started with; nothing if it lacks the variable or is hidden."""
        import psutil

        try:
            found = psutil.Process(pid).environ()
        except (psutil.Error, OSError):
            return {}
        return found if variable in found else {}

    def command_line(self, pid: int) -> list[str]:
        """Return the command line of a process; nothing if it cannot be read."""
        import psutil

        try:
            return psutil.Process(pid).cmdline()
        except psutil.Error:
            return []

    def is_stopped(self, pid: int) -> bool:
        """Whether a process was stopped, as SIGSTOP does it, and does not work until it is continued."""
        import psutil

        try:
            return bool(psutil.Process(pid).status() == psutil.STATUS_STOPPED)
        except psutil.Error:
            return False

    def caught_signals(self, pid: int) -> int | None:
        """Return the signals that a process handles, as a mask; None if nobody tells."""
        return None

    def handle(self, pid: int) -> int | None:
        """Return a descriptor that is readable once a process has ended; None if there is none."""
        return None

    def signal(self, handle: int, number: int) -> None:
        """Send a signal to the process of a handle, and to no other that got its number meanwhile."""
        raise NotImplementedError

    # -- files

    def lock_holder(self, files: Iterable[Path]) -> int | None:
        """Return the process that has locked a part of one of these files for writing; None if nobody tells."""
        return None

    def mount(self, path: Path) -> str | None:
        """Return the number of the mount that a path is on; None if nobody tells."""
        return None

    def file_system(self, path: Path) -> str | None:
        """Return the type of the file system that a path is on; None if nobody tells."""
        import psutil

        mounts = ((each.mountpoint, each.fstype) for each in psutil.disk_partitions(all=True))
        return deepest_mount(path, mounts)

    def file_watch(self, path: Path) -> FileWatch | None:
        """Return what notices that a file is written, without opening it; None if nothing does."""
        return None


def deepest_mount(path: Path, mounts: Iterable[tuple[str, str]]) -> str | None:
    """Return the type of the innermost mount, of pairs of place and type, that a path is on."""
    here = path.resolve()
    found: str | None = None
    depth = 0
    for point, kind in mounts:
        folder = Path(point)
        if here.is_relative_to(folder) and len(folder.parts) >= depth:
            found, depth = kind, len(folder.parts)
    return found


def is_path_of_descriptor(path: str) -> bool:
    """Whether a path names an open file of the process, as that of a program that is read from a pipe."""
    return path.startswith(("/dev/fd/", "/dev/stdin", "/proc/"))


def refuse_hidden(pid: int) -> None:
    """Raise PermissionError if the process exists after all, and is only hidden from this user."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return
    raise PermissionError(f"process {pid} is hidden")
