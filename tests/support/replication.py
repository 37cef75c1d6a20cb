"""A primary and its standby: two real PostgreSQL servers. The standby takes over when the primary is killed."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from tests.support.postgres import Server, account, new_folder, own, programs, wait_until


class Replicated:
    """A primary and a standby that streams its log.

    Attributes:
        primary: The server that can be written.
        standby: The other one.
    """

    def __init__(self, *, synchronous: bool) -> None:
        """Start both.

        Args:
            synchronous: Whether a COMMIT is answered only when the standby has it.
        """
        self._synchronous = synchronous
        self._stack = contextlib.ExitStack()
        self.primary = self._server()
        self.primary.create()
        self.primary.start()
        self.standby = self._server()
        self._follow()

    @property
    def url(self) -> str:
        """The URL that leads to whichever of the two can be written."""
        hosts = ",".join(quote(str(server.folder), safe="") for server in (self.primary, self.standby))
        return f"postgresql://postgres@{hosts}/postgres?target_session_attrs=read-write"

    def promote(self) -> None:
        """Let the standby take over. The primary must be down."""
        with self.standby.connect() as standby:
            standby.execute("SELECT pg_promote()")

    def fail_over(self) -> None:
        """Kill the primary, and let the standby take over."""
        self.primary.kill()
        self.promote()

    def rejoin(self) -> None:
        """After a failover, make the killed server a standby of the other one, from a new copy of it."""
        self.primary, self.standby = self.standby, self.primary
        shutil.rmtree(self.standby.folder / "data")
        self._follow()

    def close(self) -> None:
        """Stop both, and remove their folders."""
        self._stack.close()

    def _server(self) -> Server:
        server = Server(new_folder())
        self._stack.callback(shutil.rmtree, server.folder)
        self._stack.callback(server.stop)
        return server

    def _follow(self) -> None:
        folder = self.standby.folder
        own(folder)
        options: list[str | Path] = ["-h", self.primary.folder, "-U", "postgres", "-R", "-c", "fast", "--no-sync"]
        command = [programs(folder) / "pg_basebackup", "-D", folder / "data", *options]
        subprocess.run(command, check=True, cwd=folder, capture_output=True, **account())
        self.standby.start()
        with self.primary.connect() as primary:
            if self._synchronous:
                primary.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
                primary.execute("SELECT pg_reload_conf()")
            state = "sync" if self._synchronous else "async"
            sql = "SELECT 1 FROM pg_stat_replication WHERE state = 'streaming' AND sync_state = %s"
            wait_until(lambda: primary.execute(sql, [state]).fetchone() is not None, lambda: "no standby streams")


@contextlib.contextmanager
def replicated(*, synchronous: bool = True) -> Iterator[Replicated]:
    """Start a primary and a standby for one test, which may kill them."""
    pair = Replicated(synchronous=synchronous)
    try:
        yield pair
    finally:
        pair.close()
