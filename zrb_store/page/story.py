"""The story of a session: what happened to it, in one sentence."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from zrb_store.render.format import counted, format_duration, micros_between

_MOST_RUNS = 6  # a longer story is told without its middle


def story(described: dict[str, Any]) -> str:
    """Return a sentence such as `load failed in run 1 after 3 of 4 tasks; resumed 9 h later by bob; completed`.

    Args:
        described: The session, in the shape of docs/schema/report.json.
    """
    runs = [run for run in described["runs"] if run["origin"] != "reclaim"]
    if not runs:
        return _without_runs(described)
    clauses: list[str] = []
    for place, run in enumerate(runs):
        if place:
            clauses.append(_resumed(runs[place - 1], run))
        clauses.append(_ended(described, run, is_first=not place))
    if len(runs) > _MOST_RUNS:
        clauses[5:-4] = [f"… {len(runs) - 5} more runs …"]  # the first three runs and the last two stay
    return "; ".join(clauses)


def _without_runs(described: dict[str, Any]) -> str:
    if described["forked_from"]:
        return f"forked from {described['forked_from']}; it has not run yet"
    count = sum(queue["counts"]["values"] for queue in described["queues"].values())
    return f"holds {counted(count, 'value')} in {counted(len(described['queues']), 'queue')}; no run belongs to it"


def _resumed(before: dict[str, Any], run: dict[str, Any]) -> str:
    paused = micros_between(before["ended_at"] or before["worked_until"], run["started_at"])
    later = "" if paused is None else f" {format_duration(max(0, paused))} later"
    user = f" by {run['user']}" if run["user"] and run["user"] != before["user"] else ""
    host = f" on {run['host']}" if run["host"] != before["host"] else ""
    return f"resumed{later}{user}{host}"


def _ended(described: dict[str, Any], run: dict[str, Any], *, is_first: bool) -> str:
    done, total = _done_after(described, run["number"]), len(described["tasks"])
    number, outcome = run["number"], run["outcome"]
    if outcome == "completed":
        took = format_duration(micros_between(run["started_at"], run["ended_at"]))
        return f"completed {counted(total, 'task')} in {took}" if is_first and total else "completed"
    after = f" after {done} of {counted(total, 'task')}" if total else ""
    if outcome is None:
        length = format_duration(micros_between(run["started_at"], described["read_at"]))
        tasks = _named(_in_run(described, number, ("running",)))
        return f"run {number} has been running for {length}" + "".join(
            f",{part}" for part in (f" now in {tasks}" if tasks else "", after) if part
        )
    culprits = _named(_in_run(described, number, (outcome, "lost") if outcome != "damaged" else ()))
    if outcome == "failed":
        return f"{culprits} failed in run {number}{after}" if culprits else f"run {number} failed{after}"
    if outcome == "interrupted":
        return f"run {number} was interrupted{f' in {culprits}' if culprits else ''}{after}"
    if outcome == "lost":
        return f"the process of run {number} died{f' in {culprits}' if culprits else ''}{after}"
    return f"run {number} ended ({outcome}){after}"


def _done_after(described: dict[str, Any], number: int) -> int:
    """Count the tasks that had completed by the end of a run."""
    return sum(
        task["status"] == "skipped"
        or any(
            attempt["status"] == "completed" and (attempt["run"] is None or attempt["run"] <= number)
            for attempt in task["attempts"]
        )
        for task in described["tasks"]
    )


def _in_run(described: dict[str, Any], number: int, statuses: Sequence[str]) -> Iterator[str]:
    """Yield the tasks whose last attempt in a run has one of these statuses."""
    for task in described["tasks"]:
        last = next((each for each in reversed(task["attempts"]) if each["run"] == number), None)
        if last is not None and last["status"] in statuses:
            yield task["task"]


def _named(tasks: Iterator[str]) -> str:
    names = list(tasks)
    if len(names) > 2:
        return f"{names[0]} and {len(names) - 1} others"
    return " and ".join(names)
