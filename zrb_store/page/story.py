"""The story of a session: what happened to it, in one sentence."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from zrb_store.inspect.report import Report, ReportRun
from zrb_store.records import RunRecord
from zrb_store.render.format import counted, format_duration, length

_MOST_RUNS = 6  # a longer story is told without its middle


def story(report: Report) -> str:
    """Return a sentence such as `load failed in run 1 after 3 of 4 tasks; resumed 9 h later by bob; completed`."""
    runs = [run for run in report.runs if run.log.record.origin != "reclaim"]
    if not runs:
        return _without_runs(report)
    clauses: list[str] = []
    for place, run in enumerate(runs):
        if place:
            clauses.append(_resumed(runs[place - 1], run.log.record))
        clauses.append(_ended(report, run.log.record, is_first=not place))
    if len(runs) > _MOST_RUNS:
        clauses[5:-4] = [f"… {len(runs) - 5} more runs …"]  # the first three runs and the last two stay
    return "; ".join(clauses)


def _without_runs(report: Report) -> str:
    if report.session.forked_from:
        return f"forked from {report.session.forked_from}; it has not run yet"
    count = sum(queue.count for queue in report.queues)
    return f"holds {counted(count, 'value')} in {counted(len(report.queues), 'queue')}; no run belongs to it"


def _resumed(before: ReportRun, run: RunRecord) -> str:
    last, ended_at = before.log.record, before.log.record.ended_at
    paused = run.started_at - (before.worked_until if ended_at is None else ended_at)
    user = f" by {run.user}" if run.user and run.user != last.user else ""
    host = f" on {run.host}" if run.host != last.host else ""
    return f"resumed {format_duration(max(0, paused))} later{user}{host}"


def _ended(report: Report, run: RunRecord, *, is_first: bool) -> str:
    done, total = _done_after(report, run.number), len(report.tasks)
    number, outcome = run.number, run.outcome
    if outcome == "completed":
        took = format_duration(length(run.started_at, run.ended_at))
        return f"completed {counted(total, 'task')} in {took}" if is_first and total else "completed"
    after = f" after {done} of {counted(total, 'task')}" if total else ""
    if outcome is None:
        tasks = _named(_in_run(report, number, ("running",)))
        return f"run {number} has been running for {format_duration(report.read_at - run.started_at)}" + "".join(
            f",{part}" for part in (f" now in {tasks}" if tasks else "", after) if part
        )
    culprits = _named(_in_run(report, number, (outcome, "lost") if outcome != "damaged" else ()))
    if outcome == "failed":
        return f"{culprits} failed in run {number}{after}" if culprits else f"run {number} failed{after}"
    if outcome == "interrupted":
        return f"run {number} was interrupted{f' in {culprits}' if culprits else ''}{after}"
    if outcome == "lost":
        return f"the process of run {number} died{f' in {culprits}' if culprits else ''}{after}"
    return f"run {number} ended ({outcome}){after}"


def _done_after(report: Report, number: int) -> int:
    """Count the tasks that had completed by the end of a run."""
    return sum(
        each.task.status == "skipped"
        or any(
            attempt.status == "completed" and (attempt.run is None or attempt.run <= number)
            for attempt, _ in each.attempts
        )
        for each in report.tasks
    )


def _in_run(report: Report, number: int, statuses: Sequence[str]) -> Iterator[str]:
    """Yield the tasks whose last attempt in a run has one of these statuses."""
    for each in report.tasks:
        last = next((attempt for attempt, _ in reversed(each.attempts) if attempt.run == number), None)
        if last is not None and last.status in statuses:
            yield each.task.name


def _named(tasks: Iterator[str]) -> str:
    names = list(tasks)
    if len(names) > 2:
        return f"{names[0]} and {len(names) - 1} others"
    return " and ".join(names)
