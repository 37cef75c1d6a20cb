"""Consume in tests, and see what became of deliveries."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import sqlalchemy as sa

from tests.support.attempts import Broken, failing, start
from tests.support.rows import query, states
from zrb_store import (
    LeaseLost,
    Run,
    Store,
    StoreUnavailable,
    open_store,
)
from zrb_store.db.transaction import set_callback
from zrb_store.run.deliveries import Delivery


def attempts(store: Store) -> list[tuple[Any, ...]]:
    """Return the task, the number, the status and the error of each delivery."""
    found = query(store, "SELECT task, number, status, error_type FROM zrb_attempt WHERE kind = 'delivery' ORDER BY id")
    return [tuple(row) for row in found]


def deliveries_of(store: Store) -> list[int]:
    """Return how often each value of the inbox was delivered without success."""
    sql = (
        "SELECT v.failed_deliveries FROM zrb_value v JOIN zrb_queue q ON q.id = v.queue_id "
        "JOIN zrb_session s ON s.id = q.session_id WHERE s.name = 'inbox' ORDER BY v.seq"
    )
    return [row[0] for row in query(store, sql)]


def two_deaths(store: Store, inbox: str = "inbox") -> None:
    """Let a worker take four values of a queue; it cannot decode two of them, which die at once."""
    queue = store.session(inbox).xcom["files"]
    queue.max_deliveries = 1
    queue.extend(["a", "corrupt-1", "b", "corrupt-22"])
    store.database.execute(sa.text("UPDATE zrb_value SET pushed_at = pushed_at - 9000000"))  # a moment has no history
    with store.session("worker").run() as run:
        for delivery in run.consume(queue):
            with contextlib.suppress(ValueError), delivery as value:
                if value.startswith("corrupt"):
                    raise ValueError(f"cannot decode {value}")


def consume(run: Run, queue: Any, work: Callable[[Any], object], **options: Any) -> None:
    """Consume a queue, and call a function with each value."""
    for delivery in run.consume(queue, **options):
        with delivery as value:
            work(value)


def taken(run: Run, queue: Any, **options: Any) -> list[Any]:
    """Consume a queue, and return what its deliveries had."""
    seen: list[Any] = []
    consume(run, queue, seen.append, **options)
    return seen


def raising(error: BaseException) -> Callable[[Any], None]:
    """Return a function that raises an exception."""

    def work(value: Any) -> None:
        raise error

    return work


def fail(delivery: Delivery) -> bool:
    with delivery:
        raise Broken
    return True


def hold_a_delivery(pipe: Connection, location: str, session: str) -> None:
    """Take a value, push to another session, and do what the test says."""
    with open_store(location) as store:
        done = store.session("done").xcom["files"]
        try:
            with store.session(session).run(again=True) as run:
                for delivery in run.consume(store.session("inbox").xcom["files"]):
                    with delivery as value:
                        done.push(value)
                        pipe.send(value)
                        assert pipe.recv() == "go on"
                pipe.send("the queue is empty")
        except LeaseLost as error:
            pipe.send(str(error))


_numbers = itertools.count(1)


def deliver(store: Store, do: Callable[[], Any], times: int = 1) -> None:
    """Let attempts of as many workers call `do` and fail."""
    for _ in range(times):
        run = start(store, f"worker-{next(_numbers)}")
        failing(run, "convert", do)
        run.end("failed")


def fates(store: Store, session: str = "inbox", queue: str = "files") -> list[tuple[Any, str, int]]:
    """Return each value that was ever in the queue with its state and its count of deliveries."""
    counts = query(
        store,
        "SELECT v.failed_deliveries FROM zrb_value v JOIN zrb_queue q ON q.id = v.queue_id JOIN zrb_session s "
        f"ON s.id = q.session_id WHERE s.name = '{session}' AND q.name = '{queue}' ORDER BY v.seq",
    )
    return [(*one, count) for one, (count,) in zip(states(store, session, queue), counts, strict=True)]


def unavailable_at(point: str) -> None:
    """Let the store fail once at a point."""

    def reached(name: str) -> None:
        if name == point:
            set_callback(previous)
            raise StoreUnavailable(f"at {point}")

    previous = set_callback(reached)


def poison(store: Store) -> Any:
    """Make a queue of a session that completed; one of its values is dead, one is live, and one was taken."""
    with store.session("s").run(task="load") as run:
        queue = store.session("s").xcom["q"]
        queue.max_deliveries = 1
        queue.extend(["deadly", "live", "taken"])
        run.task("load", lambda: 1)
    deliver(store, queue.pop)
    assert queue.popright() == "taken"
    return queue
