"""Connections to a server, for no longer than somebody waits for them."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from zrb_store.db.waiting import connect_within


def connect(engine: sa.Engine, within: float) -> Any:
    """Open a connection.

    Args:
        engine: The engine of the server.
        within: After how many seconds to give up. The server's engine asks `connect_within` for them.
    """
    token = connect_within.set(within)
    try:
        return engine.raw_connection()
    finally:
        connect_within.reset(token)


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
