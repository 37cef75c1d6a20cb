"""The picture of a queue: how many values were in it over time, how many were taken, and which died."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from zrb_store.page.content import Report
from zrb_store.queries.history import Value
from zrb_store.records import ErrorRecord, by_key
from zrb_store.render.format import counted, error_note

_BINS = 120  # of time
_LEAST = 1_000_000  # microseconds: what took less is not worth drawing


class Mark(NamedTuple):
    """Something between two places, with what is said of it and the id of what it leads to."""

    left: float
    right: float
    status: str = ""
    title: str = ""
    link: str = ""
    height: float = 100  # percent
    is_faded: bool = False  # it stands for what was tried again


@dataclass(frozen=True)
class Depth:
    """What is drawn of queues over time. Places from left to right are percents."""

    start: int  # microseconds
    end: int
    most: int  # values at a time
    line: str  # the points of how many values were in the queues
    rates: Sequence[Mark]  # how many were taken
    most_per_minute: int
    deaths: Sequence[Mark]
    errors: Sequence[tuple[str, int]]  # why values died, each with how many


def depth_of(report: Report, program: str) -> Depth | None:
    """Describe the queues of a report; None if they were not used long enough to be drawn."""
    values = [value for each in report.queues for value in each.values]
    times = [(each.record.pushed_at, each.record.ended_at or 0) for each in values]
    start = min((pushed_at for pushed_at, _ in times), default=0)
    end = max((max(both) for both in times), default=0)
    if end - start < _LEAST:
        return None
    taken = _takes(values)
    died = [each for each in values if each.record.state == "dead" and each.record.ended_at is not None]
    depths, rates = _depths(values, start, end), _binned(taken, start, end)
    most, most_taken, width = max(1, *depths), max(rates.values(), default=1), 100 / (_BINS + 1)
    points = ((place * 100 / _BINS, 100 - max(0, depth) * 100 / most) for place, depth in enumerate(depths))
    return Depth(
        start,
        end,
        most,
        line=" ".join(f"{x:.1f},{y:.1f}" for x, y in points),
        rates=[
            Mark(place * width, (place + 0.8) * width, height=count * 100 / most_taken)
            for place, count in sorted(rates.items())
        ],
        most_per_minute=_most_per_minute(taken, start, end),
        deaths=[
            Mark(place * width, place * width, title=f"{counted(count, 'value')} died")
            for place, count in _binned([each.record.ended_at or 0 for each in died], start, end).items()
        ],
        errors=_grouped((each.returns[-1].error for each in died if each.returns), program),
    )


def _binned(times: Iterable[int], start: int, end: int) -> Counter[int]:
    """Count times in equal parts of the time between two others."""
    return Counter((at - start) * _BINS // (end - start) for at in times)


def _takes(values: Sequence[Value]) -> list[int]:
    """Return when values were taken, also those that came back."""
    returned = [each.record.taken_at for value in values for each in value.returns if not each.ended_death]
    return [each.taken_at for each in values if each.taken_at] + returned


def _depths(values: Sequence[Value], start: int, end: int) -> list[int]:
    """Return how many values were in their queues at the end of each part of the time."""
    returns = [each.record for value in values for each in value.returns]
    left = [each.record.ended_at for each in values if each.record.ended_at is not None]
    more = _binned([*(each.record.pushed_at for each in values), *(each.returned_at for each in returns)], start, end)
    fewer = _binned([*left, *(each.taken_at for each in returns)], start, end)
    return list(itertools.accumulate(more[place] - fewer[place] for place in range(_BINS + 1)))


def _most_per_minute(taken: Sequence[int], start: int, end: int) -> int:
    length = max(60_000_000, (end - start) // _BINS)  # a rate of less than a minute says nothing of a minute
    per_length = Counter((at - start) // length for at in taken)
    return round(max(per_length.values(), default=0) * 60_000_000 / length)


def _grouped(errors: Iterable[ErrorRecord | None], program: str) -> list[tuple[str, int]]:
    """Count errors that differ in numbers only."""
    texts = Counter(error_note(each, program) for each in errors if each)
    groups = by_key(texts, lambda text: re.sub(r"\d+(?:[.,:]\d+)*", "*", text))
    counts = [(same if own[1:] else own[0], sum(texts[text] for text in own)) for same, own in groups.items()]
    return sorted(counts, key=lambda each: -each[1])[:4]
