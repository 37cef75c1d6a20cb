"""Alerts: one line each, with the command that helps."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from zrb_store.local_time import rounded
from zrb_store.masking import one_line
from zrb_store.process import folder_of, program_of
from zrb_store.queries.lease import worked_until
from zrb_store.queries.notify import LastError
from zrb_store.records import JsonObject, RunRecord, SessionRecord, iso

_LONGEST = 300  # characters of an error in one line


@dataclass(frozen=True)
class Alert:
    """Something that somebody has to look at."""

    event: str  # failed, interrupted or stale, of a session; dead, of values; overdue, of a task
    what: str  # what it is about, such as `session etl-2026-11-24 (load)`
    why: str | None  # what is known of the cause
    at: int | None  # when it happened, in microseconds (for `stale`, the last sign of life); None for no one moment
    remedy: str  # the command that helps
    session: str | None = None
    project: str | None = None  # its folder or name
    task: str | None = None  # the session's main task, or the overdue one
    queue: str | None = None  # the one that has dead values
    values: int | None = None  # how many values are dead

    def line(self, time: str = "") -> str:
        """Return it as one line, in which the time `at` is written so."""
        when = f" at {time}" if time and self.at is not None else ""
        why = one_line(self.why or "")
        why = f": {why[:_LONGEST]}{'...' if len(why) > _LONGEST else ''}" if why else ""
        return one_line(f"{self.event}{when}: {self.what}{why}; `{self.remedy}`")

    def to_json(self) -> JsonObject:
        """Return it as `check --format json` shows it."""
        return {
            "event": self.event,
            "session": self.session,
            "project": self.project,
            "task": self.task,
            "queue": self.queue,
            "values": self.values,
            "at": iso(self.at),
            "reason": self.why,
            "remedy": self.remedy,
        }


def of_session(
    session: SessionRecord, runs: Sequence[RunRecord], error: LastError | None, died: str | None, here: str | None
) -> Alert:
    """Describe a session that failed, was interrupted or is stale; `died` says how it is known that it died."""
    last = runs[-1] if runs else None
    if session.status == "stale":
        at = None if last is None else max(last.started_at, worked_until(last, None))
        why = died if last is None else f"pid {last.pid} on {last.host}: {died}"
    else:
        at, why = session.ended_at, None
        if error is not None:
            # These say no more than that it was interrupted.
            says_little = error.type in ("CancelledError", "KeyboardInterrupt")
            why = f"while {error.task} ran" if error.task and says_little else error.text()
    if session.argv:
        remedy = f"zrb-store resume {session.name}"
    elif session.path:
        started = _last_started(runs)
        remedy = resume_by_zrb(session.name, folder_of(session.project, started.folder if started else None), here)
    else:
        remedy = how_to_start_again(session, runs, here) or f"zrb-store log {session.name}"
    return Alert(
        event=session.status,
        what=f"session {session.name}" + (f" ({session.task})" if session.task else ""),
        why=why,
        at=at,
        remedy=remedy,
        session=session.name,
        project=session.project,
        task=session.task,
    )


def how_to_start_again(session: SessionRecord, runs: Sequence[RunRecord], here: str | None) -> str | None:
    """Return the shell command that starts a session's program again; None if that is not known."""
    last = _last_started(runs)
    if last is None or not last.command or program_of(last.command, last.folder) is None:
        return None
    words = list(last.command)
    if words[0].endswith(".py"):
        words.insert(0, "python3")  # what it was started with is not stored
    # A program that uses zrb as a library gets the session's name from its environment, any other one knows it.
    variable = f"ZRB_STORE_SESSION={session.name} " if last.zrb_version else ""
    return _in_folder(last.folder, here, variable + shlex.join(words))


def _last_started(runs: Sequence[RunRecord]) -> RunRecord | None:
    """Return the last run that somebody started. A reclaim leaves a run of its own."""
    return next((run for run in reversed(runs) if run.origin != "reclaim"), None)


def resume_by_zrb(session: str, folder: str | None, here: str | None) -> str:
    """Return the shell command by which zrb resumes a session of its own, in the folder of its project."""
    return _in_folder(folder, here, f"zrb xcom resume {session}")


def _in_folder(folder: str | None, here: str | None, command: str) -> str:
    if folder is None or (here is not None and Path(folder) == Path(here)):
        return command
    return f"cd {shlex.quote(folder)} && {command}"


def of_dead_values(session: str, project: str | None, queue: str, count: int, at: int, program: str) -> Alert:
    """Describe the dead values of a queue, of which the last died at this moment, in microseconds."""
    place = f"{session} {shlex.quote(queue)}"
    return Alert(
        event="dead",
        what=f"{count} {'value' if count == 1 else 'values'} of queue {session}/{queue}",
        why=f"`{program} show {place} --dead` shows why",
        at=at,
        remedy=f"{program} requeue {place} --all-dead",
        session=session,
        project=project,
        queue=queue,
        values=count,
    )


def of_overdue_task(
    task: str, newest: tuple[str, int] | None, moment: int, max_age: int, project: str | None, program: str
) -> Alert:
    """Describe a task whose newest result, of this session and time, is too old, or that has none.

    Times are in microseconds. The project is that which was searched; None for all.
    """
    if newest is None:
        why = "no completed session has a result of it"
    else:
        why = f"the newest result is {rounded(moment - newest[1])} old (session {newest[0]}), over {rounded(max_age)}"
    return Alert(
        event="overdue",
        what=f"task {task}",
        why=why,
        at=None,
        remedy=f"{program} list --task {shlex.quote(task)}",
        session=None if newest is None else newest[0],
        project=project,
        task=task,
    )
