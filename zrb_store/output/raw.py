"""The end of what an attempt prints, as it came: printing must cost next to nothing."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from operator import itemgetter
from typing import Any, NamedTuple

SLACK = 4 * 1024
"""What is dropped of the rest of a line whose beginning was dropped: it may be the end of a secret."""

Parse = Callable[[list[str]], tuple[list[str], list[str]]]
"""Splits printed texts into their streams and the texts themselves."""

_BATCH = 64  # texts that are parsed at once
_TIME = itemgetter(0)


class Newest(NamedTuple):
    """The end of what was added since the last time.

    Attributes:
        times: When each text was printed, in seconds since 1970.
        streams: The stream of each text.
        texts: The texts or bytes, the oldest first.
        skipped: How many bytes came before them.
        is_cut: The streams of which something was dropped, each with whether that was amid a line.
    """

    times: list[float]
    streams: list[str]
    texts: list[Any]
    skipped: int
    is_cut: dict[str, bool]


class _Count(NamedTuple):
    """The size of a group of `texts`, of which only the last one is parsed.

    Attributes:
        texts: How many they are.
        size: An estimate of their size, as if each had a prefix as long as that of the last one.
        least: The least that their size can be: as if each had the longest prefix that was seen.
    """

    texts: int
    size: int
    least: int


class RawOutput:
    """The end of what was printed since it was taken. Any thread may add to it.

    Attributes:
        parse: Finds streams and texts in what is appended to `texts`.
        times: Instead of `add`, which costs more, the time of a text may be appended here, and ...
        texts: ... then the text here. Call `trim` now and then. Nothing is made for a text that the garbage collector
            has to look at.
    """

    def __init__(self, limit: int) -> None:
        """Begin with nothing.

        Args:
            limit: How many bytes are kept.
        """
        self.parse: Parse = lambda texts: (["print"] * len(texts), texts)
        self.times: list[float] = []
        self.texts: list[str] = []
        self._room = limit + 2 * SLACK
        self._surplus = 0  # of something that was printed, the most that was no part of the text
        self._counts: deque[_Count] = deque()  # of `texts`, the oldest first
        self._counted, self._excess = 0, -self._room  # the sums; the second one is of the least sizes
        self._added: deque[tuple[float, str, str | bytes]] = deque()  # time, stream and text
        self._added_size = 0
        self._skipped = 0
        self._is_cut: dict[str, bool] = {}
        self._lock = threading.RLock()  # a signal handler may print while its thread is here

    @property
    def is_empty(self) -> bool:
        """Whether nothing was added since it was taken."""
        return not (self.texts or self._added or self._skipped)

    def add(self, stream: str, data: str | bytes) -> None:
        """Add text with its newlines, or bytes of it."""
        self._added.append((time.time(), stream, data))
        self._added_size += len(data)
        if self._added_size > 3 * self._room:
            with self._lock:
                times, streams, texts = self._newest()
                self._added.extendleft(zip(reversed(times), reversed(streams), reversed(texts), strict=True))
                self._added_size = sum(map(len, texts))

    def trim(self) -> None:
        """Count the new `texts`, which is cheap as long as the processor has them at hand, and drop the oldest."""
        with self._lock:
            new = self.texts[self._counted :]
            if not new:
                return
            counted = self._count(new)
            self._counts.append(counted)
            self._counted += counted.texts
            self._excess += counted.least
            while self._counts and self._excess > self._counts[0].least:
                oldest = self._counts.popleft()
                self._drop_noted(self.texts[oldest.texts - 1 : oldest.texts], oldest.size)
                del self.times[: oldest.texts], self.texts[: oldest.texts]
                self._counted -= oldest.texts
                self._excess -= oldest.least

    def _count(self, raw: list[str]) -> _Count:
        _, (text,) = self.parse(raw[-1:])
        surplus = len(raw[-1]) - len(text)
        self._surplus = max(self._surplus, surplus)
        count, size = len(raw), sum(map(len, raw))
        return _Count(count, max(size - count * surplus, 0), size - count * self._surplus)

    def _drop_noted(self, last: list[str], size: int) -> None:
        """Note that some of `texts` are dropped, of which this is the last one."""
        streams, texts = self.parse(last)
        self._is_cut.update(zip(streams, map(_is_amid_line, texts), strict=True))
        self._skipped += size

    def take(self) -> Newest:
        """Take the end of what was added."""
        with self._lock:
            newest = Newest(*self._newest(), self._skipped, self._is_cut)
            self._added_size, self._skipped, self._is_cut = 0, 0, {}
        return newest

    def _newest(self) -> tuple[list[float], list[str], list[Any]]:
        """Take what was added, drop what will not be kept for sure, and return times, streams and texts of the rest."""
        times, streams, texts = self._newest_noted()
        if self._added:
            added = [self._added.popleft() for _ in range(len(self._added))]
            together = sorted([*zip(times, streams, texts, strict=True), *added], key=_TIME)
            times, streams, texts = map(list, zip(*together, strict=True))
        excess, first = sum(map(len, texts)) - self._room, 0
        while excess > 0 and len(texts[first]) <= excess:
            excess -= len(texts[first])
            first += 1
        self._drop(streams[:first], texts[:first])
        del times[:first], streams[:first], texts[:first]
        if excess > 0:
            self._drop(streams[:1], [texts[0][:excess]])
            texts[0] = texts[0][excess:]
        return times, streams, texts

    def _newest_noted(self) -> tuple[list[float], list[str], list[Any]]:
        """Take `times` and `texts`, and return times, streams and texts of the end of them."""
        # If two threads print at once, their times may be exchanged.
        count = min(len(self.times), len(self.texts))
        times, raw = _taken(self.times, count), _taken(self.texts, count)
        self._counts.clear()
        self._counted, self._excess, self._surplus = 0, -self._room, 0
        streams: list[str] = []
        texts: list[Any] = []
        room = self._room
        while count and room > 0:
            start = max(count - _BATCH, 0)
            streams[:0], texts[:0] = parsed = self.parse(raw[start:count])
            room -= sum(map(len, parsed[1]))
            count = start
        if count:
            self._drop_noted(raw[count - 1 : count], self._count(raw[:count]).size)
        return times[count:], streams, texts

    def _drop(self, streams: list[str], texts: list[Any]) -> None:
        self._skipped += sum(map(size_of, texts))
        self._is_cut.update(zip(streams, map(_is_amid_line, texts), strict=True))


def _taken(items: list[Any], count: int) -> list[Any]:
    """Take the first items. Another thread may append meanwhile."""
    taken = items[:count]
    del items[:count]
    return taken


def _is_amid_line(data: str | bytes) -> bool:
    return data[-1:] not in ("\n", b"\n")


def size_of(data: str | bytes) -> int:
    """Return how many bytes this is."""
    return len(data) if isinstance(data, bytes) else len(data.encode("utf-8", "replace"))
