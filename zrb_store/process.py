"""Who this process is, and whether another one still runs."""

from __future__ import annotations

import functools
import getpass
import os
import platform
import socket
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Identity:
    """What names one process beyond doubt, for as long as its machine runs.

    Attributes:
        pid_namespace: The namespaces that a pid and a start time are of.
        process_started: The kernel's own count of when the process started. Compared, never computed with: a start
            time in seconds moves when the clock is set, and would declare a living process dead.
    """

    host: str
    boot_id: str | None
    pid_namespace: str | None
    pid: int
    process_started: str | None
    user: str | None


def identity() -> Identity:
    """Describe the running process (anew after a fork)."""
    return _identity(os.getpid())


@functools.lru_cache(maxsize=1)
def _identity(pid: int) -> Identity:
    try:
        user: str | None = getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        user = str(os.getuid()) if hasattr(os, "getuid") else None
    return Identity(socket.gethostname(), _boot_id(), _pid_namespace(), pid, process_started(pid), user)


def is_running(boot_id: str | None, pid_namespace: str | None, pid: int, started: str | None) -> bool | None:
    """Whether the process so described still runs.

    Returns:
        None if that cannot be known from here: another machine, another boot that we cannot tell apart, another
        container, a process that is hidden from us. Then only the end of its lease tells.
    """
    me = identity()
    if None in (boot_id, pid_namespace, started) or (boot_id, pid_namespace) != (me.boot_id, me.pid_namespace):
        return None
    try:
        return process_started(pid) == started
    except PermissionError:
        return None


def process_started(pid: int) -> str | None:
    """When the kernel says this process started, or None if there is none (a zombie has ended).

    Raises:
        PermissionError: There is one, and we may not know more.
    """
    if platform.system() == "Linux":
        try:
            stat = Path(f"/proc/{pid}/stat").read_text()
        except OSError:
            _refuse_hidden(pid)
            return None
        fields = stat.rpartition(")")[2].split()  # the name before it may hold spaces and parentheses
        return None if fields[0] in "ZX" else fields[19]
    return _process_started_elsewhere(pid)


def _process_started_elsewhere(pid: int) -> str | None:
    import psutil  # only where there is no /proc: it costs a command's start 20 ms

    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else repr(process.create_time())
    except psutil.NoSuchProcess:
        return None
    except psutil.AccessDenied:
        _refuse_hidden(pid)
        return None


def _refuse_hidden(pid: int) -> None:
    """Tell a process that is hidden from us (/proc with hidepid, or none at all) from one that is not there."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return
    raise PermissionError(f"process {pid} is hidden")


def _boot_id() -> str | None:
    if platform.system() == "Linux":
        try:
            return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        except OSError:
            return None
    import psutil

    return repr(psutil.boot_time())


def _pid_namespace() -> str | None:
    if platform.system() != "Linux":
        return "none"
    # A start time counts from the boot as the reader's time namespace sees it (time_namespaces(7), since Linux 5.6).
    names = ["pid", "time"] if Path("/proc/self/ns/time").exists() else ["pid"]
    try:
        return " ".join(str(Path(f"/proc/self/ns/{name}").readlink()) for name in names)
    except OSError:
        return None
