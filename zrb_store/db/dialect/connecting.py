"""Connections to a server, for no longer than somebody waits for them."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from zrb_store.db.waiting import connect_until

if TYPE_CHECKING:
    import sqlalchemy as sa


@contextlib.contextmanager
def until(deadline: float) -> Iterator[None]:
    """Wait for a server no longer than this within a block.

    Args:
        deadline: When the server must have answered, by `time.monotonic`.
    """
    token = connect_until.set(deadline)
    try:
        yield
    finally:
        connect_until.reset(token)


def connect(engine: sa.Engine, deadline: float) -> Any:
    """Open a connection.

    Args:
        engine: The engine of the server. It asks `connect_until` when to give up.
        deadline: When to give up, by `time.monotonic`.
    """
    with until(deadline):
        return engine.raw_connection()


def addresses(parameters: Mapping[str, Any]) -> int:
    """Return how many addresses the driver tries one after the other, each for as long as a connection may take."""
    count = 0
    for host in str(parameters.get("host") or "").split(","):
        try:
            found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM) if host and host[0] not in "/@" else [()]
        except OSError:  # the driver says so
            found = [()]
        count += len(found)
    return count
