"""What `diff` shows: where the values of two sessions, and the results of their steps, differ."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from zrb_store import codec
from zrb_store.codec.differences import differences, list_differences
from zrb_store.codec.display import key_segment
from zrb_store.db.engine import Database
from zrb_store.db.transaction import Transaction
from zrb_store.inspect.lazy import Lazy
from zrb_store.queries import sessions
from zrb_store.queries.diff import count_standing, differing_steps, standing_data
from zrb_store.queries.show import queue_names


@contextmanager
def diff(database: Database, a: str, b: str) -> Iterator[dict[str, Any]]:
    """Find where the values of two sessions differ, in the shape of `diff --format json`.

    The values that are live or taken are compared, in the order of each queue, and the results of steps that are done,
    by task and name. The differences are an iterator, which
    can be used once and within the block.

    Args:
        database: Where the sessions are.
        a: Full name of the one session.
        b: Full name of the other session.

    Raises:
        SessionNotFound: There is no session of one of these names.
    """
    with database.snapshot() as transaction:
        ids = [sessions.get(transaction, name).id for name in (a, b)]
        of_values = _differences(*(_queues(transaction, session_id) for session_id in ids))
        yield {"a": a, "b": b, "differences": itertools.chain(of_values, _step_differences(transaction, *ids))}


def _queues(transaction: Transaction, session_id: int) -> dict[str, Lazy[Any]]:
    """Return the live or taken values of each queue that has some, in the order of the queues' first push."""
    names = queue_names(transaction, session_id)
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


def _step_differences(transaction: Transaction, a: int, b: int) -> Iterator[dict[str, Any]]:
    for step in differing_steps(transaction, a, b):
        path = f"${key_segment(step.task)}.steps{key_segment(step.step)}"
        one, two = (None if data is None else codec.to_json(data) for data in (step.a, step.b))
        if step.a is not None and step.b is not None:
            yield from differences(one, two, path)
        else:
            yield {"path": path, "kind": "only_b" if step.a is None else "only_a", "a": one, "b": two}
