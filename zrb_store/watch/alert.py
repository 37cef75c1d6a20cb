"""Alerts: one line each, with the command that helps."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from zrb_store.inspect.incomplete import how_to_start_again, reason, resume_by_zrb, resume_of_command, wait_reason
from zrb_store.masking import one_line
from zrb_store.process import folder_of, identity
from zrb_store.queries.dead_queues import DeadQueue
from zrb_store.queries.last_errors import LastError
from zrb_store.queries.lease import worked_until
from zrb_store.queries.runs import last_started
from zrb_store.queries.waits import Wait, answer
from zrb_store.records import JsonObject, RunRecord, SessionRecord, pick

_LONGEST = 300  # characters of an error in one line


@dataclass(frozen=True)
class Alert:
    """Something that somebody has to look at."""

    event: str  # failed, interrupted, stale or waiting, of a session; dead, of values; overdue, of a task
    what: str  # what it is about, such as `session etl-2026-11-24 (load)`
    why: str | None  # what is known of the cause
    at: int | None  # when it happened, in microseconds (for `stale`, the last sign of life); None for no one moment
    remedy: str  # the command that helps
    session: str | None = None
    project: str | None = None  # its folder or name
    task: str | None = None  # the session's main task, or the overdue one
    queue: str | None = None  # the one that has dead values
    values: int | None = None  # how many values are dead

    @property
    def subject(self) -> str:
        """The name of the session, queue or task."""
        place = f"{self.session}/{self.queue}" if self.queue is not None else self.session
        return place if place is not None and self.event != "overdue" else str(self.task)

    def line(self, time: str = "") -> str:
        """Return it as one line, in which the time `at` is written so."""
        when = f" at {time}" if time and self.at is not None else ""
        why = f": {self.shown_reason()}" if self.why else ""
        return one_line(f"{self.event}{when}: {self.what}{why}; `{self.remedy}`")

    def shown_reason(self) -> str:
        """Return what is known of the cause on one line, which ends somewhere."""
        why = one_line(self.why or "")
        return f"{why[:_LONGEST]}{'...' if len(why) > _LONGEST else ''}"

    def to_json(self) -> JsonObject:
        """Return it as `check --format json` shows it."""
        shown = pick(self, "event", "session", "project", "task", "queue", "values", "at")
        return {**shown, "reason": self.why, "remedy": self.remedy}


def of_session(
    session: SessionRecord,
    runs: Sequence[RunRecord],
    error: LastError | None,
    died: str | None,
    here: str | None,
    find_project: Callable[[SessionRecord], str | None] | None = None,
    waits: Sequence[Wait] = (),
) -> Alert:
    """Describe a session that failed, was interrupted, is stale or waits; `died` says how it is known that it died.

    A wait that is not over needs an answer. If the folder of its project is gone, `find_project` looks for the one
    where the project is now.
    """
    started = last_started(runs)
    at = session.ended_at
    if session.status == "stale":
        at = None if started is None else worked_until(started, None)
    folder = started.folder if started else None
    if session.path and not session.argv:
        folder = folder_of(session.project, folder)
    is_gone = find_project and started and started.host == identity().host and folder and not Path(folder).is_dir()
    if session.argv:
        remedy = resume_of_command(session.name)
    elif session.path and find_project and is_gone:
        remedy = f"{resume_by_zrb(session.name, find_project(session), here)} --here"
    elif session.path:
        remedy = resume_by_zrb(session.name, folder, here)
    else:
        again = None if is_gone else how_to_start_again(session, runs, here)
        remedy = again or f"zrb-store log {session.name}"
    if asked := answer(waits):
        remedy = f"zrb-store {asked}"
    elif waits and not any(each.is_over for each in waits):
        remedy = f"zrb-store show {session.name}"  # nobody can answer
    return Alert(
        event=session.status,
        what=f"session {session.name}" + (f" ({session.task})" if session.task else ""),
        why=wait_reason(waits) if waits else reason(session, runs, error, died),
        at=at,
        remedy=remedy,
        session=session.name,
        project=session.project,
        task=session.task,
    )


def of_dead_values(dead: DeadQueue, why: str | None, program: str) -> Alert:
    """Describe the dead values of a queue."""
    return Alert(
        event="dead",
        what=f"{dead.dead} {'value' if dead.dead == 1 else 'values'} of queue {dead.session}/{dead.queue}",
        why=why,
        at=dead.at,
        remedy=f"{program} requeue {dead.session} {shlex.quote(dead.queue)} --all-dead",
        session=dead.session,
        project=dead.project,
        queue=dead.queue,
        values=dead.dead,
    )
