"""The differences that `diff` shows: where the values of two sessions, and the results of their steps, differ."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeAlias

from zrb_store import codec
from zrb_store.codec.compare import Difference, differences, list_differences
from zrb_store.codec.display import key_segment
from zrb_store.db.engine import Database
from zrb_store.db.transaction import Transaction
from zrb_store.queries import sessions
from zrb_store.queries.queues import queue_ids
from zrb_store.queries.show import count_standing, differing_steps, standing_data
from zrb_store.records import JsonObject, JsonValue, Lazy
from zrb_store.wings import kinds, load

Compare: TypeAlias = Callable[[Transaction, Sequence[str], Iterable[str]], Iterator[Difference]]
"""Finds where tasks of two sessions with these names differ."""


def comparison(names: Sequence[str], differences: Iterable[Difference]) -> JsonObject:
    """Return the differences of two sessions as `diff --format json` shows them."""
    return {"a": names[0], "b": names[1], "differences": (each._asdict() for each in differences)}


@contextmanager
def diff(database: Database, a: str, b: str) -> Iterator[Iterator[Difference]]:
    """Find where the values of two sessions differ, as long as the block is open.

    The values that are live or taken are compared, in the order of each queue, and the results of steps that are done,
    by task and name.
    """
    with database.snapshot() as transaction:
        ids = [sessions.get(transaction, name).id for name in (a, b)]
        of_values = _differences(*(_queues(transaction, name) for name in (a, b)))
        yield itertools.chain(of_values, _step_differences(transaction, *ids, names=(a, b)))


def _queues(transaction: Transaction, session: str) -> dict[str, Lazy[JsonValue]]:
    """Return the live or taken values of each queue that has some, in the order of the queues' first push."""
    ids = queue_ids(transaction, session)
    counts = ((queue_id, queue, count_standing(transaction, queue_id)) for queue, queue_id in ids.items())
    return {
        queue: Lazy(functools.partial(_contents, transaction, queue_id), count)
        for queue_id, queue, count in counts
        if count
    }


def _contents(transaction: Transaction, queue_id: int) -> Iterator[JsonValue]:
    return map(codec.to_json, standing_data(transaction, queue_id))


def _differences(a: dict[str, Lazy[JsonValue]], b: dict[str, Lazy[JsonValue]]) -> Iterator[Difference]:
    for queue in dict.fromkeys([*a, *b]):
        path = f"${key_segment(queue)}"
        if queue in a and queue in b:
            yield from list_differences(a[queue], b[queue], path)
        else:
            yield Difference(path, "only_a" if queue in a else "only_b", a.get(queue), b.get(queue))


def _step_differences(transaction: Transaction, a: int, b: int, *, names: Sequence[str]) -> Iterator[Difference]:
    others: dict[str, dict[str, None]] = {}  # by what finds their differences, tasks with steps of kinds of wings
    for task, kind, step, *results in differing_steps(transaction, a, b):
        of_wing = kinds().get(kind)
        if of_wing is not None and of_wing.differences is not None:
            others.setdefault(of_wing.differences, {})[task] = None
            continue
        path = f"${key_segment(task)}.steps{key_segment(step)}"
        one, two = (None if data is None else codec.to_json(data) for data in results)
        if None in results:
            yield Difference(path, "only_b" if results[0] is None else "only_a", one, two)
        else:
            yield from differences(one, two, path)
    for place, tasks in others.items():
        compare: Compare = load(place)
        yield from compare(transaction, names, tasks)
