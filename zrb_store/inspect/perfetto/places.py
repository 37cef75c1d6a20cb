"""Where a trace draws spans: processes, tracks and lanes."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Generator, Iterator
from typing import Any, NamedTuple

from zrb_store.inspect.timeline import Span

Event = dict[str, Any]


class Track(NamedTuple):
    """Where spans are drawn: process and thread of the trace."""

    pid: int
    tid: int


class Place(NamedTuple):
    """Where and when an attempt is drawn."""

    track: Track
    span: Span

    def holds(self, span: Span) -> bool:
        """Whether another span can be drawn inside this one."""
        return self.span.start <= span.start and span.end <= self.span.end

    def nearest(self, moment: int) -> int:
        """Return the moment, or the nearest one within the span: a result is pushed as its attempt ends."""
        return min(max(moment, self.span.start), self.span.end - 1)


class Tracks:
    """The processes and tracks of a trace. What adds one yields the events that name it."""

    def __init__(self, first: int) -> None:
        """Start with no track.

        Args:
            first: The number of the first track. To Perfetto, a thread with the number of its process is the main one.
        """
        self._tids = itertools.count(first)
        self._processes: set[int] = set()

    def process(self, pid: int, name: str) -> Iterator[Event]:
        """Name a process, unless it has a name."""
        if pid not in self._processes:
            self._processes.add(pid)
            yield {"ph": "M", "name": "process_name", "pid": pid, "args": {"name": name}}
            yield {"ph": "M", "name": "process_sort_index", "pid": pid, "args": {"sort_index": pid}}

    def add(self, pid: int, name: str) -> Generator[Event, None, Track]:
        """Add a track to a process."""
        track = Track(pid, next(self._tids))
        yield {"ph": "M", "name": "thread_name", **track._asdict(), "args": {"name": name}}
        yield {"ph": "M", "name": "thread_sort_index", **track._asdict(), "args": {"sort_index": track.tid}}
        return track


class Lanes:
    """Tracks beside each other for spans that may overlap."""

    def __init__(self, name: str, add: Callable[[str], Generator[Event, None, Track]]) -> None:
        """Start with no track.

        Args:
            name: The name of the first one; the others have a number as well.
            add: Adds a track of this name.
        """
        self._name = name
        self._add = add
        self._tracks: list[tuple[Track, int]] = []  # each with the end of its last span

    def take(self, span: Span) -> Generator[Event, None, Track]:
        """Take the first track that is free, or add one. Spans come in the order of their starts."""
        for place, (track, end) in enumerate(self._tracks):
            if end <= span.start:
                self._tracks[place] = track, span.end
                return track
        number = len(self._tracks) + 1
        track = yield from self._add(self._name if number == 1 else f"{self._name} ({number})")
        self._tracks.append((track, span.end))
        return track
