"""Connections to a server, and first questions over them, for no longer than somebody waits for the answer."""

from __future__ import annotations

import contextlib
import select as readiness
import socket
from collections.abc import Iterator
from contextvars import ContextVar
from typing import TYPE_CHECKING, TypeAlias

from zrb_store.db.clock import clock

if TYPE_CHECKING:
    import psycopg
    import sqlalchemy as sa
    from psycopg.rows import TupleRow


ServerConnection: TypeAlias = "psycopg.Connection[TupleRow]"

SECONDS = 10.0  # how long the server may take to answer: as long as it may take to accept a connection
_LEAST = 1.0  # seconds, although somebody waits less long

connect_until: ContextVar[float | None] = ContextVar("zrb_store_connect_until", default=None)
"""When a server must have answered, by `clock.monotonic`; None if that is not limited."""


@contextlib.contextmanager
def until(deadline: float) -> Iterator[None]:
    """Wait for a server no longer than this within a block."""
    token = connect_until.set(deadline)
    try:
        yield
    finally:
        connect_until.reset(token)


def connect(engine: sa.Engine, deadline: float) -> ServerConnection:
    """Open a connection. Give up at the deadline, by `clock.monotonic`."""
    with until(deadline):
        connection = engine.raw_connection()
    driver: ServerConnection | None = connection.driver_connection
    assert driver is not None
    connection.detach()  # nobody but us closes it
    return driver


def addresses(hosts: str) -> int:
    """Return how many addresses the driver tries one after the other, each for as long as a connection may take."""
    count = 0
    for host in hosts.split(","):
        try:
            found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM) if host and host[0] not in "/@" else [()]
        except OSError:  # the driver says so
            found = [()]
        count += len(found)
    return count


def answer(driver: ServerConnection, sql: str) -> list[bytes]:
    """Return the first row of a query that the server answers at once; an empty list if there is no row.

    A pooler accepts connections even if its server does not answer, and would let this process wait. The query has no
    parameters, and none of its fields is null. An error of psycopg says that the server did not answer in time.
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
    """Whether a pooler, which gives each client a number of its own, is before the server session of this number."""
    return bool(backend != driver.pgconn.backend_pid)
