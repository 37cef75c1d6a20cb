"""What `show --timeline` draws: the attempts of each task, and its steps, as spans of time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from zrb_store.inspect.show import SessionDocument
from zrb_store.queries.lease import worked_until
from zrb_store.records import AttemptRecord


class Span(NamedTuple):
    """A span of time, in microseconds since 1970."""

    start: int
    end: int


@dataclass(frozen=True)
class TimelineRow:
    """A row of a timeline: an attempt, a step with all its attempts, or a task without attempts.

    Attributes:
        name: Name of the attempt, the step or the task.
        is_step: Whether it is a step.
        status: Its status; of a step, that of its last attempt.
        bars: The spans of its attempts, each with its status.
    """

    name: str
    is_step: bool
    status: str
    bars: Sequence[tuple[Span, str]]


class Timeline:
    """Spans of time of a session.

    Attributes:
        runs: When each run worked, by its number.
        work: When the session worked: spans in order that do not overlap. What lies between them are pauses.
    """

    def __init__(self, document: SessionDocument) -> None:
        """Read the spans of the session's runs, whose snapshot is open."""
        self._document = document
        self._ends = {run.number: worked_until(run, document.moment) for run in document.runs}
        self.runs = {
            run.number: Span(run.started_at, max(run.started_at, self._ends[run.number])) for run in document.runs
        }
        self._spans = list(self.runs.values())

    @property
    def work(self) -> list[Span]:
        """When the session worked, which is complete after `rows` was read."""
        return merged(self._spans)

    def rows(self, *, steps: bool, skip: dict[str, int]) -> Iterator[TimelineRow]:
        """Yield the rows, task by task.

        Args:
            steps: Whether the steps have rows.
            skip: How many of the first attempts of a task are left out.
        """
        for task in self._document.tasks:
            for place, attempt in enumerate(task.attempts):
                if place >= skip.get(task.name, 0):
                    yield self._row(attempt.record.name, [attempt.record], is_step=False)
            if not task.attempts or task.status in ("waiting", "skipped"):
                yield TimelineRow(task.name, False, task.status, [])
            for step in task.steps if steps else ():
                yield self._row(step.name, step.attempts, is_step=True)

    def _row(self, name: str, attempts: Sequence[AttemptRecord], *, is_step: bool) -> TimelineRow:
        bars = [(self.span_of(attempt), attempt.status) for attempt in attempts]
        self._spans += (span for span, _ in bars)
        return TimelineRow(name, is_step, attempts[-1].status, bars)

    def span_of(self, attempt: AttemptRecord) -> Span:
        """Return when an attempt, or an attempt of a step, worked."""
        start = attempt.started_at
        if attempt.ended_at is not None and attempt.status != "lost":
            return Span(start, attempt.ended_at)
        if attempt.status == "running":
            return Span(start, max(start, self._document.moment))
        # A lost one ended at an unknown time, before anybody noticed.
        return Span(start, max(start, start if attempt.run is None else self._ends.get(attempt.run, start)))


def merged(spans: Iterable[Span]) -> list[Span]:
    """Join spans that overlap, or between which there is little in comparison with all of them."""
    joined: list[Span] = []
    for span in sorted(spans):
        if joined and span.start <= joined[-1].end:
            joined[-1] = Span(joined[-1].start, max(joined[-1].end, span.end))
        else:
            joined.append(span)
    short = max(_NO_PAUSE, sum(span.end - span.start for span in joined) // _SHORT_PAUSE)
    near: list[Span] = []
    for span in joined:
        if near and span.start - near[-1].end <= short:
            near[-1] = Span(near[-1].start, span.end)
        else:
            near.append(span)
    return near


_NO_PAUSE = 1_000_000  # less than a second between two spans is none
_SHORT_PAUSE = 20  # a pause of a twentieth of the work is shown as long as it was
