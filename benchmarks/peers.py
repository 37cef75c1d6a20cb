"""The peers, with their default durability (`as shipped`), or with the durability that is compared (`NORMAL`, `FULL`).

They do less: only SQLiteAckQueue and LiteQueue keep taken values, none records who took them, and none can give back
what an attempt did. diskcache and persist-queue write pickle, which runs code on reading.
"""

from __future__ import annotations

import importlib
import json
import sqlite3
from collections.abc import Callable, Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from benchmarks.queues import Queue

Factory = Callable[[Path, str], Queue]

SHIPPED = "as shipped"


def diskcache_deque(folder: Path, synchronous: str) -> Queue:
    from diskcache import Cache, Deque

    level = {SHIPPED: 1, "NORMAL": 1, "FULL": 2}[synchronous]
    deque = Deque.fromcache(Cache(str(folder), eviction_policy="none", sqlite_synchronous=level))
    return Queue(
        push=deque.append,
        pop=deque.popleft,
        peek=deque.peekleft,
        newest=deque.peek,
        length=lambda: len(deque),
        extend=deque.extend,
        iterate=lambda: iter(deque),
        close=deque.cache.close,
    )


def persist_queue(folder: Path, synchronous: str) -> Queue:
    from persistqueue import SQLiteQueue

    queue = SQLiteQueue(str(folder), auto_commit=True)
    _set_synchronous(queue._conn, synchronous)
    return Queue(
        push=queue.put,
        pop=lambda: queue.get(block=False),
        length=lambda: len(queue),
        extend=lambda many: _each(queue.put, many),
        iterate=lambda: iter([item["data"] for item in queue.queue()]),
        close=queue.close,
    )


def persist_queue_ack(folder: Path, synchronous: str) -> Queue:
    from persistqueue import SQLiteAckQueue

    queue = SQLiteAckQueue(str(folder), auto_commit=True)
    _set_synchronous(queue._conn, synchronous)

    def pop() -> Any:
        item = queue.get(block=False)
        queue.ack(item)
        return item

    return Queue(
        push=queue.put,
        pop=pop,
        length=lambda: len(queue),
        extend=lambda many: _each(queue.put, many),
        iterate=lambda: iter([item["data"] for item in queue.queue()]),
        tidy=lambda: queue.clear_acked_data(max_delete=1_000_000, keep_latest=0),
        close=queue.close,
    )


def litequeue(folder: Path, synchronous: str) -> Queue:
    from litequeue import LiteQueue

    queue = LiteQueue(folder / "queue.db")
    _set_synchronous(queue.conn, synchronous)

    def pop() -> Any:
        message = queue.pop()
        queue.done(message.message_id)
        return json.loads(message.data)

    def extend(many: Iterable[Any]) -> None:
        with queue.transaction():
            for value in many:
                queue.put(json.dumps(value))

    return Queue(
        push=lambda value: queue.put(json.dumps(value)),
        pop=pop,
        peek=lambda: json.loads(queue.peek().data),
        length=queue.qsize,
        extend=extend,
        tidy=lambda: queue.prune(),
        close=queue.close,
    )


def huey(folder: Path, synchronous: str) -> Queue:
    from huey.storage import SqliteStorage

    storage = SqliteStorage(filename=str(folder / "huey.db"))
    _set_synchronous(storage.conn, synchronous)

    def push(value: Any) -> None:
        storage.enqueue(json.dumps(value).encode())

    return Queue(
        push=push,
        pop=lambda: json.loads(bytes(storage.dequeue())),
        length=storage.queue_size,
        extend=lambda many: _each(push, many),
        iterate=lambda: (json.loads(bytes(item)) for item in storage.enqueued_items()),
        close=storage.close,
    )


SQLITE: dict[str, tuple[str, Factory]] = {
    "diskcache.Deque": ("diskcache", diskcache_deque),
    "persist-queue SQLiteQueue": ("persist-queue", persist_queue),
    "persist-queue SQLiteAckQueue": ("persist-queue", persist_queue_ack),
    "litequeue": ("litequeue", litequeue),
    "huey SqliteStorage": ("huey", huey),
}
"""The queues on SQLite by name, each with the name of its package."""

PACKAGES = ("diskcache", "persist-queue", "litequeue", "huey", "dbos", "procrastinate")


def versions() -> dict[str, str | None]:
    """Return the version of each peer, None for one that is not installed."""
    return {package: _version(package) for package in PACKAGES}


def installed(*packages: str) -> bool:
    """Whether these peers are installed."""
    return all(_version(package) for package in packages)


def available() -> dict[str, Factory]:
    """Return the installed queues on SQLite."""
    return {name: factory for name, (package, factory) in SQLITE.items() if installed(package)}


def _version(package: str) -> str | None:
    try:
        importlib.import_module({"persist-queue": "persistqueue"}.get(package, package))
        return version(package)
    except (ImportError, PackageNotFoundError):
        return None


def _each(push: Callable[[Any], Any], many: Iterable[Any]) -> None:
    for value in many:
        push(value)


def _set_synchronous(connection: sqlite3.Connection, synchronous: str) -> None:
    if synchronous != SHIPPED:
        connection.execute(f"PRAGMA synchronous={synchronous}")
