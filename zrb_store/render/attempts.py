"""What a terminal and a page say of attempts and steps: in the rows of a table, and above what they printed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from zrb_store.inspect.advice import PROGRAM
from zrb_store.inspect.log import AttemptLog
from zrb_store.inspect.show import ShownAttempt, ShownStep, Task
from zrb_store.inspect.trace import took
from zrb_store.masking import one_line
from zrb_store.records import AttemptRecord, RunRecord
from zrb_store.render.format import NOTHING, error_details, error_note, format_duration, preview, what_was_read


class AttemptRow(NamedTuple):
    """A row, which stands for an attempt, a step, or a task of which no attempt counts."""

    name: str
    status: str
    attempt: AttemptRecord | None = None  # whose run and times it has
    said: str = ""  # of an attempt, why it failed or what became of it; of a step, its name or what it did
    facts: str = ""  # what follows that: of an attempt, what it has read; of a step, how it may be repeated
    gave: str = ""  # the error of a step, or its result
    is_step: bool = False
    is_faded: bool = False  # it did not complete, but was tried again

    @property
    def note(self) -> str:
        return self.said + self.facts + self.gave


def rows_of_attempts(task: Task, attempts: Iterable[ShownAttempt], program: str = PROGRAM) -> Iterator[AttemptRow]:
    """Yield the rows of attempts of a task, and then one of the task, if its status is its own."""
    for shown in attempts:
        record = shown.record
        said = error_note(record.error, program) if record.error else task.fate_of(record)
        read = what_was_read(record)
        facts = f"{', ' * bool(said)}{read}" if read else ""
        is_faded = task.was_retried(record)
        yield AttemptRow(one_line(record.name), record.status, record, said, facts, is_faded=is_faded)
    if task.is_left:
        yield AttemptRow(one_line(task.name), task.status)


def row_of_costs(task: str, costs: str) -> AttemptRow:
    """Return the row that says what the steps of a task have cost."""
    return AttemptRow(one_line(task), NOTHING, said=costs)


def row_of_step(step: ShownStep, program: str = PROGRAM, *, full: bool = False) -> AttemptRow:
    """Return the row of a step: its last attempt, and its error or its result, which is cut unless all is asked for."""
    last = step.last
    facts = f" ({', '.join(step.facts)})" if step.facts else ""
    gave = ""
    if last.error:
        gave = f": {error_note(last.error, program)}"
    elif step.note is None and step.beginning is not None:
        gave = f" = {step.beginning}"
    elif step.note is None and step.result is not None:
        gave = f" = {preview(step.result, full=full)}"
    return AttemptRow(one_line(step.id), step.status, last, one_line(step.note or step.name), facts, gave, is_step=True)


class Title(NamedTuple):
    """What stands above what an attempt printed and why it ended, or above the error of a run."""

    name: str
    step: str  # its name, if the attempt is one of a step
    status: str
    place: str  # the attempt around it, and the run
    at: int | None  # microseconds; a page draws times in its own way
    took: str = ""

    def text(self, at: str) -> str:
        """Return `load#1 failed in run 1, 03:12:45, took 2.1 s`, or `load/3#1 (page 3) failed in load#2, ...`."""
        return f"{self.name}{self.step} {self.status} {self.place}{at}{self.took}"


def title_of(attempt: AttemptLog) -> Title:
    """Return the title of an attempt in a log."""
    record = attempt.record
    places = ", ".join(filter(None, (attempt.parent, None if record.run is None else f"run {record.run}")))
    micros = took(record, None)
    return Title(
        one_line(record.name),
        f" ({one_line(record.step)})" if record.step else "",
        record.status,
        f"in {one_line(places)}, " if places else "",
        record.started_at,
        "" if micros is None else f", took {format_duration(micros)}",
    )


def title_of_run(run: RunRecord) -> Title:
    """Return the title of what a run raised outside of its attempts."""
    return Title(f"Run {run.number}", "", run.status or "running", "outside of its attempts, ", run.ended_at)


def why_it_ended(attempt: AttemptLog, program: str = PROGRAM) -> str:
    """Return the traceback of an attempt, or what else is known of why it did not complete; of others nothing."""
    if attempt.record.error is not None:
        return error_details(attempt.record.error, program)
    if not attempt.has_failed:
        return ""
    is_lost = attempt.record.status == "lost"
    return "Its process died or lost its lease; no error was recorded." if is_lost else "No error was recorded."
