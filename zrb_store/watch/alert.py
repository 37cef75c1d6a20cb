"""Alerts: one line each, with the command that helps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from zrb_store.db.transaction import Executor
from zrb_store.inspect.advice import PROGRAM, Advice, Facts, Start, advice, advice_on_dead_values, first, look_at_log
from zrb_store.inspect.incomplete import reason
from zrb_store.masking import one_line
from zrb_store.queries.dead_queues import DeadQueue
from zrb_store.queries.last_errors import LastError
from zrb_store.queries.lease import worked_until
from zrb_store.queries.runs import last_started
from zrb_store.queries.waits import Wait, awaited
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
    after: str = ""  # what is said after it
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
        return one_line(f"{self.event}{when}: {self.what}{why}; `{self.remedy}`{self.after}")

    def shown_reason(self) -> str:
        """Return what is known of the cause on one line, which ends somewhere."""
        why = one_line(self.why or "")
        return f"{why[:_LONGEST]}{'...' if len(why) > _LONGEST else ''}"

    def to_json(self) -> JsonObject:
        """Return it as `check --format json` shows it."""
        shown = pick(self, "event", "session", "project", "task", "queue", "values", "at")
        return {**shown, "reason": self.why, "remedy": self.remedy}


def of_session(
    executor: Executor,
    session: SessionRecord,
    runs: Sequence[RunRecord],
    error: LastError | None,
    died: str | None,
    here: str | None,
    waits: Sequence[Wait] = (),
) -> Alert:
    """Describe a session that failed, was interrupted, is stale or waits; `died` says how it is known that it died."""
    started = last_started(runs)
    at = session.ended_at
    if session.status == "stale":
        at = None if started is None else worked_until(started, None)
    facts = Facts(Start.of(executor, session, runs), session.status, waits)
    helps = first(advice(facts, here=here)) or Advice("Show", f"{PROGRAM} show {session.name}")
    return Alert(
        event=session.status,
        what=f"session {session.name}" + (f" ({session.task})" if session.task else ""),
        why=awaited(waits) if waits else reason(session, runs, error, died),
        at=at,
        remedy=str(helps.command),
        after=helps.after,
        session=session.name,
        project=session.project,
        task=session.task,
    )


def of_failed_step(session: SessionRecord, error: LastError | None) -> Alert:
    """Describe a session of a script that completed although a step failed."""
    return Alert(
        event="failed",
        what=f"a step of session {session.name} ({session.task}), which completed",
        why=error and error.message,
        at=session.ended_at,
        remedy=look_at_log(session.name),
        session=session.name,
        project=session.project,
        task=session.task,
    )


def of_dead_values(dead: DeadQueue, why: str | None, program: str) -> Alert:
    """Describe the dead values of a queue."""
    helps = advice_on_dead_values(dead.session, dead.queue, program)
    return Alert(
        event="dead",
        what=f"{dead.dead} {'value' if dead.dead == 1 else 'values'} of queue {dead.session}/{dead.queue}",
        why=why,
        at=dead.at,
        remedy=str(helps.command),
        after=helps.after,
        session=dead.session,
        project=dead.project,
        queue=dead.queue,
        values=dead.dead,
    )
