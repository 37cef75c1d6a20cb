"""A proxy in front of a PostgreSQL server, which cuts connections where a test wants it."""

from __future__ import annotations

import contextlib
import select
import shutil
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
from sqlalchemy.engine import make_url


class Proxy:
    """A proxy that forwards data between clients and the server.

    Attributes:
        server: The path of the socket of the server.
        folder: The folder of its socket, to be used by clients like that of a server.
        cut_after: The number of bytes, of both sides together, after which each connection is cut. None for never.
        cut_at: The next message of a client that contains these bytes cuts its connection. None for never.
        answered: Whether that message reaches the server, whose answer is then lost.
        passed: The number of bytes that the newest connection has forwarded.
    """

    def __init__(self, server: Path) -> None:
        self.server = str(server / ".s.PGSQL.5432")
        self.folder = Path(tempfile.mkdtemp(prefix="zrb-proxy-", dir="/tmp"))
        self.cut_after: int | None = None
        self.cut_at: bytes | None = None
        self.answered = False
        self.passed = 0
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self.folder / ".s.PGSQL.5432"))
        self.folder.chmod(0o755)  # a pooler may run under another account
        (self.folder / ".s.PGSQL.5432").chmod(0o777)
        self._listener.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Accept no more connections."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        shutil.rmtree(self.folder)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # the listener was closed
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._pass_on, args=(client,), daemon=True).start()

    def _pass_on(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError), client, socket.socket(socket.AF_UNIX) as server:
            server.connect(self.server)
            self.passed = 0
            target = {client: server, server: client}
            while True:
                for source in select.select([client, server], [], [])[0]:
                    data = source.recv(65536 if self.cut_after is None else max(self.cut_after - self.passed, 1))
                    self.passed += len(data)
                    if source is client and self.cut_at is not None and self.cut_at in data:
                        self.cut_at = None
                        if self.answered:
                            server.sendall(data)
                            server.recv(65536)
                        return
                    if not data or (self.cut_after is not None and self.passed > self.cut_after):
                        return
                    target[source].sendall(data)


@contextlib.contextmanager
def proxy(server: Path) -> Iterator[Proxy]:
    """Start a proxy in front of the server whose socket is in this folder."""
    made = Proxy(server)
    try:
        yield made
    finally:
        made.close()


class Interrupted:
    """psycopg's connection, after whose loss something happens to the servers."""

    def __init__(self, driver: psycopg.Connection[Any], then: Callable[[], object]) -> None:
        self._driver = driver
        self._then = then

    def __getattr__(self, name: str) -> Any:
        return getattr(self._driver, name)

    def execute(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return self._driver.execute(*args, **kwargs)
        except psycopg.OperationalError:
            self._then()
            raise


BEFORE, AFTER = "before it is sent", "after it was sent"
MOMENTS = [BEFORE, AFTER]


def cut(between: Proxy, moment: str, at: bytes = b"COMMIT\0") -> None:
    """Cut the connection that sends this statement next, before or after it reaches the server."""
    between.answered = moment == AFTER
    between.cut_at = at


def through(folder: Any, location: str) -> str:
    """Return the URL of a store behind another socket."""
    return make_url(location).update_query_dict({"host": str(folder)}).render_as_string(hide_password=False)
