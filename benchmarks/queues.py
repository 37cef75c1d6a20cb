"""What every contestant looks like, and zrb-store as one: through its API, and below it."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zrb_store import codec, lease, open_store
from zrb_store.attempt import Attempt
from zrb_store.queries import values
from zrb_store.store import Store

SMALL = {"id": 4711, "file": "2026-11-24/part-0000001.csv", "rows": 1043200}
"""A value of 63 bytes as JSON, the size that issue and measurements speak of."""

assert len(json.dumps(SMALL, separators=(",", ":"))) == 63

RAW = "raw driver"
API = "zrb-store"
BELOW = "zrb-store, below the API"


@dataclass(frozen=True)
class Queue:
    """The operations that are compared; None where a contestant has no such thing."""

    push: Callable[[Any], Any]
    pop: Callable[[], Any]
    peek: Callable[[], Any] | None = None
    newest: Callable[[], Any] | None = None
    length: Callable[[], int] | None = None
    extend: Callable[[list[Any]], Any] | None = None
    iterate: Callable[[], Iterator[Any]] | None = None
    tidy: Callable[[], Any] = lambda: None  # after each turn, not timed: forget what it keeps of taken values
    close: Callable[[], Any] = lambda: None


@contextlib.contextmanager
def live_attempt(location: str | Path) -> Iterator[tuple[Store, Attempt]]:
    """A new store and an attempt of a live run in it."""
    with open_store(location) as store:
        run = store.session("benchmark").run().start()
        lease.release(run)  # its thread would come between where a benchmark goes past the store's lock
        yield store, run.begin("work")
        run.end("failed")


def api(store: Store, attempt: Attempt, name: str = "values") -> Queue:
    """`session.xcom[name]`, used as a task does: inside its attempt."""
    xcoms = store.session(attempt.session).xcom
    return Queue(
        push=lambda value: xcoms[name].push(value),
        pop=lambda: xcoms[name].pop(),
        peek=lambda: xcoms[name].peek(),
        newest=lambda: xcoms[name].get(),
        length=lambda: len(xcoms[name]),
        extend=lambda many: xcoms[name].extend(many),
        iterate=lambda: iter(xcoms[name]),
    )


def below(store: Store, attempt: Attempt, name: str = "values") -> Queue:
    """The compiled statements on the driver connection, with encoding and decoding but without the Python API."""
    connection = store.database.transact(lambda transaction: transaction)
    of = attempt.xcom.queue_id(name)

    def pop() -> Any:
        found = values.take(connection, of, attempt.id)
        if found is None:
            raise IndexError
        return codec.decode(found[1])

    def peek(right: bool = False) -> Any:
        found = values.peek(connection, of, right=right)
        if found is None:
            raise IndexError
        return codec.decode(found[1])

    return Queue(
        push=lambda value: values.push(connection, of, codec.encode(value), attempt.id),
        pop=pop,
        peek=peek,
        newest=lambda: peek(right=True),
        length=lambda: values.count(connection, of),
    )
