"""The identity of a process, whether it is still running, and where this one runs: its folder, project and script."""

from __future__ import annotations

import contextlib
import functools
import getpass
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from zrb_store import settings, system
from zrb_store.errors import OUT_OF_FILES, InvalidArgument, StoreUnavailable, is_out_of_files
from zrb_store.masking import storable
from zrb_store.names import check_name
from zrb_store.system.portable import is_path_of_descriptor


@dataclass(frozen=True, slots=True)
class ProcessIdentity:
    """What identifies one process, among all that run on its machine until the next boot."""

    host: str
    boot_id: str | None
    pid_namespace: str | None  # the namespaces in which the pid and the start time are valid
    pid: int
    # Its start in the kernel's own count, and what names its program. It is only compared for equality: a start time in
    # seconds changes when the clock is set, so that a running process would be taken for a dead one.
    process_started: str | None
    user: str | None


@functools.cache
def identity() -> ProcessIdentity:
    """Return the identity of this process; a forked child has its own."""
    pid = os.getpid()
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # in a container the user may have no name
        user = str(os.getuid())
    started = "/".join(filter(None, (start_if_seen(pid), system.here().program(pid)))) or None
    boot_id, namespace = system.here().boot_id(), system.here().pid_namespace()
    if None in (started, boot_id, namespace) and is_out_of_files():
        raise StoreUnavailable(f"the run cannot be recorded: {OUT_OF_FILES}")
    return ProcessIdentity(socket.gethostname(), boot_id, namespace, pid, started, user)


os.register_at_fork(after_in_child=identity.cache_clear)


def is_running(boot_id: str | None, pid_namespace: str | None, pid: int, started: str | None) -> bool | None:
    """Whether the process with this identity is still running; None if this process cannot tell.

    It cannot if the other one runs on another machine, in another boot or container, is hidden from this user, or
    executes another program by now. Then it counts as running until its lease expires.
    """
    if started is None or not _is_here(boot_id, pid_namespace):
        return None
    started, _, program = started.partition("/")
    try:
        if process_started(pid) != started:
            return False
    except PermissionError:
        return None
    return True if not program or system.here().program(pid) in (None, program) else None


class EndWatch:
    """Tells at once whether one of some processes of this machine has ended, by their handles if the system has any."""

    def __init__(self, processes: Iterable[tuple[str | None, str | None, int, str | None]]) -> None:
        """Watch processes, given by their identities. Those that are not here are never seen to end."""
        self._poll = select.poll()
        self._handles: list[int] = []
        self._asked: list[tuple[str | None, str | None, int, str | None]] = []  # those without a handle
        for process in processes:
            handle = system.here().handle(process[2])
            if handle is None:  # not everywhere; it has ended; or this process may open no more files
                self._asked.append(process)
                continue
            self._handles.append(handle)
            if is_running(*process):  # still, so that the handle is its own
                self._poll.register(handle, select.POLLIN)
            else:
                self._asked.append(process)

    def has_ended(self) -> bool:
        """Whether one of them has ended."""
        return bool(self._poll.poll(0)) or any(is_running(*process) is False for process in self._asked)

    def __del__(self) -> None:
        for handle in self._handles:
            os.close(handle)


def is_own(boot_id: str | None, pid_namespace: str | None, pid: int, started: str | None) -> bool:
    """Whether this identity is that of this process."""
    me = identity()
    return (boot_id, pid_namespace, pid, started) == (me.boot_id, me.pid_namespace, me.pid, me.process_started)


def is_group_alive(boot_id: str | None, pid_namespace: str | None, pid: int, started: str | None) -> bool | None:
    """Whether a process group, whose leader has this identity, still has a process; None as in `is_running`."""
    if started is None or not _is_here(boot_id, pid_namespace):
        return None
    try:
        leader = process_started(pid)
    except PermissionError:
        return None
    # The kernel gives no process a number that a group still has: one that started at another time means that the group
    # is gone.
    return has_living_member(pid) if leader is None else leader == started


def has_living_member(group: int) -> bool:
    """Whether a process group has a process that is not a zombie: in a container, pid 1 often leaves them for ever."""
    if not _has_member(group):
        return False
    members = [pid for pid in system.here().pids() if group_of(pid) == group]
    # If none is seen, they were reaped meanwhile, or are hidden from this user.
    return any(map(_is_alive, members)) if members else _has_member(group)


def members_of(group: int) -> list[int]:
    """Return the processes of a group, as far as this user sees them."""
    return [pid for pid in system.here().pids() if group_of(pid) == group and _is_alive(pid)]


def is_group_of_ours(group: int) -> bool:
    """Whether a process group is that of this process, or of one above it."""
    return group in {group_of(pid) for pid in system.here().ancestors()}


def carriers(variable: str) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield the processes of this user that were started with a variable of the environment, each with all of these.

    This process and those above it are left out.
    """
    above = set(system.here().ancestors())
    for pid in system.here().pids():
        if pid not in above and (environment := system.here().environment(pid, variable)) and _is_alive(pid):
            yield pid, environment


def command_line(pid: int) -> list[str]:
    """Return the command line of a process; nothing if it cannot be read."""
    return system.here().command_line(pid)


def may_signal(pid: int) -> bool:
    """Whether this user may send signals to a process."""
    try:
        os.kill(pid, 0)
    except PermissionError:
        return False
    except ProcessLookupError:
        pass
    return True


def kill_group(leader: int, started: str | None) -> None:
    """Kill a process group of this machine whose leader has this identity, and wait a moment for its end."""
    with contextlib.suppress(OSError):  # it has ended, or belongs to another user
        if started is None or process_started(leader) != started:
            return
        os.killpg(leader, signal.SIGKILL)
        wait_for_group(leader, 5.0)  # others may end after the leader


def wait_for_group(group: int, seconds: float) -> None:
    """Wait until nothing of a process group runs any more, but no longer than this."""
    deadline = time.monotonic() + seconds
    while has_living_member(group) and time.monotonic() < deadline:
        time.sleep(0.005)


def _has_member(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _is_here(boot_id: str | None, pid_namespace: str | None) -> bool:
    me = identity()
    return None not in (boot_id, pid_namespace) and (boot_id, pid_namespace) == (me.boot_id, me.pid_namespace)


def _is_alive(pid: int) -> bool:
    try:
        return process_started(pid) is not None
    except PermissionError:
        return True


def group_of(pid: int) -> int | None:
    """Return the process group of a process; None if it has ended."""
    try:
        return os.getpgid(pid)
    except OSError:
        return None


def ending_signal(pid: int, *, handles_sigterm: bool) -> signal.Signals | None:
    """Return the signal by which a process ends in order.

    It is SIGTERM if the process handles it, and otherwise SIGINT, which raises KeyboardInterrupt, unless the process
    was started to ignore it, as by `&` in a script. Where nobody can know, `handles_sigterm` says what to expect. It is
    None for the process 1 of a container that handles neither: Linux lets no other signal reach it from inside.
    """
    caught = system.here().caught_signals(pid)
    if caught is None:
        caught = 1 << (signal.SIGINT - 1) | handles_sigterm << (signal.SIGTERM - 1)

    def catches(number: signal.Signals) -> bool:
        return bool(caught >> (number - 1) & 1)

    if catches(signal.SIGTERM):
        return signal.SIGTERM
    if catches(signal.SIGINT):
        return signal.SIGINT
    return None if pid == 1 else signal.SIGTERM


def own_ending_signal() -> tuple[signal.Signals, bool]:
    """Return the signal by which this process ends in order, and whether it dies of it at once."""
    terminate, interrupt = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    not_caught = (signal.SIG_DFL, signal.SIG_IGN)
    if terminate in not_caught and interrupt not in not_caught:
        return signal.SIGINT, False
    is_blocked = signal.SIGTERM in signal.pthread_sigmask(signal.SIG_BLOCK, ())
    return signal.SIGTERM, terminate is signal.SIG_DFL and not is_blocked


def send_signal(boot_id: str | None, pid_namespace: str | None, pid: int, started: str | None, number: int) -> bool:
    """Send a signal to the process with this identity; return False if it is not here, or belongs to another user.

    The signal 0 only finds that out. Where the system has handles of processes (Linux), no other process that got the
    number meanwhile can be hit.
    """
    handle = system.here().handle(pid)
    try:
        if not is_running(boot_id, pid_namespace, pid, started):
            return False
        if handle is None:
            os.kill(pid, number)
        else:
            system.here().signal(handle, number)
    except (ProcessLookupError, PermissionError):
        return False
    finally:
        if handle is not None:
            os.close(handle)
    return True


def is_stopped(pid: int) -> bool:
    """Whether a process was stopped, as SIGSTOP does it, and does not work until it is continued."""
    return system.here().is_stopped(pid)


def start_if_seen(pid: int) -> str | None:
    """Return when a process of ours started, as `process_started` does, or None if the system hides it."""
    try:
        return process_started(pid)
    except PermissionError:
        return None


def process_started(pid: int) -> str | None:
    """Return the kernel's count of when a process started, or None if there is no such process or it is a zombie.

    Raise PermissionError if the process exists, but this user may not read its start time.
    """
    return system.here().started(pid)


# -- where this process runs


@dataclass(frozen=True)
class Projects:
    """The projects that a user names: by their folders, or by a name, which may be that of a folder."""

    folders: tuple[str, ...] = ()
    name: str | None = None


def current_project(init_file: str | None = None) -> str:
    """Return the name of the project (`ZRB_STORE_PROJECT`), else the folder that `project_of` finds from here."""
    if name := settings.project():
        return name
    try:
        here = Path.cwd()
    except OSError:
        raise InvalidArgument("the working directory was deleted: change to the folder of the project") from None
    return project_of(here, init_file)


def project_of(here: Path, init_file: str | None = None) -> str:
    """Return the nearest folder, from an absolute path upwards, that has a `zrb_init.py`; else the path itself."""
    # zrb's own setting may give that file another name.
    name = init_file or os.environ.get("ZRB_INIT_FILE_NAME") or "zrb_init.py"
    return storable(str(next((folder for folder in (here, *here.parents) if (folder / name).is_file()), here)))


def folder_of(project: str | None, folder: str | None) -> str | None:
    """Return the folder of a project. A project with a name has none: its run's folder is returned."""
    return folder if project and not Path(project).is_absolute() else project


def current_folder() -> str | None:
    """Return the working directory; None if it was deleted."""
    try:
        return storable(str(Path.cwd()))
    except OSError:
        return None


def program_of(command: Sequence[str], folder: str | None) -> str | None:
    """Return the path of the script, module or program that a command line (`sys.argv`) runs in a folder, or None."""
    program = command[0] if command else ""  # the code of a REPL or of `python -c` is in no file
    return os.path.normpath(Path(folder or "", program)) if program and not program.startswith("-") else None


def current_script() -> str | None:
    """Return the absolute path of the script that this process runs; None in a REPL, under `python -m`, and so on.

    A program that is installed beside the interpreter (pytest, celery, zrb) is none, since it may run anybody's code.
    """
    main = sys.modules.get("__main__")
    file = getattr(main, "__file__", None)
    if getattr(main, "__spec__", None) is not None or not isinstance(file, str) or not Path(file).is_absolute():
        return None
    is_installed = sys.executable and is_same_file(Path(file).parent, Path(sys.executable).parent)
    if is_installed or is_path_of_descriptor(file):
        return None
    try:
        return check_name(storable(os.path.normpath(file)), "script")
    except InvalidArgument:  # the path is too long
        return None


def is_same_file(one: str | Path, two: str | Path) -> bool:
    """Whether two paths lead to the same place once links are followed; the place need not exist."""
    return os.path.realpath(one) == os.path.realpath(two)


def projects_named(text: str | None) -> Projects | None:
    """Return the projects that an option names; None, for every project, if it is not given.

    It is the name of a folder, or a path to it or into it (with a slash, or `.`, `..` or `~`), or empty: the current
    project.
    """
    if text is None:
        return None
    if not text:
        return Projects((current_project(),))
    if "/" not in text and text not in (".", "..", "~"):
        return Projects(name=text)
    path = Path(os.path.normpath(Path.cwd() / os.path.expanduser(text)))  # noqa: PTH111 - it never fails
    # A project may have been stored by a path that leads over a link.
    return Projects(tuple(dict.fromkeys((project_of(path), project_of(path.resolve())))))
