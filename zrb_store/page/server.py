"""The server of `zrb-store page`: uvicorn on one socket, for as long as nobody ends it."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import html
import socket
import tempfile
import webbrowser
from collections.abc import Callable
from pathlib import Path
from threading import Thread
from types import FrameType

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.auto import AutoHTTPProtocol

from zrb_store.errors import ZrbStoreError
from zrb_store.page.access import TOKEN, OnThisMachine, WithToken, is_loopback, new_token
from zrb_store.page.site import Site
from zrb_store.page.watcher import Watcher

_WAIT = 3  # seconds for answers that are not finished when the server ends
_HEADER = 10  # seconds that the header of a request may take
_MOST = 100  # connections: each takes a file descriptor, of which macOS allows 256
_BACKLOG = 25  # connections that one round of the event loop accepts; it takes three to close one that is too many


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens on a port; 0 for any that is free."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listener = socket.socket(family, socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise ZrbStoreError(f"the host {host!r} is not known here: {_reason(error)}") from None
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(128)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise ZrbStoreError(
                f"port {port} of {host} is in use: choose another one with --port, or 0 for any"
            ) from None
        raise ZrbStoreError(f"nothing can listen on port {port} of {host}: {_reason(error)}") from None
    return listener


def _reason(error: Exception) -> str:
    return (getattr(error, "strerror", None) or str(error)).lower()


def serve(
    listener: socket.socket, host: str, program: str, tell: Callable[[str], object], *, has_token: bool, opens: bool
) -> None:
    """Serve the pages until a signal ends that, and `tell` the user the address, and if no browser can be started.

    With `has_token`, the address carries a token, without which nothing is shown.
    """
    watcher = Watcher()
    app: ASGIApp = Site(watcher, program).app()
    port: int = listener.getsockname()[1]
    name = socket.gethostname() if host in ("0.0.0.0", "::", "") else host
    address = f"http://{f'[{name}]' if ':' in name else name}:{port}/"
    if has_token:
        token = new_token()
        app = WithToken(app, token, port)
        address += f"?{TOKEN}={token}"
    if is_loopback(host):
        app = OnThisMachine(app)
    config = uvicorn.Config(
        app,
        http=_protocol(),
        log_level="warning",
        access_log=False,
        lifespan="off",
        timeout_graceful_shutdown=_WAIT,
        server_header=False,
        ws="none",
        backlog=_BACKLOG,
    )
    server = _Server(config, watcher)
    tell(f"{address}  (Ctrl-C ends it)")
    with contextlib.ExitStack() as ending:
        ending.callback(listener.close)
        ending.callback(watcher.close)
        ending.enter_context(contextlib.suppress(KeyboardInterrupt))  # it is how the page is ended, and no failure
        if opens:
            folder = Path(ending.enter_context(tempfile.TemporaryDirectory(prefix="zrb-store-")))
            # The browser may not return before it is closed.
            Thread(target=_open, args=(folder / "page.html", address, tell), daemon=True).start()
        server.run(sockets=[listener])


def _open(file: Path, address: str, tell: Callable[[str], object]) -> None:
    """Open an address in the browser by a file that leads there: everybody may read the command line of the browser."""
    file.write_text(f'<meta http-equiv="refresh" content="0; url={html.escape(address)}">')
    if not webbrowser.open(file.as_uri()):
        tell("no browser could be started: open the address in one")


def _protocol() -> type[asyncio.Protocol]:
    """Return what uvicorn speaks HTTP with, for connections that hold nobody up."""
    kept: dict[Connection, None] = {}  # the oldest first

    class Connection(AutoHTTPProtocol):  # type: ignore[misc, valid-type]
        """Is closed if the header of a request takes too long, or if there are too many connections."""

        _deadline: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:
            super().connection_made(transport)
            kept[self] = None
            self._expect_header()
            if len(kept) > _MOST:
                # A page that is open keeps its connection, so the oldest of those that are not answered goes first.
                waiting = (each for each in kept if each is not self and not each.is_answering)
                next(waiting, next(iter(kept))).close()

        def connection_lost(self, exc: Exception | None) -> None:
            self._forget()
            super().connection_lost(exc)

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self._expect_header()

        @property
        def is_answering(self) -> bool:
            return self.cycle is not None and not self.cycle.response_complete

        def close(self) -> None:
            self._forget()
            self.transport.abort()

        def _expect_header(self) -> None:
            if self.is_answering:
                self._cancel()
            elif self._deadline is None and self in kept:
                self._deadline = asyncio.get_running_loop().call_later(_HEADER, self.close)

        def _forget(self) -> None:
            kept.pop(self, None)
            self._cancel()

        def _cancel(self) -> None:
            if self._deadline is not None:
                self._deadline.cancel()
                self._deadline = None

    return Connection


class _Server(uvicorn.Server):
    """Lets open pages go before it waits for answers that are not finished."""

    def __init__(self, config: uvicorn.Config, watcher: Watcher) -> None:
        super().__init__(config)
        self._watcher = watcher

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._watcher.close()
        super().handle_exit(sig, frame)
