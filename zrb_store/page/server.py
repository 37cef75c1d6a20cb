"""The server of `zrb-store page`: uvicorn on one socket, for as long as nobody ends it."""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING

from zrb_store.errors import ZrbStoreError
from zrb_store.page.access import TOKEN, App, OnThisMachine, WithToken, is_loopback, new_token

if TYPE_CHECKING:
    import uvicorn

    from zrb_store.page.watcher import Watcher

_WAIT = 3  # seconds for answers under way when the server ends


def missing_parts() -> str | None:
    """Return what to do if the server's libraries are not installed."""
    from importlib.util import find_spec

    if all(find_spec(name) for name in ("starlette", "uvicorn")):
        return None
    return 'the page needs a web server: pip install "zrb-store[page]"'


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens.

    Args:
        host: A name or an address.
        port: The port; 0 for any that is free.

    Raises:
        ZrbStoreError: The port is in use or not allowed, or there is no such host.
    """
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


def address_of(listener: socket.socket, host: str) -> str:
    """Return the address of the page as a browser takes it."""
    port = listener.getsockname()[1]
    name = socket.gethostname() if host in ("0.0.0.0", "::", "") else host
    return f"http://{f'[{name}]' if ':' in name else name}:{port}/"


def serve(listener: socket.socket, host: str, program: str, tell: Callable[[str], object]) -> None:
    """Serve the pages until a signal ends that.

    Args:
        listener: A socket that listens.
        host: The host that was asked for. Unless it is this machine alone, a token is needed, which is printed.
        program: What the user types before the name of a command.
        tell: Tells the user the address.
    """
    import uvicorn  # late, as all that follows: the command says before whether its libraries are missing

    from zrb_store.page.app import Site
    from zrb_store.page.stores import Stores
    from zrb_store.page.watcher import Watcher

    stores = Stores()
    watcher = Watcher(stores)
    app: App = Site(stores, watcher, program).app()
    address = address_of(listener, host)
    if is_loopback(host):
        app = OnThisMachine(app)
    else:
        token = new_token()
        app = WithToken(app, token, listener.getsockname()[1])
        address += f"?{TOKEN}={token}"
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        lifespan="off",
        timeout_graceful_shutdown=_WAIT,
        server_header=False,
        ws="none",
    )
    server = _server(config, watcher)
    tell(address)
    try:
        with contextlib.suppress(KeyboardInterrupt):  # it is how the page is ended, and no failure
            server.run(sockets=[listener])
    finally:
        watcher.close()
        stores.close()
        listener.close()


def _server(config: uvicorn.Config, watcher: Watcher) -> uvicorn.Server:
    import uvicorn

    class Server(uvicorn.Server):
        """Lets open pages go before it waits for the answers under way."""

        def handle_exit(self, sig: int, frame: FrameType | None) -> None:
            watcher.close()
            super().handle_exit(sig, frame)

    return Server(config)
