"""Start programs in forks of one process that has loaded what they import: importing zrb takes up to a second.

`python tests/zrb/fork_server.py FD ZRB MODULE...` imports the modules too, and reads orders from the socket FD: a JSON
object ({"program", "args", "cwd", "env"}), and with it the descriptors of a socket, of stdout, of stderr and, if it has
one, of stdin. A child becomes the program, which is the script ZRB or another one beside it.
Over the order's socket the server tells the child's pid, and when it has ended, its exit code.

What zrb imports is found out by running `zrb version` once. The plugin and the user's tasks are not among it: each
child loads them itself, as its environment says.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import runpy
import selectors
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any, NoReturn

LONGEST = 1 << 20
PROBE = """
import atexit, runpy, sys
atexit.register(lambda: print("\\n" + " ".join(name for name in sys.modules if name != "__main__"), file=sys.stderr))
import zrb_store.store, zrb_store.db.migrate, click, msgspec.json
import zrb_store.cli.resume, zrb_store.codec.tagged, zrb_store.inspect.resume, zrb_store.queries.by_hand
sys.argv = [sys.argv[1], "version"]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
# Hooks zrb when it is imported.
_LEFT_OUT = "zrb_store.plugin"


def modules(program: str) -> list[str]:
    """Return the names of these modules. They are kept as long as zrb-store has the same files."""
    import hashlib
    import subprocess
    from importlib.util import find_spec

    spec = find_spec("zrb_store")
    assert spec is not None
    assert spec.submodule_search_locations
    package = Path(spec.submodule_search_locations[0])
    files = sorted(str(file.relative_to(package)) for file in package.rglob("*.py"))
    recipe = hashlib.sha256("\n".join([PROBE, *files]).encode()).hexdigest()[:8]
    kept = Path(program).parents[1] / f"modules-{recipe}"
    if not kept.exists():
        probe = subprocess.run(
            [sys.executable, "-c", PROBE, program],
            capture_output=True,
            text=True,
            check=True,
            cwd="/",
            stdin=subprocess.DEVNULL,
        )
        new = kept.with_name(f"{kept.name}.{os.getpid()}")
        new.write_text(probe.stderr.splitlines()[-1])
        new.rename(kept)  # other workers may do the same
    return kept.read_text().split()


def preload(program: str) -> None:
    """Import what `zrb version` imports, and what a run that is stored does."""
    for name in modules(program):
        if not f"{name}.".startswith(f"{_LEFT_OUT}."):
            try:
                importlib.import_module(name)
            except ImportError:  # a module that another one has made up
                continue


class Server:
    """Forks, until the other end of the socket is closed."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._selector = selectors.DefaultSelector()
        self._selector.register(control, selectors.EVENT_READ)
        self._children: dict[int, tuple[int, socket.socket]] = {}  # by pidfd

    def next_order(self) -> dict[str, Any] | None:
        """Fork for each order. Return an order in its child, and None in the server when it has ended."""
        while True:
            for key, _ in self._selector.select():
                if key.fileobj is not self._control:
                    self._report(key.fd)
                    continue
                message, descriptors, _, _ = socket.recv_fds(self._control, LONGEST, 4)
                if not message:
                    return None
                order: dict[str, Any] = json.loads(message)
                pid = os.fork()
                if pid == 0:
                    self._become_child(*descriptors)
                    return order
                self._remember(pid, descriptors)

    def _remember(self, pid: int, descriptors: list[int]) -> None:
        answers = socket.socket(fileno=descriptors[0])
        for one in descriptors[1:]:
            os.close(one)
        answers.sendall(f"{pid}\n".encode())
        pidfd = os.pidfd_open(pid)
        self._children[pidfd] = pid, answers
        self._selector.register(pidfd, selectors.EVENT_READ)

    def _report(self, pidfd: int) -> None:
        pid, answers = self._children.pop(pidfd)
        self._selector.unregister(pidfd)
        os.close(pidfd)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        with answers:
            try:
                answers.sendall(f"{code}\n".encode())
            except OSError:
                return  # whoever wanted to know has gone

    def _become_child(self, answers: int, stdout: int, stderr: int, stdin: int | None = None) -> None:
        os.setsid()
        self._selector.close()
        self._control.close()
        for pidfd, (_, other) in self._children.items():
            os.close(pidfd)
            other.close()
        os.close(answers)
        os.dup2(os.open(os.devnull, os.O_RDONLY) if stdin is None else stdin, 0)
        os.dup2(stdout, 1)
        os.dup2(stderr, 2)
        os.close(stdout)
        os.close(stderr)


def end(code: int) -> NoReturn:
    """End this process as Python does, but do not free each object of the loaded modules: a third of a short run."""
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code & 255)


def main() -> None:
    """Serve, and in each child become the program."""
    control, program = socket.socket(fileno=int(sys.argv[1])), sys.argv[2]
    preload(program)
    for name in sys.argv[3:]:
        importlib.import_module(name)
    assert threading.active_count() == 1, threading.enumerate()  # threads do not come along into a fork
    sys.path[0] = os.path.dirname(program)  # noqa: PTH120 - as for a program that Python starts
    gc.collect()
    gc.freeze()
    control.sendall(b"ready")
    order = Server(control).next_order()
    if order is None:
        return
    os.chdir(order["cwd"])
    os.environ.clear()
    os.environ.update(order["env"])
    time.tzset()
    sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115 - the server's was made for another file
    sys.stdout.reconfigure(write_through="PYTHONUNBUFFERED" in os.environ)
    program = order["program"]
    sys.argv = [program, *order["args"]]
    sys.orig_argv = [sys.executable, *sys.argv]
    sys.path[1:1] = filter(None, order["env"].get("PYTHONPATH", "").split(os.pathsep))
    try:
        runpy.run_path(program, run_name="__main__")
        end(0)
    except SystemExit as ended:
        if ended.code is not None and not isinstance(ended.code, int):
            raise
        end(ended.code or 0)


main()
