"""A proxy in front of a PostgreSQL server, which cuts connections where a test wants it."""

from __future__ import annotations

import contextlib
import select
import shutil
import socket
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path


class Proxy:
    """A proxy that forwards data between clients and the server.

    Attributes:
        folder: The folder of its socket, to be used by clients like that of a server.
        cut_after: The number of bytes, of both sides together, after which each connection is cut. None for never.
        passed: The number of bytes that the newest connection has forwarded.
    """

    def __init__(self, server: Path) -> None:
        self._server = str(server / ".s.PGSQL.5432")
        self.folder = Path(tempfile.mkdtemp(prefix="zrb-proxy-", dir="/tmp"))
        self.cut_after: int | None = None
        self.passed = 0
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self.folder / ".s.PGSQL.5432"))
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
            server.connect(self._server)
            self.passed = 0
            target = {client: server, server: client}
            while True:
                for source in select.select([client, server], [], [])[0]:
                    data = source.recv(65536 if self.cut_after is None else max(self.cut_after - self.passed, 1))
                    self.passed += len(data)
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
