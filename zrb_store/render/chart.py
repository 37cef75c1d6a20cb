"""The timeline of a session: bars of time on an axis, drawn with characters."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from zrb_store.inspect.show import SessionDocument
from zrb_store.inspect.trace import Span, Timeline, merged
from zrb_store.masking import one_line, printable
from zrb_store.records import AttemptRecord
from zrb_store.render.document import DIM, GAP, STYLES, Drawing, Line, Lines, display_width, shorten, wrap
from zrb_store.render.format import MARKS, TimeFormat, format_duration

_PAUSE = " : "
_BETWEEN = "   "  # the explanations of two characters
_LEAST_LABEL = 12
_STEP_LABEL_WIDTH = 40  # columns of a step's name beside its bars
_LEAST_SPAN = 4  # columns of a span of work


class _Row(NamedTuple):
    """A row of a chart: a label, any number of bars with their statuses, and a note at the end."""

    label: str
    bars: Sequence[tuple[Span, str]]
    note: str


def timeline_chart(
    document: SessionDocument, times: TimeFormat, skip: dict[str, int], *, steps: bool
) -> Drawing | Lines:
    """Return the chart of a session's attempts, but for the first `skip` of each task, or a line if it has no tasks."""
    timeline = Timeline(document.runs, document.moment)
    rows: list[_Row] = []
    for task in document.tasks:
        name, hidden = one_line(task.name), skip.get(task.name, 0)
        if hidden:
            rows.append(_Row(f"{name}: {hidden} earlier", [], "--all"))
        for attempt, _ in itertools.islice(task.attempts, hidden, None):
            rows.append(_row(one_line(attempt.name), [attempt], timeline))
        if task.is_left:
            rows.append(_Row(name, [], printable(task.status)))
        for step in task.steps if steps else ():
            label = f"  {shorten(one_line(step.name), _STEP_LABEL_WIDTH)}"
            rows.append(_row(label, step.attempts, timeline))
    if not rows:
        return Lines(["The session has no tasks."], "Timeline")
    # What lies between the spans of work are pauses.
    work = merged([*timeline.runs.values(), *(span for row in rows for span, _ in row.bars)])
    return Drawing(functools.partial(_draw, rows, work, times), "Timeline")


def _row(label: str, attempts: Sequence[AttemptRecord], timeline: Timeline) -> _Row:
    """Return the row of an attempt, or of a step with all its attempts."""
    bars = [(timeline.span_of(attempt), attempt.status) for attempt in attempts]
    span, status = bars[-1]
    return _Row(label, bars, "lost" if status == "lost" else format_duration(span.end - span.start))


class _Axis:
    """The columns of a page that spans of time take."""

    def __init__(self, spans: Sequence[Span], width: int) -> None:
        """Divide columns among spans. The first ones are left out if there is no room for all."""
        most = max(1, (width + len(_PAUSE)) // (_LEAST_SPAN + len(_PAUSE)))
        self.spans = spans[-most:]
        self.width = width
        lengths = [max(1, span.end - span.start) for span in self.spans]
        room = width - len(_PAUSE) * (len(self.spans) - 1) - _LEAST_SPAN * len(self.spans)
        self.columns = [_LEAST_SPAN + max(0, room) * length // sum(lengths) for length in lengths]
        self.columns[-1] += max(0, width - len(_PAUSE) * (len(self.spans) - 1) - sum(self.columns))
        self.origins = [sum(self.columns[:place]) + len(_PAUSE) * place for place in range(len(self.spans))]
        self.per_column = max(length // columns for length, columns in zip(lengths, self.columns, strict=True))

    def has(self, bar: Span) -> bool:
        """Whether a bar is not left out."""
        return bar.end >= self.spans[0].start

    def column(self, moment: int, *, end: bool = False) -> int:
        """Return the column of a moment, or with `end` the first one after it."""
        for span, columns, origin in zip(self.spans, self.columns, self.origins, strict=True):
            if moment <= span.end:
                length = max(1, span.end - span.start)
                passed = max(0, moment - span.start) * columns
                return origin + (-(-passed // length) if end else min(columns - 1, passed // length))
        return self.width - (not end)

    def labels(self, times: TimeFormat) -> str:
        """Return the line of times above the bars: the first and the last, and of the others those that have room."""
        cells = [" "] * self.width
        first, *others = [times.brief(span.start) for span in self.spans]
        last = times.brief(self.spans[-1].end)
        places = [(0, first), (self.width - len(last), last), *zip(self.origins[1:], others, strict=True)]
        for place, text in places:
            around = cells[max(0, place - 1) : place + len(text) + 1]
            if place >= 0 and place + len(text) <= self.width and not any(cell.strip() for cell in around):
                cells[place : place + len(text)] = text
        return "".join(cells)


def _draw(rows: Sequence[_Row], spans: Sequence[Span], times: TimeFormat, width: int) -> Iterator[Line]:
    """Yield the lines of a chart, none of them wider than `width` columns."""
    if not spans:
        return
    # A label that is longer stands on a line of its own.
    most = max(_LEAST_LABEL, width // 3)
    label_width = max((size for row in rows if (size := display_width(row.label)) <= most), default=0)
    note_width = max(display_width(row.note) for row in rows)
    axis = _Axis(spans, max(_LEAST_SPAN, width - label_width - note_width - 2 * len(GAP)))
    yield [(" " * (label_width + len(GAP)) + axis.labels(times), DIM)]
    hidden = 0
    for row in rows:
        if row.bars and not any(axis.has(bar) for bar, _ in row.bars):
            hidden += 1
            continue
        label = row.label
        if display_width(label) > label_width:
            yield from ([(line, "")] for line in wrap(label, width))
            label = ""
        padding = " " * (label_width - display_width(label)) + GAP
        note = GAP + " " * (note_width - display_width(row.note)) + row.note
        yield [(label + padding, ""), *_bars(row, axis), (note if row.note else "", "")]
    yield []
    for line in _legend(rows, axis, width):
        yield [(line, DIM)]
    if hidden:
        rows_do_not = "row of earlier runs does not" if hidden == 1 else "rows of earlier runs do not"
        yield from ([(line, DIM)] for line in wrap(f"{hidden} {rows_do_not} fit on this page.", width))


def _bars(row: _Row, axis: _Axis) -> Line:
    """Return the bars of a row: characters of each status, on a background of its colour."""
    cells = [(" ", "")] * axis.width
    for origin in axis.origins[1:]:
        cells[origin - len(_PAUSE) : origin] = [(char, DIM) for char in _PAUSE]
    for bar, status in row.bars:
        if axis.has(bar):
            start = axis.column(bar.start)
            end = max(start + 1, axis.column(bar.end, end=True))
            style = f"{STYLES[status]} reverse" if status in STYLES else ""
            cells[start:end] = [(MARKS.get(status, "-"), style)] * (end - start)
    groups = itertools.groupby(cells, key=lambda cell: cell[1])
    return [("".join(text for text, _ in group), style) for style, group in groups]


def _legend(rows: Sequence[_Row], axis: _Axis, width: int) -> Iterator[str]:
    """Yield lines that say what the characters mean."""
    used = {status for row in rows for _, status in row.bars}
    parts = [f"{character} {status}" for status, character in MARKS.items() if status in used]
    pauses = [format_duration(after.start - before.end) for before, after in itertools.pairwise(axis.spans)]
    for count in range(min(3, len(pauses)), 0, -1):
        more = f" and {len(pauses) - count} more" if len(pauses) > count else ""
        text = f"{_PAUSE.strip()} a pause of {', '.join(pauses[:count])}{more}"
        if len(text) <= width or count == 1:
            parts.append(text)
            break
    parts.append(f"a column is {format_duration(axis.per_column)}")
    line = ""
    for part in parts:
        if line and display_width(line) + len(_BETWEEN) + len(part) > width:
            yield line
            line = part
        else:
            line += _BETWEEN * bool(line) + part
    yield line
