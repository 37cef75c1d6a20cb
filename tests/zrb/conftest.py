"""A project with tasks, and the real `zrb` of each release to run them."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import textwrap
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.chosen import releases
from tests.support.postgres import wait_until
from tests.zrb.environments import environment
from tests.zrb.forked import Forked, ForkServer
from zrb_store import codec, open_store
from zrb_store.process import is_stopped
from zrb_store.queries import attempts, queues
from zrb_store.records import AttemptRecord, SessionRecord, ValueRecord
from zrb_store.store import Store

DEADLINE = 600.0

# Code that every task file of these tests may use. Tasks and tests communicate by files in the project's folder.
PRELUDE = '''
import asyncio, os, signal, sys, time
from pathlib import Path
from zrb import CmdTask, Group, Task, cli, make_task

HERE = Path(__file__).parent

def ran(name):
    """Record that an action runs, and return how often it ran before."""
    with (HERE / "ran").open("a") as file:
        file.write(name + "\\n")
    return (HERE / "ran").read_text().split("\\n").count(name) - 1

def exists(name):
    return (HERE / name).exists()

def mark(name):
    (HERE / name).touch()

async def wait_for(name):
    """Wait for a file that the test creates."""
    while not exists(name):
        await asyncio.sleep(0.02)

async def hang(name):
    """Let the test know that the task has come here, and sleep."""
    mark(name)
    await asyncio.sleep(60)
'''


@dataclass
class Done:
    """The exit code and the output of a command."""

    code: int
    out: str
    err: str


class Process:
    """A running zrb process."""

    def __init__(self, popen: subprocess.Popen[str] | Forked, folder: Path) -> None:
        self._popen = popen
        self._folder = folder
        self.pid = popen.pid

    def reaches(self, name: str) -> Process:
        """Wait until a task calls `mark` or `hang` with this name."""
        ends = time.monotonic() + DEADLINE
        while not (self._folder / name).exists():
            if self._popen.poll() is not None:
                done = self.done()
                pytest.fail(f"zrb ended with {done.code} before {name!r}:\n{done.out}{done.err}")
            if time.monotonic() > ends:
                self.signal(signal.SIGKILL)
                pytest.fail(f"{name!r} was not reached:\n{self.done()}")
            time.sleep(0.02)
        return self

    def signal(self, number: signal.Signals) -> Process:
        """Send a signal to the zrb process only, not to its children."""
        self._popen.send_signal(number)
        if number == signal.SIGSTOP:
            wait_until(lambda: is_stopped(self._popen.pid), lambda: "it does not stop")
        return self

    def ended(self) -> bool:
        """Whether the process has ended."""
        return self._popen.poll() is not None

    def done(self) -> Done:
        """Wait until the process ends, and return its output."""
        try:
            out, err = self._popen.communicate(timeout=DEADLINE)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            out, err = self._popen.communicate()
            pytest.fail(f"zrb does not end:\n{out}{err}")
        code = self._popen.returncode
        assert code is not None
        return Done(code, out, err)


@dataclass
class StoredSession:
    """A session as it is in the database."""

    record: SessionRecord
    status: str
    attempts: list[AttemptRecord]
    rows: dict[str, list[ValueRecord]]

    def task(self, name: str) -> list[str]:
        """Return the statuses of a task's attempts, saying which completed ones were given back."""
        return [
            f"{one.status}, given back" if one.status == "completed" and one.given_back_at else one.status
            for one in self.attempts
            if one.task == name
        ]

    @property
    def tasks(self) -> dict[str, list[str]]:
        """The statuses of the attempts of each task that has any."""
        return {name: self.task(name) for name in dict.fromkeys(one.task for one in self.attempts)}

    def live(self, queue: str) -> list[Any]:
        """Return the live values of a queue, oldest first."""
        return [codec.decode(row.data) for row in self.rows.get(queue, []) if row.state == "live"]

    def fates(self, queue: str) -> list[tuple[Any, str]]:
        """Return every value that was ever in a queue, with its state."""
        return [(codec.decode(row.data), row.state) for row in self.rows.get(queue, [])]


class Zrb:
    """One release of zrb with its own project and store.

    Attributes:
        release: The release.
        folder: The project's folder.
        db: The file of the store.
        url: The location of the store: that file, or a URL.
    """

    def __init__(self, release: str, env: Path, root: Path, server: Callable[[], ForkServer] | None = None) -> None:
        """Make an empty project.

        Args:
            release: The release.
            env: The folder of its environment.
            root: An empty folder.
            server: Returns what forks zrb, instead of starting a new interpreter each time.
        """
        self.release = release
        self.version = version_of(release)
        self.folder = root / "project"
        self.db = root / "store.db"
        self.url = str(self.db)
        self._env = env
        self._server = server
        self._home = root / "home"
        self.folder.mkdir()
        self._home.mkdir()
        self._running: list[subprocess.Popen[str] | Forked] = []

    def tasks(self, source: str, *, prelude: bool = True, folder: Path | None = None) -> None:
        """Write the project's `zrb_init.py`."""
        text = (PRELUDE if prelude else "") + textwrap.dedent(source)
        place = folder or self.folder
        (place / "zrb_init.py").write_text(text)
        # Python takes the byte code of a file that had the same size within the same second.
        shutil.rmtree(place / "__pycache__", ignore_errors=True)

    def environ(self, **more: str | None) -> dict[str, str]:
        """Return the environment of a command. None removes a variable."""
        environ: dict[str, str | None] = {
            "HOME": str(self._home),
            "PATH": f"{self._env / 'bin'}:{os.environ['PATH']}",
            "ZRB_INIT_MODULES": "zrb_store.plugin",
            "ZRB_STORE_URL": self.url,
            "ZRB_SHOW_UNRECOMMENDED_COMMAND_WARNING": "off",
            "ZRB_WARN_UNRECOMMENDED_COMMAND": "0",
            "TERM": "dumb",
            **more,
        }
        return {name: value for name, value in environ.items() if value is not None}

    def start(self, *args: str, program: str = "zrb", cwd: Path | None = None, **env: str | None) -> Process:
        """Start zrb or another program of its environment."""
        popen: subprocess.Popen[str] | Forked
        if self._server is not None and program in ("zrb", "zrb-store"):
            popen = self._server().start(program, args, cwd or self.folder, self.environ(**env))
        else:
            popen = subprocess.Popen(
                [str(self._env / "bin" / program), *args],
                cwd=cwd or self.folder,
                env=self.environ(**env),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
        self._running.append(popen)
        return Process(popen, self.folder)

    def run(
        self, *args: str, code: int | None = 0, program: str = "zrb", cwd: Path | None = None, **env: str | None
    ) -> Done:
        """Run zrb or another program of its environment to its end, and check its exit code (None for any)."""
        done = self.start(*args, program=program, cwd=cwd, **env).done()
        assert code is None or done.code == code, f"{args} ended with {done.code}:\n{done.out}\n{done.err}"
        return done

    def resume(self, session: str, *args: str, code: int | None = 0, **env: str | None) -> Done:
        """Run `zrb xcom resume SESSION`."""
        return self.run("xcom", "resume", session, *args, code=code, program="zrb", cwd=None, **env)

    @property
    def ran(self) -> list[str]:
        """The names of the actions that ran, in order."""
        log = self.folder / "ran"
        return log.read_text().split() if log.exists() else []

    def mark(self, name: str) -> None:
        """Create a file that a task waits for or looks for."""
        (self.folder / name).touch()

    @contextmanager
    def store(self) -> Iterator[Store]:
        """Open the store for reading."""
        with open_store(self.url, read_only=True) as store:
            yield store

    def sessions(self) -> list[SessionRecord]:
        """Return all sessions, oldest first."""
        with self.store() as store:
            return sorted(store.sessions(), key=lambda each: each.created_tick)

    def stored(self, name: str | None = None) -> StoredSession:
        """Return a session as it is in the database; without a name, the only session that has no parent."""
        with self.store() as store:
            if name is None:
                (name,) = [one.name for one in store.sessions() if one.parent is None]
            session = store.session(name)
            record = session.record()
            rows = {queue: _rows(store, queue_id) for queue, queue_id in queues.queue_ids(store.database, name).items()}
            return StoredSession(record, session.status, attempts.of_session(store.database, record.id), rows)

    def kill_all(self) -> None:
        """Kill the processes that a test left running."""
        for popen in self._running:
            if popen.poll() is None:
                popen.kill()
                popen.communicate()
            if isinstance(popen, Forked):
                popen.close()


def _rows(store: Store, queue_id: int) -> list[ValueRecord]:
    from sqlalchemy import select

    from zrb_store.db.columns import VALUE
    from zrb_store.db.rows import fit
    from zrb_store.db.tables import value

    columns = (value.c[name] for name in VALUE)
    rows = store.database.execute(select(*columns).where(value.c.queue_id == queue_id).order_by(value.c.seq))
    return [ValueRecord(**fit("zrb_value", VALUE, row)) for row in rows]


@pytest.fixture(params=releases())
def release(request: pytest.FixtureRequest) -> str:
    """The release to test. The test runs once for each release."""
    name: str = request.param
    return name


@pytest.fixture(scope="session")
def fork_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], ForkServer]]:
    """Returns the server that forks a release of zrb."""
    servers: dict[str, ForkServer] = {}
    home = str(tmp_path_factory.mktemp("home"))

    def server(release: str) -> ForkServer:
        if release not in servers:
            env = environment(release)
            path = f"{env / 'bin'}:{os.environ['PATH']}"
            servers[release] = ForkServer(env / "bin" / "zrb", {"HOME": home, "PATH": path, "TERM": "dumb"})
        return servers[release]

    yield server
    for one in servers.values():
        one.close()


def is_cold(request: pytest.FixtureRequest) -> bool:
    """Whether zrb is started as a user starts it: if the test is `cold`, or all are. Else a loaded zrb is forked."""
    return bool(os.environ.get("TEST_ZRB_COLD")) or request.node.get_closest_marker("cold") is not None


@pytest.fixture
def zrb(
    request: pytest.FixtureRequest,
    release: str,
    tmp_path: Path,
    sqlite_template: Path,
    fork_servers: Callable[[str], ForkServer],
) -> Iterator[Zrb]:
    """The real zrb of one release, with an empty project and an empty store."""
    server = None if is_cold(request) else lambda: fork_servers(release)
    made = Zrb(release, environment(release), tmp_path, server)
    shutil.copy(sqlite_template, made.db)
    yield made
    made.kill_all()


def version_of(release: str) -> tuple[int, ...]:
    """Return a release as numbers that can be compared."""
    return (99,) if release == "latest" else tuple(int(part) for part in release.split("."))


def only(concerns: Callable[[tuple[int, ...]], bool]) -> pytest.MarkDecorator:
    """Run a test only on the releases for which the condition holds."""
    return pytest.mark.parametrize("release", [one for one in releases() if concerns(version_of(one))], indirect=True)


def lines(text: str) -> Sequence[str]:
    """Return the lines of an output without those of zrb's own log."""
    return [line for line in text.splitlines() if line.strip() and "To run again:" not in line]


def until(condition: Callable[[], bool]) -> None:
    """Wait until a condition holds, with a deadline."""
    ends = time.monotonic() + DEADLINE
    while not condition():
        if time.monotonic() > ends:
            pytest.fail("a condition did not come true in time")
        time.sleep(0.02)


def is_up(port: int) -> bool:
    """Whether a server listens at a port of this machine."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def files_with(zrb: Zrb, text: str) -> list[str]:
    """Return the files of the store that contain this text."""
    return [file.name for file in zrb.db.parent.glob("store.db*") if text.encode() in file.read_bytes()]
