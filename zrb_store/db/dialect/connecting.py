"""Connections to a server, and first questions over them, for no longer than somebody waits for the answer."""

from __future__ import annotations

import contextlib
import select as readiness
import socket
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from zrb_store.db.clock import clock
from zrb_store.db.patience import connect_until

if TYPE_CHECKING:
    import psycopg
    import sqlalchemy as sa
    from sqlalchemy.pool import PoolProxiedConnection


ServerConnection: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"

SECONDS = 10.0
"""How long the server may take to answer: as long as it may take to accept a connection."""
_LEAST = 1.0  # seconds, although somebody waits less long


@contextlib.contextmanager
def until(deadline: float) -> Iterator[None]:
    """Wait for a server no longer than this within a block.

    Args:
        deadline: When the server must have answered, by `clock.monotonic`.
    """
    token = connect_until.set(deadline)
    try:
        yield
    finally:
        connect_until.reset(token)


def connect(engine: sa.Engine, deadline: float) -> PoolProxiedConnection:
    """Open a connection.

    Args:
        engine: The engine of the server. It asks `connect_until` when to give up.
        deadline: When to give up, by `clock.monotonic`.
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


def answer(driver: ServerConnection, sql: str) -> list[bytes]:
    """Return the first row of a query that the server answers at once; an empty list if there is no row.

    A pooler accepts connections even if its server does not answer, and would let this process wait.

    Args:
        driver: A psycopg connection that nobody else uses.
        sql: A query without parameters, none of whose fields is null.

    Raises:
        psycopg.Error: The server did not answer in time, or answered with an error.
    """
    import psycopg

    pgconn = driver.pgconn
    until = connect_until.get()
    seconds = SECONDS if until is None else min(SECONDS, max(_LEAST, until - clock.monotonic()))
    deadline = clock.monotonic() + seconds
    poll = readiness.poll()
    poll.register(driver.fileno(), readiness.POLLIN)
    pgconn.send_query(sql.encode())
    pgconn.flush()
    rows: list[bytes] = []
    while True:
        while pgconn.is_busy():
            if not poll.poll(max(0.0, deadline - clock.monotonic()) * 1000):
                raise psycopg.OperationalError(f"the server has not answered for {seconds:.0f} s")
            pgconn.consume_input()
        result = pgconn.get_result()
        if result is None:
            return rows
        if result.error_message:
            raise psycopg.errors.error_from_result(result)
        if result.ntuples and not rows:
            rows = [result.get_value(0, column) or b"" for column in range(result.nfields)]


def is_pooled(driver: ServerConnection, backend: int) -> bool:
    """Whether there is a pooler between a connection and its server session, which is number `backend`.

    To each client a pooler gives a number of its own, because it must know whose statement a client wants to cancel.
    """
    return bool(backend != driver.pgconn.backend_pid)
