"""The values of a description in columns, in which they take a quarter of the room; page.js unpacks them."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import Any

from zrb_store.inspect.timeline import micros

_CONSTANT = (
    "state",
    "type",
    "size",
    "pushed_by",
    "pushed_from",
    "taken_by",
    "popped_by",
    "moved_from",
    "orphaned",
    "deliveries",
)


def packed(described: dict[str, Any]) -> dict[str, Any]:
    """Return the description in which each queue's values are columns.

    What a row says twice is left out: its id (the queue and its seq) and when it was taken (it ended then).
    """
    queues = {name: {**queue, "values": _columns(queue["values"])} for name, queue in described["queues"].items()}
    return {**described, "queues": queues}


def _columns(values: Sequence[dict[str, Any]]) -> dict[str, Any]:
    pushed_at = [micros(value["pushed_at"]) for value in values]
    since = pushed_at[0] if pushed_at else 0
    columns = {
        # In seconds and what is left: a long number would become {"$": "number"} (`as_json`).
        "since": divmod(since, 1_000_000),
        "seq": _runs(_steps(value["seq"] for value in values)),
        "pushed_at": _runs(_steps(at - since for at in pushed_at)),
        "ended_at": _runs(_after(values, pushed_at, "ended_at")),
        "undone_at": _runs(_after(values, pushed_at, "undone_at")),
        **{name: _column([value[name] for value in values]) for name in _CONSTANT},
        "value": [value["value"] for value in values],
        "returns": {place: value["returns"] for place, value in enumerate(values) if value["returns"]},
        "beginning": {place: value["beginning"] for place, value in enumerate(values) if "beginning" in value},
    }
    return {"count": len(values), "columns": columns}


def _steps(numbers: Iterable[int]) -> list[int]:
    """Return the first number and by how much each other one is greater than the one before."""
    return [number - before for before, number in itertools.pairwise(itertools.chain([0], numbers))]


def _after(values: Sequence[dict[str, Any]], since: list[int], name: str) -> list[int | None]:
    return [
        None if value[name] is None else micros(value[name]) - start for value, start in zip(values, since, strict=True)
    ]


def _column(items: list[Any]) -> Any:
    """Return a column; one of texts refers to a list of the different ones."""
    if not any(type(item) is str for item in items):
        return _runs(items)
    names = list(dict.fromkeys(items))
    place = {name: number for number, name in enumerate(names)}
    return {"names": names, "places": _runs([place[item] for item in items])}


def _runs(items: list[Any]) -> Any:
    """Return the items, or each one with how often it follows itself, whichever is shorter."""
    runs: list[Any] = []
    for item, group in itertools.groupby(items):
        runs += (item, sum(1 for _ in group))
        if len(runs) > len(items):
            return items
    return {"runs": runs}
