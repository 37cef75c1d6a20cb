"""Alerts: one line each, with the command that helps."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from zrb_store.masking import one_line
from zrb_store.process import folder_of, identity, program_of
from zrb_store.queries.lease import worked_until
from zrb_store.queries.notify import LastError
from zrb_store.queries.runs import last_started
from zrb_store.queries.waits import Wait, answer
from zrb_store.records import JsonObject, RunRecord, SessionRecord, pick

if TYPE_CHECKING:
    from zrb_store.queries.stats import DeadQueue

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


def wait_reason(waits: Sequence[Wait]) -> str:
    """Say what a session waits for."""
    return " and ".join(dict.fromkeys(each.text() for each in waits))


def reason(session: SessionRecord, runs: Sequence[RunRecord], error: LastError | None, died: str | None) -> str | None:
    """Say why a session failed, was interrupted or is stale; None if nothing is known."""
    if session.status == "stale":
        last = last_started(runs)
        died = died or "its process died; its values are back in their queues"
        return died if last is None else f"pid {last.pid} on {last.host}: {died}"
    if error is None:
        return None
    # These say no more than that it was interrupted.
    says_little = error.type in ("CancelledError", "KeyboardInterrupt")
    return f"while {error.task} ran" if error.task and says_little else error.text()


def how_to_start_again(session: SessionRecord, runs: Sequence[RunRecord], here: str | None) -> str | None:
    """Return the shell command that starts a session's program again; None if that is not known."""
    last = last_started(runs)
    if last is None or not last.command or program_of(last.command, last.folder) is None:
        return None
    words = list(last.command)
    if words[0].endswith(".py"):
        words.insert(0, "python3")  # what it was started with is not stored
    # A program that uses zrb as a library gets the session's name from its environment, any other one knows it.
    variable = f"ZRB_STORE_SESSION={session.name} " if last.zrb_version else ""
    return _in_folder(last.folder, here, variable + shlex.join(words))


def resume_by_zrb(session: str, folder: str | None, here: str | None) -> str:
    """Return the shell command by which zrb resumes a session of its own, in the folder of its project."""
    return _in_folder(folder, here, f"zrb xcom resume {session}")


def resume_of_command(session: str) -> str:
    """Return the shell command that resumes a session of `run`, which remembers its folder."""
    return f"zrb-store resume {session}"


def _in_folder(folder: str | None, here: str | None, command: str) -> str:
    if folder is None or (here is not None and Path(folder) == Path(here)):
        return command
    return f"cd {shlex.quote(folder)} && {command}"


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
