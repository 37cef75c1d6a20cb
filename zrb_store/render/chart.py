"""The timeline of a session: bars of time on an axis, drawn with characters."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence

from zrb_store.inspect.show import SessionDocument
from zrb_store.inspect.trace import Timeline
from zrb_store.masking import one_line
from zrb_store.render.document import Bar, Chart, ChartRow, Lines, Moment
from zrb_store.render.format import TimeFormat, format_duration
from zrb_store.render.history import hidden_count
from zrb_store.render.table import GAP, display_width, shorten, wrap

CHARACTERS = {"completed": "=", "running": ">", "failed": "x", "interrupted": "!", "lost": "?"}
"""What the bars are drawn with, by status."""
AXIS = "axis"
"""Stands in place of a status for what belongs to the axis."""

_PAUSE = " : "
_BETWEEN = "   "  # the explanations of two characters
_LEAST_LABEL = 12
_STEP_LABEL_WIDTH = 40  # columns of a step's name beside its bars
_LEAST_SPAN = 4  # columns of a span of work
_Part = tuple[str, str]  # a text, and the status that it is coloured by


def timeline_chart(document: SessionDocument, times: TimeFormat, *, every: bool, steps: bool) -> Chart | Lines:
    """Return the chart of a session's attempts, or a line if it has no tasks.

    Args:
        every: Whether the earlier of many attempts are drawn too.
        steps: Whether steps are drawn too.
    """
    timeline = Timeline(document)
    skip = {task.name: hidden_count(task.attempts, every) for task in document.tasks}
    rows: list[ChartRow] = []
    for each in timeline.rows(steps=steps, skip=skip):
        label = f"  {shorten(one_line(each.name), _STEP_LABEL_WIDTH)}" if each.is_step else one_line(each.name)
        note = each.status
        if each.bars:
            span, status = each.bars[-1]
            note = "lost" if status == "lost" else format_duration(span.end - span.start)
        rows.append(ChartRow(label, [Bar(bar.start, bar.end, word) for bar, word in each.bars], note))
    for task, hidden in skip.items():
        if hidden:
            place = next(place for place, row in enumerate(rows) if row.label.startswith(f"{one_line(task)}#"))
            rows.insert(place, ChartRow(f"{one_line(task)}: {hidden} earlier", [], "--all"))
    if not rows:
        return Lines(["The session has no tasks."], "Timeline")
    ends = ((Moment(at, times.brief(at)) for at in span) for span in timeline.work)
    return Chart(rows, [(start, end) for start, end in ends], "Timeline")


class _Axis:
    """The columns of a page that spans of time take."""

    def __init__(self, spans: Sequence[tuple[Moment, Moment]], width: int) -> None:
        """Divide columns among spans. The first ones are left out if there is no room for all."""
        most = max(1, (width + len(_PAUSE)) // (_LEAST_SPAN + len(_PAUSE)))
        self.spans = spans[-most:]
        self.width = width
        lengths = [max(1, end.at - start.at) for start, end in self.spans]
        room = width - len(_PAUSE) * (len(self.spans) - 1) - _LEAST_SPAN * len(self.spans)
        self.columns = [_LEAST_SPAN + max(0, room) * length // sum(lengths) for length in lengths]
        self.columns[-1] += max(0, width - len(_PAUSE) * (len(self.spans) - 1) - sum(self.columns))
        self.origins = [sum(self.columns[:place]) + len(_PAUSE) * place for place in range(len(self.spans))]
        self.per_column = max(length // columns for length, columns in zip(lengths, self.columns, strict=True))

    def has(self, moment: int) -> bool:
        """Whether a moment is not left out."""
        return moment >= self.spans[0][0].at

    def column(self, moment: int, *, end: bool = False) -> int:
        """Return the column of a moment, or with `end` the first one after it."""
        for (start, stop), columns, origin in zip(self.spans, self.columns, self.origins, strict=True):
            if moment <= stop.at:
                length = max(1, stop.at - start.at)
                passed = max(0, moment - start.at) * columns
                return origin + (-(-passed // length) if end else min(columns - 1, passed // length))
        return self.width - (not end)

    def empty(self) -> list[_Part]:
        """Return the cells of a row without bars."""
        cells: list[_Part] = [(" ", "")] * self.width
        for origin in self.origins[1:]:
            cells[origin - len(_PAUSE) : origin] = [(char, AXIS) for char in _PAUSE]
        return cells

    def labels(self) -> str:
        """Return the line of times above the bars: the first and the last, and of the others those that have room."""
        cells = [" "] * self.width
        (first, *others), last = [start for start, _ in self.spans], self.spans[-1][1]
        places = [(0, first.text), (self.width - len(last.text), last.text)]
        places += [(origin, start.text) for origin, start in zip(self.origins[1:], others, strict=True)]
        for place, text in places:
            around = cells[max(0, place - 1) : place + len(text) + 1]
            if place >= 0 and place + len(text) <= self.width and not any(cell.strip() for cell in around):
                cells[place : place + len(text)] = text
        return "".join(cells)


def draw(chart: Chart, width: int) -> Iterator[list[_Part]]:
    """Yield the lines of a chart: parts of text, each with the status that it is coloured by, or an empty one.

    Each line is at most `width` columns wide.
    """
    if not chart.spans:
        return
    # A label that is longer stands on a line of its own.
    most = max(_LEAST_LABEL, width // 3)
    label_width = max((size for row in chart.rows if (size := display_width(row.label)) <= most), default=0)
    note_width = max(display_width(row.note) for row in chart.rows)
    axis = _Axis(chart.spans, max(_LEAST_SPAN, width - label_width - note_width - 2 * len(GAP)))
    margin = " " * (label_width + len(GAP))
    yield [(f"{margin}{axis.labels()}".rstrip(), AXIS)]
    hidden = 0
    for row in chart.rows:
        if row.bars and not any(axis.has(bar.end) for bar in row.bars):
            hidden += 1
            continue
        label = row.label
        if display_width(label) > label_width:
            yield from ([(line, "")] for line in wrap(label, width))
            label = ""
        yield _row(row, label + " " * (label_width - display_width(label)) + GAP, axis, note_width)
    yield []
    for line in _legend(chart.rows, axis, width):
        yield [(line, AXIS)]
    if hidden:
        have = "row of earlier runs has" if hidden == 1 else "rows of earlier runs have"
        yield from ([(line, AXIS)] for line in wrap(f"{hidden} {have} no room on this page.", width))


def _row(row: ChartRow, label: str, axis: _Axis, note_width: int) -> list[_Part]:
    cells = axis.empty()
    for bar in row.bars:
        if axis.has(bar.end):
            start = axis.column(bar.start)
            end = max(start + 1, axis.column(bar.end, end=True))
            cells[start:end] = [(CHARACTERS.get(bar.status, "-"), bar.status)] * (end - start)
    parts = [(label, ""), *_joined(cells)]
    if row.note:
        return [*parts, (GAP + " " * (note_width - display_width(row.note)) + row.note, "")]
    return parts


def _joined(cells: Iterable[_Part]) -> Iterator[_Part]:
    """Join cells of the same status."""
    for status, group in itertools.groupby(cells, key=lambda part: part[1]):
        yield "".join(text for text, _ in group), status


def _legend(rows: Sequence[ChartRow], axis: _Axis, width: int) -> Iterator[str]:
    """Yield lines that say what the characters mean."""
    used = {bar.status for row in rows for bar in row.bars}
    parts = [f"{character} {status}" for status, character in CHARACTERS.items() if status in used]
    ends, starts = [end.at for _, end in axis.spans], [start.at for start, _ in axis.spans[1:]]
    pauses = [format_duration(start - end) for end, start in zip(ends, starts, strict=False)]
    if pauses:
        parts.append(next(text for text in _pauses(pauses) if len(text) <= width or not text.count(",")))
    parts.append(f"a column is {format_duration(axis.per_column)}")
    line = ""
    for part in parts:
        if line and display_width(line) + len(_BETWEEN) + len(part) > width:
            yield line
            line = part
        else:
            line += _BETWEEN * bool(line) + part
    yield line


def _pauses(lengths: Sequence[str]) -> Iterator[str]:
    """Yield what the character of a pause means, with ever fewer lengths."""
    for count in range(min(3, len(lengths)), 0, -1):
        more = f" and {len(lengths) - count} more" if len(lengths) > count else ""
        yield f"{_PAUSE.strip()} a pause of {', '.join(lengths[:count])}{more}"
