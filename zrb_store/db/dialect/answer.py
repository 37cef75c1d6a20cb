"""A question to a PostgreSQL server that is not waited for without end."""

from __future__ import annotations

import select as readiness
import time
from typing import Any

from zrb_store.db.waiting import connect_until

SECONDS = 10.0
"""How long the server may take to answer: as long as it may take to accept a connection."""
_LEAST = 1.0  # seconds, although somebody waits less long


def answer(driver: Any, sql: str) -> list[bytes]:
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
    seconds = SECONDS if until is None else min(SECONDS, max(_LEAST, until - time.monotonic()))
    deadline = time.monotonic() + seconds
    poll = readiness.poll()
    poll.register(driver.fileno(), readiness.POLLIN)
    pgconn.send_query(sql.encode())
    pgconn.flush()
    rows: list[bytes] = []
    while True:
        while pgconn.is_busy():
            if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
                raise psycopg.OperationalError(f"the server has not answered for {seconds:.0f} s")
            pgconn.consume_input()
        result = pgconn.get_result()
        if result is None:
            return rows
        if result.error_message:
            raise psycopg.errors.error_from_result(result)
        if result.ntuples and not rows:
            rows = [result.get_value(0, column) for column in range(result.nfields)]


def is_pooled(driver: Any, backend: int) -> bool:
    """Whether there is a pooler between a connection and its server session, which is number `backend`.

    To each client a pooler gives a number of its own, because it must know whose statement a client wants to cancel.
    """
    return bool(backend != driver.pgconn.backend_pid)
