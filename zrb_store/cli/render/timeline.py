"""The timeline of a session, as `show --timeline` draws it."""

from __future__ import annotations

from zrb_store.cli.render.document import Bar, Chart, ChartRow, Lines, Moment
from zrb_store.cli.render.format import TimeFormat, format_duration
from zrb_store.cli.render.history import hidden_count
from zrb_store.cli.render.width import shorten
from zrb_store.inspect.show import SessionDocument
from zrb_store.inspect.timeline import Timeline, TimelineRow
from zrb_store.safe_text import one_line

_STEP_WIDTH = 40  # columns of a step's name


def timeline_chart(document: SessionDocument, times: TimeFormat, *, every: bool, steps: bool) -> Chart | Lines:
    """Return the chart of a session's attempts, or a line if it has no tasks.

    Args:
        every: Whether long lists of attempts are shown whole.
        steps: Whether steps are drawn too.
    """
    timeline = Timeline(document)
    skip = {task.name: hidden_count(task.attempts, every) for task in document.tasks}
    rows = [_chart_row(row) for row in timeline.rows(steps=steps, skip=skip)]
    for task, hidden in skip.items():
        if hidden:
            place = next(place for place, row in enumerate(rows) if row.label.startswith(f"{one_line(task)}#"))
            rows.insert(place, ChartRow(f"{one_line(task)}: {hidden} earlier", [], "--all"))
    if not rows:
        return Lines(["The session has no tasks."], "Timeline")
    spans = [(_moment(span.start, times), _moment(span.end, times)) for span in timeline.work]
    return Chart(rows, spans, "Timeline")


def _chart_row(row: TimelineRow) -> ChartRow:
    label = f"  {shorten(one_line(row.name), _STEP_WIDTH)}" if row.is_step else one_line(row.name)
    if not row.bars:
        return ChartRow(label, [], row.status)
    span, status = row.bars[-1]
    note = "lost" if status == "lost" else format_duration(span.end - span.start)
    return ChartRow(label, [Bar(bar.start, bar.end, word) for bar, word in row.bars], note)


def _moment(at: int, times: TimeFormat) -> Moment:
    return Moment(at, times.brief(at))
