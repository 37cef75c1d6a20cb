"""What `diff` shows: where the values of two sessions differ."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from zrb_store import codec
from zrb_store.codec.differences import list_differences
from zrb_store.codec.display import key_segment
from zrb_store.db.engine import Database
from zrb_store.db.transaction import Transaction
from zrb_store.inspect.lazy import Lazy
from zrb_store.queries import sessions
from zrb_store.queries.diff import count_standing, standing_data
from zrb_store.queries.show import queue_names


@contextmanager
def diff(database: Database, a: str, b: str) -> Iterator[dict[str, Any]]:
    """Find where the values of two sessions differ, in the shape of `diff --format json`.

    The values that are live or taken are compared, in the order of each queue. The differences are an iterator, which
    can be used once and within the block.

    Args:
        database: Where the sessions are.
        a: Full name of the one session.
        b: Full name of the other session.

    Raises:
        SessionNotFound: There is no session of one of these names.
    """
    with database.snapshot() as transaction:
        queues_of_a, queues_of_b = _queues(transaction, a), _queues(transaction, b)
        yield {"a": a, "b": b, "differences": _differences(queues_of_a, queues_of_b)}


def _queues(transaction: Transaction, name: str) -> dict[str, Lazy[Any]]:
    """Return the live or taken values of each queue that has some, in the order of the queues' first push."""
    names = queue_names(transaction, sessions.get(transaction, name).id)
    counts = ((queue_id, queue, count_standing(transaction, queue_id)) for queue_id, queue in names.items())
    return {
        queue: Lazy(functools.partial(_standing, transaction, queue_id), count)
        for queue_id, queue, count in counts
        if count
    }


def _standing(transaction: Transaction, queue_id: int) -> Iterator[Any]:
    return map(codec.to_json, standing_data(transaction, queue_id))


def _differences(a: dict[str, Lazy[Any]], b: dict[str, Lazy[Any]]) -> Iterator[dict[str, Any]]:
    for queue in dict.fromkeys([*a, *b]):
        path = f"${key_segment(queue)}"
        if queue in a and queue in b:
            yield from list_differences(a[queue], b[queue], path)
        else:
            kind = "only_a" if queue in a else "only_b"
            yield {"path": path, "kind": kind, "a": a.get(queue), "b": b.get(queue)}
