"""How reliable the tasks are and how long they take: what the command `stats` says, with a plot of the last runs."""

from __future__ import annotations

from pathlib import PurePath

from zrb_store.db.engine import Database
from zrb_store.inspect.stats import TaskStats, recent_runs, task_stats
from zrb_store.json_tree import JsonObject
from zrb_store.page.addresses import address_of_session, with_words
from zrb_store.page.found import Context, Found, Question
from zrb_store.page.list import LENGTHS, parse_length
from zrb_store.page.render import as_json
from zrb_store.queries.stats import RecentRun
from zrb_store.render.format import percent


def read_stats(database: Database, question: Question) -> Found:
    """Read the statistics of each main task.

    Raises:
        InvalidArgument: The address has a length of time that is none.
    """
    given = question.given
    task, since = given.get("task"), parse_length(given.get("since"))
    found = task_stats(database, task=task, since=since)
    if question.as_json:
        return Found(tree=[one.to_json() for one in found])
    recent = recent_runs(database, task=task, since=since)
    runs = {str(place): recent.get((one.project, one.task), []) for place, one in enumerate(found)}
    length = given.get("since", "")
    context = {
        "rows": [_row(one, len(runs[str(place)])) for place, one in enumerate(found)],
        "runs": as_json({place: list(map(_plotted, own)) for place, own in runs.items()}),
        "filters": {"task": task or "", "since": length},
        "lengths": LENGTHS if length in ("", *LENGTHS) else (*LENGTHS, length),
    }
    return Found("stats.html", context)


def _plotted(run: RecentRun) -> JsonObject:
    started_at, seconds = run.started_at / 1_000_000, max(0, run.ended_at - run.started_at) / 1_000_000
    return {"session": run.session, "outcome": run.outcome, "started_at": started_at, "seconds": seconds}


def _row(stats: TaskStats, plotted: int) -> Context:
    failure = stats.last_failure
    return {
        "task": stats.task,
        "address": with_words("", {"task": stats.task, "project": stats.project}),
        "project": stats.project,
        "project_name": (PurePath(stats.project).name or stats.project) if stats.project else None,
        "runs": stats.runs,
        "running": stats.running,
        "completed": stats.completed,
        "share": None if stats.share is None else percent(stats.share),
        "median": stats.median,
        "p95": stats.p95,
        "plotted": plotted,
        "failure": failure
        and {
            "session": failure.session,
            "address": address_of_session(failure.session),
            "outcome": failure.outcome,
            "at": failure.at,
            "text": failure.text(),
        },
    }
