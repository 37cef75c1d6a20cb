"""What the text of a page shows, which is complete without JavaScript: rows of attempts, and the lives of values."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from zrb_store.inspect.agents import agent_note
from zrb_store.inspect.report import Report, ReportQueue, ReportStep, ReportTask, ReportValue, cut_text
from zrb_store.records import UNSUCCESSFUL, AttemptRecord
from zrb_store.render.format import error_summary, length, preview, size, taker

MOST_ROWS = 300
"""How many rows a table of attempts, runs or changes has in the text."""
MOST_ATTEMPTS = 50
"""How many attempts with errors or output stand there one by one; those before open together."""
MOST_QUEUES = 40
"""How many queues the text has."""
MOST_VALUES = 200
"""Likewise, the values of all queues together; each queue shows its last ones."""
_CONTENT = 300  # characters of a value


class Row(NamedTuple):
    """An attempt, a step, or a task without attempts."""

    name: str
    status: str
    is_step: bool = False
    run: int | None = None
    started_at: int | None = None
    took: int | None = None
    note: str = ""


class Rows(NamedTuple):
    """The rows that are shown.

    Attributes:
        items: The rows.
        left_out: How many attempts and steps are not shown.
    """

    items: list[Row]
    left_out: int


def rows(report: Report) -> Rows:
    """Return the rows of the timeline."""
    found: list[Row] = []
    left_out = 0
    share = max(1, MOST_ROWS // max(1, len(report.tasks)))
    for task in report.tasks:
        own = list(_task_rows(task, report.read_at))
        steps = [_step_row(step, report.read_at) for step in task.steps]
        left_out += task.attempts_left_out + task.steps_left_out
        for part in (own, steps):
            left_out += max(0, len(part) - share)
            found += part[-share:]
    return Rows(found[:MOST_ROWS], left_out + max(0, len(found) - MOST_ROWS))


def _task_rows(shown: ReportTask, read_at: int) -> Iterator[Row]:
    for attempt, _ in shown.attempts:
        yield _row(attempt.name, attempt, attempt.status, read_at, _error(attempt))
    if not shown.attempts or shown.task.status in ("waiting", "skipped"):
        yield Row(shown.task.name, shown.task.status)


def _step_row(shown: ReportStep, read_at: int) -> Row:
    step = shown.step
    note = agent_note(step.name, step.result) or step.name
    if len(step.attempts) > 1:
        note += f", {len(step.attempts)} attempts"
    if error := _error(step.last):
        note += f": {error}"
    elif shown.beginning is not None:
        note += f" = {shown.beginning[:_CONTENT]}"
    elif step.result is not None:
        note += f" = {preview(step.result)[:_CONTENT]}"
    return _row(step.id, step.last, step.status, read_at, note)._replace(is_step=True)


def _row(name: str, attempt: AttemptRecord, status: str, read_at: int, note: str) -> Row:
    ended_at = read_at if attempt.ended_at is None and status == "running" else attempt.ended_at
    took = None if attempt.status == "lost" else length(attempt.started_at, ended_at)
    return Row(name, status, False, attempt.run, attempt.started_at, took, note)


def _error(attempt: AttemptRecord) -> str:
    return cut_text(error_summary(attempt.error), _CONTENT) if attempt.error else ""


class QueueText(NamedTuple):
    """A queue with the last of its values that are in the report; `not_shown` counts those before."""

    report: ReportQueue
    values: list[ReportValue]
    not_shown: int


def queues(report: Report) -> list[QueueText]:
    """Return the queues that the text has."""
    share = max(5, MOST_VALUES // max(1, len(report.queues)))
    shown = ((queue, queue.values[-share:]) for queue in report.queues[:MOST_QUEUES])
    return [QueueText(queue, values, queue.count - len(values)) for queue, values in shown]


def content(shown: ReportValue) -> str:
    """Return the beginning of a value as a person reads it."""
    if shown.beginning is not None:
        return f"{shown.beginning[:_CONTENT]} […] {size(shown.value.record.size)}"
    text = preview(shown.value.content)
    return text if len(text) <= _CONTENT else f"{text[:_CONTENT]} […]"


def life(shown: ReportValue) -> Iterator[str]:
    """Yield what became of a value, in order."""
    value, record = shown.value, shown.value.record
    for each in value.returns:
        if each.is_requeue:
            yield each.record.reason  # requeued, and by whom
        else:
            reason = "" if each.record.reason in UNSUCCESSFUL else f": {each.record.reason}"
            yield f"taken and given back by {each.taken_by or 'a deleted attempt'}{reason}"
    by = taker(value)
    orphaned = ", orphaned" if record.orphaned else ""
    if record.state == "dead":
        yield f"dead after {record.deliveries} deliveries"
    else:
        yield f"{record.state}{f' by {by}' if by else ''}{orphaned}"
