"""The interface of every contestant, and zrb-store as a contestant: through its API, and below the API."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zrb_store import codec, open_store
from zrb_store.attempt import Attempt
from zrb_store.queries import takes, values
from zrb_store.queries.pushers import NOBODY
from zrb_store.runtime import lease
from zrb_store.store import Store

SMALL = {"id": 4711, "file": "2026-11-24/part-0000001.csv", "rows": 1043200}
"""A value of 63 bytes as JSON, the size of a small value in all measurements."""

assert len(json.dumps(SMALL, separators=(",", ":"))) == 63

RAW = "raw driver"
API = "zrb-store"
BELOW = "zrb-store, below the API"


@dataclass(frozen=True)
class Queue:
    """The operations that are compared; None if a contestant does not have one."""

    push: Callable[[Any], Any]
    pop: Callable[[], Any]
    peek: Callable[[], Any] | None = None
    newest: Callable[[], Any] | None = None
    length: Callable[[], int] | None = None
    extend: Callable[[list[Any]], Any] | None = None
    iterate: Callable[[], Iterator[Any]] | None = None
    tidy: Callable[[], Any] = lambda: None  # run after each turn, and not timed: deletes taken values
    close: Callable[[], Any] = lambda: None


@contextlib.contextmanager
def live_attempt(location: str | Path) -> Iterator[tuple[Store, Attempt]]:
    """Create a store, and yield it with an attempt of a live run."""
    with open_store(location) as store:
        run = store.session("benchmark").run().start()
        lease.stop_renewing(run)  # the lease's thread would disturb a benchmark that bypasses the store's lock
        yield store, run.begin("work")
        run.end("failed")


def api(store: Store, attempt: Attempt, name: str = "values") -> Queue:
    """Return `session.xcom[name]`, used as in a task, that is, inside its attempt."""
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
    """Return the compiled statements on the driver's connection, with encoding and decoding, but without the API."""
    connection = store.database.transact(lambda transaction: transaction)
    queue_id = attempt.xcom.queue_id(name)

    def pop() -> Any:
        found = takes.take(connection, queue_id, attempt.id, NOBODY) or takes.take_whole(
            connection, queue_id, attempt.id
        )
        if found is None:
            raise IndexError
        return codec.decode(found[1])

    def peek(right: bool = False) -> Any:
        found = (values.peek_newest if right else values.peek)(connection, queue_id, NOBODY)
        if found is None:
            raise IndexError
        return codec.decode(found[1])

    return Queue(
        push=lambda value: values.push(connection, queue_id, codec.encode(value), attempt.id),
        pop=pop,
        peek=peek,
        newest=lambda: peek(right=True),
        length=lambda: values.count(connection, queue_id, NOBODY) or 0,
    )
