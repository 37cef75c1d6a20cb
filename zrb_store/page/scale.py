"""Where times stand in the pictures of a session: its card, and the timeline below.

Pauses in which nothing worked are folded to a fixed width, and no work is too narrow to be seen.
"""

from __future__ import annotations

import itertools
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from zrb_store.inspect.trace import Span
from zrb_store.records import JsonObject, iso
from zrb_store.render.format import format_duration

_PAUSE, _PAUSES = 0.04, 0.4  # what a pause takes, and all of them together at most
_LEAST, _LEASTS = 0.15, 0.5  # what each stretch takes at least, if there are few; all of them together


class Stretch(NamedTuple):
    """Some work, and where it stands, in shares of the width."""

    span: Span
    left: float
    right: float
    pause: str = ""  # how long nothing had worked before it


class Scale:
    """Times as shares of a width, from the spans in which a session worked."""

    def __init__(self, work: Sequence[Span]) -> None:
        count = len(work)
        pause = min(_PAUSE, _PAUSES / max(1, count - 1))
        lengths = [max(1, span.end - span.start) for span in work]
        total = sum(lengths)
        shares = [max(length / total, min(_LEAST, _LEASTS / count)) for length in lengths]
        unit = (1 - pause * (count - 1)) / max(1, sum(shares))
        self.stretches: list[Stretch] = []
        left, end = 0.0, None
        for span, share in zip(work, shares, strict=True):
            right = left + share * unit
            self.stretches.append(Stretch(span, left, right, "" if end is None else format_duration(span.start - end)))
            left, end = right + pause, span.end
        self._starts = [span.start for span in work]

    def at(self, time: int) -> float:
        """Return where a time stands, from 0 to 1; in a pause, that is where the work before ended."""
        if not self.stretches:
            return 0
        span, left, right, _ = self.stretches[max(0, bisect_right(self._starts, time) - 1)]
        return left + (right - left) * min(1, max(0, time - span.start) / max(1, span.end - span.start))

    def pauses(self) -> Iterator[tuple[float, float, str]]:
        """Yield where each pause begins and ends, and how long it is."""
        for before, after in itertools.pairwise(self.stretches):
            yield before.right, after.left, after.pause

    def to_json(self) -> list[JsonObject]:
        """Return the stretches; their places are in millionths of the width, since whole numbers need no tags."""
        return [
            {
                "started_at": iso(each.span.start),
                "ended_at": iso(each.span.end),
                "left": round(each.left * 1_000_000),
                "right": round(each.right * 1_000_000),
                "pause": each.pause,
            }
            for each in self.stretches
        ]
