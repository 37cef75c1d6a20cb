"""A real PgBouncer in transaction mode between the tests and a PostgreSQL server.

It is Debian's program, which `.ci/run` installs. It sets `search_path` on a server session for the client that uses it
next, as it does with `client_encoding`, so that a test's URL can name the schema of that test: `track_extra_parameters`
can hold what the server reports, which PostgreSQL 18 does for `search_path`.
"""

from __future__ import annotations

import contextlib
import functools
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import psycopg

from tests.support.postgres import DEADLINE, KEEPER, Server, account, locked, own, wait_until
from tests.support.programs import require

POOLED = "TEST_POOLED"
"""The variable with which the tests of PostgreSQL go through a PgBouncer; its value is `max_prepared_statements`."""

SETTINGS = {
    "pool_mode": "transaction",
    "listen_addr": "",
    "listen_port": "5432",
    "auth_type": "trust",
    "auth_user": "postgres",
    "admin_users": "postgres",
    "max_client_conn": "500",
    "default_pool_size": "20",
    "track_extra_parameters": "IntervalStyle, search_path",
    "log_connections": "0",
    "log_disconnections": "0",
}


class Pooler:
    """A PgBouncer that keeps all its files in one folder.

    Attributes:
        folder: The folder of its socket, to be used by clients like that of a server.
        server: The server behind it.
    """

    def __init__(self, folder: Path, server: Server, settings: Mapping[str, str]) -> None:
        """Prepare to start it, with settings in addition to `SETTINGS`."""
        self._settings = settings
        self.folder = folder
        self.server = server
        self._keeper: subprocess.Popen[bytes] | None = None

    def url(self, database: str = "postgres") -> str:
        """Return the SQLAlchemy URL of a database behind it."""
        return f"postgresql+psycopg://postgres@/{database}?host={self.folder}"

    def connect(self, database: str = "postgres", **options: Any) -> psycopg.Connection[Any]:
        """Return a new connection in autocommit mode, which prepares nothing. `pgbouncer` is its own database."""
        port = self._settings.get("listen_port", "5432")
        return psycopg.connect(
            host=str(self.folder),
            port=port,
            user="postgres",
            dbname=database,
            autocommit=True,
            prepare_threshold=None,
            **options,
        )

    def start(self, alive: int | BinaryIO = subprocess.PIPE) -> None:
        """Start it and wait until it answers.

        Args:
            alive: A pipe to read from. It runs while a process can write to it; by default, this process.
        """
        found = require("pgbouncer")
        files = {"auth_file": self.folder / "users", "unix_socket_dir": self.folder}
        lines = [f"{name} = {value}" for name, value in {**SETTINGS, **files, **self._settings}.items()]
        text = "\n".join(["[databases]", f"* = host={self.server.folder}", "[pgbouncer]", *lines, ""])
        (self.folder / "pgbouncer.ini").write_text(text)
        (self.folder / "users").write_text('"postgres" ""\n')
        own(self.folder)
        log = self.folder / "log"
        with log.open("ab") as output:
            self._keeper = subprocess.Popen(
                ["/bin/sh", "-c", KEEPER, "keeper", found, self.folder / "pgbouncer.ini"],
                stdin=alive,
                stdout=output,
                stderr=output,
                cwd=self.folder,
                start_new_session=True,
                **account(),
            )
        wait_until(self._answers, lambda: f"PgBouncer does not start:\n{log.read_text()}")

    def stop(self) -> None:
        """End it, and with it all connections through it."""
        if self._keeper is not None:
            assert self._keeper.stdin is not None
            self._keeper.stdin.close()
            self._keeper.wait(DEADLINE)
            self._keeper = None

    def _answers(self) -> bool:
        with contextlib.suppress(psycopg.OperationalError), self.connect():
            return True
        return False


@functools.cache  # keeps a reference to its process, which must not be garbage-collected during the run
def join_shared_pooler(server: Server, prepared: str) -> Pooler:
    """Return the PgBouncer that all workers of a pytest run share. The first test that needs it starts it."""
    shared = Pooler(server.folder / "pool", server, {"max_prepared_statements": prepared})
    with locked(server.folder / "lock"):
        if not (server.folder / "pooled").exists():
            shared.folder.mkdir()
            with server.alive() as alive:
                shared.start(alive)
            (server.folder / "pooled").touch()
    return shared


@contextlib.contextmanager
def pooler(server: Server, **settings: str) -> Iterator[Pooler]:
    """Start a PgBouncer for one test."""
    require("pgbouncer")
    started = Pooler(Path(tempfile.mkdtemp(prefix="zrb-pool-", dir="/tmp")), server, settings)
    try:
        started.start()
        yield started
    finally:
        started.stop()
        shutil.rmtree(started.folder)
