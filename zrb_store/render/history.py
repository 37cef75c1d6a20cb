"""The runs and the tasks of a session, with their attempts and steps, as `show` prints them."""

from __future__ import annotations

import itertools
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence, Sized

from zrb_store.inspect.session_view import Attempt, Step, Task
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
    length,
    preview,
    run_process,
)
from zrb_store.render.table import display_width, shorten

_ERROR_WIDTH = 300  # columns; `log` shows all of an error's message
_STEP_WIDTH = 60  # columns of a step's name
_AGENT_WIDTH = 90  # columns of what an agent's step did
_BEFORE_NOTE = 50  # columns of the page that a note leaves to the others
_LEAST_RESULT = 16  # columns of a step's result, however narrow the page
FEW = 20  # runs, or attempts or steps of a task: no more are shown one by one
_LAST = 10  # how many of more runs and attempts are shown


def runs_table(runs: Sequence[RunRecord], times: TimeFormat, *, until: int | None, every: bool) -> Table:
    """Return the table of a session's runs.

    Args:
        until: The moment until which a run that still runs has taken time; None not to show that.
        every: Whether a long list is shown whole.
    """
    columns = (
        Column("run", right=True),
        Column("outcome", status=True),
        Column("started", leaves=2),
        Column("took", right=True, leaves=1),
        Column("by"),
    )
    hidden = hidden_count(runs, every)
    outcomes = (run.outcome or "running" for run in runs[:hidden])
    rows = [[*[NOTHING] * 4, earlier("runs", outcomes)]] if hidden else []
    rows += [
        [
            str(run.number),
            one_line(run.outcome or "running"),
            times.brief(run.started_at),
            took(run, run.outcome or "running", until),
            run_process(run),
        ]
        for run in runs[hidden:]
    ]
    return Table(columns, rows, "Runs")


def tasks_table(
    tasks: list[Task],
    times: TimeFormat,
    *,
    until: int | None,
    full: bool,
    every: bool,
    all_steps: bool,
) -> Table:
    """Return the table of a session's tasks.

    Args:
        until: The moment until which an attempt that runs has taken time; None not to show that.
        full: Whether the results of steps are shown whole.
        all_steps: Whether all steps are shown one by one.
    """
    columns = (
        Column("attempt"),
        Column("status", status=True),
        Column("run", right=True, leaves=1),
        Column("started", leaves=2),
        Column("took", right=True, leaves=3),
        Column("note"),
    )

    width = None if full else page_width()

    def rows() -> Iterator[list[str]]:
        for task in tasks:
            yield from _task_rows(task, times, until, every)
            if task.counts is None:
                continue
            from zrb_store.inspect.agents import agent_sum  # late: most tasks have no steps

            last_run = deque((attempt.record.run for attempt in task.attempts), maxlen=1)
            if task.counts.prompts and (total := agent_sum(task.steps, last_run[0] if last_run else None)):
                yield [one_line(task.name), *[NOTHING] * 4, total]
            if len(task.steps) <= FEW or all_steps:
                yield from (_step_row(step, times, until, width) for step in task.steps)
            else:
                yield [one_line(task.name), *[NOTHING] * 4, _all_steps(task.counts)]

    return Table(columns, rows(), "Tasks")


def hidden_count(every: Sized, are_all_shown: bool) -> int:
    """Return how many of the first runs, or attempts, are not shown one by one."""
    return 0 if are_all_shown or len(every) <= FEW else len(every) - _LAST


def earlier(what: str, statuses: Iterable[str]) -> str:
    """Sum up what is not shown one by one."""
    counts = Counter(statuses)
    return f"{counts.total()} earlier {what}: " + ", ".join(f"{n} {one_line(word)}" for word, n in counts.items())


def took(ended: RunRecord | AttemptRecord, status: str, until: int | None) -> str:
    """Return how long a run or an attempt took, or has taken until a moment if it still runs."""
    if status == "lost":  # it ended at an unknown time, before anybody noticed
        return NOTHING
    ended_at = until if ended.ended_at is None and status == "running" else ended.ended_at
    return format_duration(length(ended.started_at, ended_at))


def _task_rows(task: Task, times: TimeFormat, until: int | None, every: bool) -> Iterator[list[str]]:
    """Yield a row for each attempt of a task, of many only for the last, and one if the task waits or was skipped."""
    attempts: Iterator[Attempt] = iter(task.attempts)
    hidden = hidden_count(task.attempts, every)
    if hidden:
        statuses = (attempt.record.status for attempt in itertools.islice(attempts, hidden))
        yield [one_line(task.name), *[NOTHING] * 4, earlier("attempts", statuses)]
    for place, (attempt, _) in enumerate(attempts, hidden + 1):
        is_last = place == len(task.attempts)
        note = _error(attempt) or ("not restorable" if is_last and not task.restorable else "")
        yield _row(one_line(attempt.name), attempt.status, attempt, times, until, note)
    if not task.attempts or task.status in ("waiting", "skipped"):
        yield [one_line(task.name), task.status, NOTHING, NOTHING, NOTHING, ""]


def _row(name: str, status: str, attempt: AttemptRecord, times: TimeFormat, until: int | None, note: str) -> list[str]:
    run = NOTHING if attempt.run is None else str(attempt.run)
    return [name, status, run, times.brief(attempt.started_at), took(attempt, attempt.status, until), note]


def _error(attempt: AttemptRecord) -> str:
    error = attempt.error
    return "" if error is None else shorten(one_line(error_line(error)), _ERROR_WIDTH)


def _step_row(step: Step, times: TimeFormat, until: int | None, width: int | None) -> list[str]:
    """Return the row of a step: its last attempt, with the name of the step and its result."""
    from zrb_store.inspect.agents import agent_note  # late, as above

    attempts, last = step.attempts, step.last
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
    return _row(f"  {one_line(step.id)}", step.status, last, times, until, note)


def _all_steps(counts: StepCounts) -> str:
    """Sum up the steps of a task: `57 steps, 3 failed attempts`."""
    parts = [f"{counts.steps} steps"]
    if counts.standing < counts.steps:
        parts.append(f"{counts.standing} completed")
    if counts.running:
        parts.append(f"{counts.running} running")
    attempts = {"failed": counts.failed, "interrupted": counts.interrupted, "lost": counts.lost}
    return ", ".join([*parts, *(counted(number, f"{word} attempt") for word, number in attempts.items() if number)])
