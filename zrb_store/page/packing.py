"""The values of a description in columns, in which they take a quarter of the room; page.js unpacks them."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

from zrb_store.inspect.report import Report, ReportQueue, ReportValue
from zrb_store.json_tree import JsonObject, JsonTree

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


def packed(report: Report, program: str) -> JsonObject:
    """Return the description of a report in which each queue's values are columns.

    What a row says twice is left out: its id (the queue and its seq) and when it was taken (it ended then).

    Args:
        report: The report.
        program: What a reader types before the name of a command.
    """
    return {"program": program, **report.to_json(_packed_queue)}


def _packed_queue(queue: ReportQueue) -> JsonObject:
    return queue.to_json(_columns(queue.values))


def _columns(values: Sequence[ReportValue]) -> JsonObject:
    shapes = [each.value.to_json() for each in values]
    pushed_at = [each.value.record.pushed_at for each in values]
    since = pushed_at[0] if pushed_at else 0
    ended_at = [each.value.record.ended_at for each in values]
    columns: JsonObject = {
        # In seconds and what is left: a long number would become {"$": "number"} (`as_json`).
        "since": divmod(since, 1_000_000),
        "seq": _runs(_steps(each.value.record.seq for each in values)),
        "pushed_at": _runs(_steps(at - since for at in pushed_at)),
        "ended_at": _runs(_after(pushed_at, ended_at)),
        "undone_at": _runs(_after(pushed_at, [each.undone_at for each in values])),
        **{name: _column([shape[name] for shape in shapes]) for name in _CONSTANT},
        "value": [shape["value"] for shape in shapes],
        "returns": {str(place): shape["returns"] for place, shape in enumerate(shapes) if shape["returns"]},
        "beginning": {str(place): each.beginning for place, each in enumerate(values) if each.beginning is not None},
    }
    return {"count": len(values), "columns": columns}


def _steps(numbers: Iterable[int]) -> list[int]:
    """Return the first number and by how much each other one is greater than the one before."""
    return [number - before for before, number in itertools.pairwise(itertools.chain([0], numbers))]


def _after(since: list[int], times: list[int | None]) -> list[int | None]:
    return [None if at is None else at - start for start, at in zip(since, times, strict=True)]


def _column(items: list[JsonTree]) -> JsonTree:
    """Return a column; one of texts refers to a list of the different ones."""
    if not any(type(item) is str for item in items):
        return _runs(items)
    names = list(dict.fromkeys(items))
    place = {name: number for number, name in enumerate(names)}
    return {"names": names, "places": _runs([place[item] for item in items])}


def _runs(items: Sequence[JsonTree]) -> JsonTree:
    """Return the items, or each one with how often it follows itself, whichever is shorter."""
    runs: list[JsonTree] = []
    for item, group in itertools.groupby(items):
        runs += (item, sum(1 for _ in group))
        if len(runs) > len(items):
            return items
    return {"runs": runs}
