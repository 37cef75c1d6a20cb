"""The runs of a session, and the attempts and steps of its tasks, as `show` prints them."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sized
from typing import Any

from zrb_store.cli.render.document import Column, Table
from zrb_store.cli.render.format import (
    NOTHING,
    TimeFormat,
    counted,
    error_summary,
    format_duration,
    micros_between,
    preview,
    run_process,
)
from zrb_store.cli.render.layout import display_width, shorten
from zrb_store.cli.render.stdout import page_width
from zrb_store.inspect.agents import agent_note, agent_sum
from zrb_store.queries.step_history import StepCounts
from zrb_store.safe_text import one_line

_ERROR_WIDTH = 300  # columns; `log` shows all of an error's message
_STEP_WIDTH = 60  # columns of a step's name
_AGENT_WIDTH = 90  # columns of what an agent's step did
_BEFORE_NOTE = 50  # columns of the page that a note leaves to the others
_LEAST_RESULT = 16  # columns of a step's result, however narrow the page
_FEW = 20  # runs, or attempts or steps of a task: no more are shown one by one
_LAST = 10  # how many of more runs and attempts are shown


def runs_table(runs: list[dict[str, Any]], times: TimeFormat, *, full: bool) -> Table:
    """Return the table of a session's runs, which are in the shape of `show --format json`.

    Args:
        runs: The runs.
        times: The format of times.
        full: Whether a long list is shown whole.
    """
    columns = (
        Column("run", right=True),
        Column("outcome", status=True),
        Column("started"),
        Column("took", right=True),
        Column("by"),
    )
    hidden = _hidden(runs, full)
    earlier = _earlier("runs", (run["outcome"] or "running" for run in runs[:hidden]))
    rows = [[*[NOTHING] * 4, earlier]] if hidden else []
    rows += [
        [
            str(run["number"]),
            one_line(run["outcome"] or "running"),
            times.brief(run["started_at"]),
            _took(run, run["outcome"]),
            run_process(run),
        ]
        for run in runs[hidden:]
    ]
    return Table(columns, rows, "Runs")


def tasks_table(
    tasks: list[dict[str, Any]],
    step_counts: Mapping[str, StepCounts],
    times: TimeFormat,
    *,
    full: bool,
    all_steps: bool,
) -> Table:
    """Return the table of a session's tasks, which are in the shape of `show --format json`.

    Args:
        tasks: The tasks.
        step_counts: How many steps the tasks have.
        times: The format of times.
        full: Whether long lists, and the results of steps, are shown whole.
        all_steps: Whether all steps are shown one by one.
    """
    columns = (
        Column("attempt", fold=True),
        Column("status", status=True),
        Column("run", right=True),
        Column("started"),
        Column("took", right=True),
        Column("note"),
    )

    width = None if full else page_width()

    def rows() -> Iterator[list[str]]:
        for task in tasks:
            yield from _task_rows(task, times, full)
            if "steps" not in task:
                continue
            if step_counts[task["task"]].prompts and (total := _agent_sum(task)):
                yield [one_line(task["task"]), *[NOTHING] * 4, total]
            if len(task["steps"]) <= _FEW or all_steps or full:
                yield from (_step_row(step, times, width) for step in task["steps"])
            else:
                yield [one_line(task["task"]), *[NOTHING] * 4, _all_steps(step_counts[task["task"]])]

    return Table(columns, rows(), "Tasks")


def _hidden(every: Sized, full: bool) -> int:
    """Return how many of the first runs, or attempts, are not shown one by one."""
    return 0 if full or len(every) <= _FEW else len(every) - _LAST


def _earlier(what: str, statuses: Iterable[str]) -> str:
    """Sum up what is not shown one by one."""
    counts = Counter(statuses)
    return f"{counts.total()} earlier {what}: " + ", ".join(f"{n} {one_line(word)}" for word, n in counts.items())


def _took(run_or_attempt: dict[str, Any], status: str | None) -> str:
    # One that is lost ended at an unknown time, before anybody noticed.
    is_known = status != "lost"
    return format_duration(
        micros_between(run_or_attempt["started_at"], run_or_attempt["ended_at"]) if is_known else None
    )


def _task_rows(task: dict[str, Any], times: TimeFormat, full: bool) -> Iterator[list[str]]:
    """Yield a row for each attempt of a task, of many only for the last, and one if the task waits or was skipped."""
    attempts, hidden = iter(task["attempts"]), _hidden(task["attempts"], full)
    if hidden:
        statuses = (attempt["status"] for attempt in itertools.islice(attempts, hidden))
        yield [one_line(task["task"]), *[NOTHING] * 4, _earlier("attempts", statuses)]
    for place, attempt in enumerate(attempts, hidden + 1):
        is_last = place == len(task["attempts"])
        note = _error(attempt) or ("not restorable" if is_last and not task["restorable"] else "")
        yield _row(one_line(f"{task['task']}#{attempt['number']}"), attempt["status"], attempt, times, note)
    if not task["attempts"] or task["status"] in ("waiting", "skipped"):
        yield [one_line(task["task"]), task["status"], NOTHING, NOTHING, NOTHING, ""]


def _row(name: str, status: str, attempt: dict[str, Any], times: TimeFormat, note: str) -> list[str]:
    run = NOTHING if attempt["run"] is None else str(attempt["run"])
    return [
        name,
        status,
        run,
        times.brief(attempt["started_at"]),
        _took(attempt, attempt["status"]),
        note,
    ]


def _error(attempt: dict[str, Any]) -> str:
    error = attempt["error"]
    return "" if error is None else shorten(one_line(error_summary(error)), _ERROR_WIDTH)


def _step_row(step: dict[str, Any], times: TimeFormat, width: int | None) -> list[str]:
    """Return the row of a step: its last attempt, with the name of the step and its result.

    Args:
        step: The step.
        times: The format of times.
        width: The width of the page; None to show name and result whole.
    """
    attempts = step["attempts"]
    last = attempts[-1]
    has_completed = last["status"] == "completed"
    facts = {
        f"{len(attempts)} attempts": len(attempts) > 1,
        "once": step["once"],
        "given back": has_completed and step["status"] != "completed",
        "not restorable": has_completed and not step["restorable"],
    }
    of_agent = agent_note(step["name"], step["result"])
    name = one_line(of_agent or step["name"])
    note = name if width is None else shorten(name, _AGENT_WIDTH if of_agent else _STEP_WIDTH)
    if any(facts.values()):
        note += f" ({', '.join(fact for fact, holds in facts.items() if holds)})"
    if error := _error(last):
        note += f": {error}"
    elif step["result"] is not None and of_agent is None:
        result = preview(step["result"], full=width is None)
        if width is not None:
            result = shorten(result, max(_LEAST_RESULT, width - _BEFORE_NOTE - display_width(note)))
        note += f" = {result}"
    return _row(f"  {one_line(step['id'])}", step["status"], last, times, note)


def _agent_sum(task: dict[str, Any]) -> str:
    """Sum up what the agent of a task has asked and done; empty if it has none."""
    return agent_sum(task["steps"], task["attempts"][-1]["run"] if task["attempts"] else None)


def _all_steps(counts: StepCounts) -> str:
    """Sum up the steps of a task: `57 steps, 3 failed attempts`."""
    parts = [f"{counts.steps} steps"]
    if counts.standing < counts.steps:
        parts.append(f"{counts.standing} completed")
    if counts.running:
        parts.append(f"{counts.running} running")
    attempts = {"failed": counts.failed, "interrupted": counts.interrupted, "lost": counts.lost}
    return ", ".join([*parts, *(counted(number, f"{word} attempt") for word, number in attempts.items() if number)])
