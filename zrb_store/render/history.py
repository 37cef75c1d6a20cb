"""The runs and the tasks of a session, with their attempts and steps, as `show` prints them."""

from __future__ import annotations

import itertools
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence, Sized

from zrb_store.inspect.show import Attempt, Step, Task
from zrb_store.masking import one_line
from zrb_store.queries.history import StepCounts
from zrb_store.records import AttemptRecord, RunRecord
from zrb_store.render.document import Column, Table, page_width
from zrb_store.render.format import (
    NOTHING,
    TimeFormat,
    counted,
    error_line,
    format_duration,
    preview,
    run_process,
)
from zrb_store.render.table import display_width, shorten

_ERROR_WIDTH = 300  # columns; `log` shows all of an error's message
_STEP_WIDTH = 60  # columns of a step's name
_AGENT_WIDTH = 90  # columns of what an agent's step did
_BEFORE_NOTE = 50  # columns of the page that a note leaves to the others
_LEAST_RESULT = 16  # columns of a step's result, however narrow the page
_FEW = 20  # runs, or attempts or steps of a task: no more are shown one by one
_LAST = 10  # how many of more runs and attempts are shown


class HistoryPrinter:
    """Makes the tables of the runs and of the tasks of a session."""

    def __init__(self, times: TimeFormat, until: int | None, *, every: bool, steps: bool, full: bool) -> None:
        """Create a printer.

        Args:
            until: The moment until which what still runs has taken time; None not to show that.
            every: Whether long lists are shown whole.
            steps: Whether all steps are shown one by one.
            full: Whether the results of steps are shown whole.
        """
        self._times = times
        self._until = until
        self._every = every
        self._steps = steps
        self._width = None if full else page_width()

    def runs(self, runs: Sequence[RunRecord]) -> Table:
        """Return the table of the runs."""
        columns = (
            Column("run", right=True),
            Column("outcome", status=True),
            Column("started", leaves=2),
            Column("took", right=True, leaves=1),
            Column("by"),
        )
        hidden = hidden_count(runs, self._every)
        outcomes = (run.outcome or "running" for run in runs[:hidden])
        rows = [[*[NOTHING] * 4, _earlier("runs", outcomes)]] if hidden else []
        for run in runs[hidden:]:
            outcome = one_line(run.outcome or "running")
            times = self._times.brief(run.started_at), took(run, outcome, self._until)
            rows.append([str(run.number), outcome, *times, run_process(run)])
        return Table(columns, rows, "Runs")

    def tasks(self, tasks: Iterable[Task]) -> Table:
        """Return the table of the tasks. Its rows are read while they are printed."""
        columns = (
            Column("attempt"),
            Column("status", status=True),
            Column("run", right=True, leaves=1),
            Column("started", leaves=2),
            Column("took", right=True, leaves=3),
            Column("note"),
        )
        rows = (row for task in tasks for part in (self._attempt_rows, self._step_rows) for row in part(task))
        return Table(columns, rows, "Tasks")

    def _attempt_rows(self, task: Task) -> Iterator[list[str]]:
        """Yield a row for each of the last attempts, and one if the task waits or was skipped."""
        attempts: Iterator[Attempt] = iter(task.attempts)
        hidden = hidden_count(task.attempts, self._every)
        if hidden:
            statuses = (attempt.record.status for attempt in itertools.islice(attempts, hidden))
            yield [one_line(task.name), *[NOTHING] * 4, _earlier("attempts", statuses)]
        for place, (attempt, _) in enumerate(attempts, hidden + 1):
            is_last = place == len(task.attempts)
            note = _error(attempt) or ("not restorable" if is_last and not task.restorable else "")
            yield self._row(one_line(attempt.name), attempt.status, attempt, note)
        if not task.attempts or task.status in ("waiting", "skipped"):
            yield [one_line(task.name), task.status, NOTHING, NOTHING, NOTHING, ""]

    def _step_rows(self, task: Task) -> Iterator[list[str]]:
        """Yield what the agent of a task has done, if it has one; then its steps, or the sum of many."""
        if task.counts is None:
            return
        from zrb_store.inspect.agents import agent_sum  # late: most tasks have no steps

        last_run = deque((attempt.record.run for attempt in task.attempts), maxlen=1)
        if task.counts.prompts and (total := agent_sum(task.steps, last_run[0] if last_run else None)):
            yield [one_line(task.name), *[NOTHING] * 4, total]
        if len(task.steps) <= _FEW or self._steps:
            yield from map(self._step_row, task.steps)
        else:
            yield [one_line(task.name), *[NOTHING] * 4, _all_steps(task.counts)]

    def _step_row(self, step: Step) -> list[str]:
        """Return the row of a step: its last attempt, with the name of the step and its result."""
        from zrb_store.inspect.agents import agent_note

        attempts, last, width = step.attempts, step.last, self._width
        has_completed = last.status == "completed"
        facts = {
            f"{len(attempts)} attempts": len(attempts) > 1,
            "once": last.once,
            "given back": has_completed and step.status != "completed",
            "not restorable": has_completed and not last.restorable,
        }
        of_agent = agent_note(step.name, step.result)
        name = one_line(of_agent or step.name)
        note = name if width is None else shorten(name, _AGENT_WIDTH if of_agent else _STEP_WIDTH)
        if any(facts.values()):
            note += f" ({', '.join(fact for fact, holds in facts.items() if holds)})"
        if error := _error(last):
            note += f": {error}"
        elif step.result is not None and of_agent is None:
            result = preview(step.result, full=width is None)
            if width is not None:
                result = shorten(result, max(_LEAST_RESULT, width - _BEFORE_NOTE - display_width(note)))
            note += f" = {result}"
        return self._row(f"  {one_line(step.id)}", step.status, last, note)

    def _row(self, name: str, status: str, attempt: AttemptRecord, note: str) -> list[str]:
        run = NOTHING if attempt.run is None else str(attempt.run)
        times = self._times.brief(attempt.started_at), took(attempt, attempt.status, self._until)
        return [name, status, run, *times, note]


def hidden_count(every: Sized, are_all_shown: bool) -> int:
    """Return how many of the first runs, or attempts, are not shown one by one."""
    return 0 if are_all_shown or len(every) <= _FEW else len(every) - _LAST


def took(ended: RunRecord | AttemptRecord, status: str, until: int | None) -> str:
    """Return how long a run or an attempt took, or has taken until a moment if it still runs."""
    if status == "lost":  # it ended at an unknown time, before anybody noticed
        return NOTHING
    ended_at = until if ended.ended_at is None and status == "running" else ended.ended_at
    return format_duration(None if ended_at is None else ended_at - ended.started_at)


def _earlier(what: str, statuses: Iterable[str]) -> str:
    """Sum up what is not shown one by one."""
    counts = Counter(statuses)
    return f"{counts.total()} earlier {what}: " + ", ".join(f"{n} {one_line(word)}" for word, n in counts.items())


def _error(attempt: AttemptRecord) -> str:
    error = attempt.error
    return "" if error is None else shorten(one_line(error_line(error)), _ERROR_WIDTH)


def _all_steps(counts: StepCounts) -> str:
    """Sum up the steps of a task: `57 steps, 3 failed attempts`."""
    parts = [f"{counts.steps} steps"]
    if counts.standing < counts.steps:
        parts.append(f"{counts.standing} completed")
    if counts.running:
        parts.append(f"{counts.running} running")
    attempts = {"failed": counts.failed, "interrupted": counts.interrupted, "lost": counts.lost}
    return ", ".join([*parts, *(counted(number, f"{word} attempt") for word, number in attempts.items() if number)])
