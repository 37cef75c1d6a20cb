"""The row of a session in a list, in words, as a terminal and a page draw it."""

from __future__ import annotations

from typing import NamedTuple

from zrb_store.inspect.list import SessionSummary
from zrb_store.masking import one_line
from zrb_store.queries.runs import acknowledged_at
from zrb_store.render.format import NOTHING, format_duration, project_name


class SessionRow(NamedTuple):
    """What a list says of a session. What is not known is `-`, and no cell is empty but `why`."""

    name: str
    project: str  # the last part of its path
    task: str
    status: str
    marks: dict[str, str]  # what is said beside the status, such as "2 dead", each with its own status, or ""
    started_at: int  # microseconds; of a session without a run, when it was created
    took: str
    tasks: str
    by: str  # its process, or what holds its values
    why: str


def row_of_session(summary: SessionSummary) -> SessionRow:
    """Return the row of a session."""
    session, owner = summary.session, summary.owner
    marks = {f"{summary.dead} dead": "dead"} if summary.dead else {}
    marks |= {"pinned": ""} if session.pinned else {}
    marks |= {"acknowledged": ""} if acknowledged_at(summary.runs) else {}
    return SessionRow(
        one_line(session.name),
        project_name(session.project),
        one_line(session.task) if session.task else NOTHING,
        session.status,
        marks,
        summary.runs[0].started_at if summary.runs else session.created_at,
        format_duration(summary.took if session.status != "stale" else None),
        f"{summary.done}/{summary.tasks}" if summary.tasks else NOTHING,
        one_line(f"{owner.pid}@{owner.host}") if owner else _holders(summary),
        one_line(summary.reason or ""),
    )


def _holders(summary: SessionSummary) -> str:
    """Name who holds values of a session that does not run: `held by worker-3/convert#1 (alive) and 2 more`."""
    if not summary.holders:
        return NOTHING
    first, more = summary.holders[0], len(summary.holders) - 1
    duration = "" if first.step_of is None else f" for {format_duration(summary.moment - first.since)}"
    return one_line(f"held by {first.attempt}{duration} ({first.status})" + (f" and {more} more" if more else ""))
