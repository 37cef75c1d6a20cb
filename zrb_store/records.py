"""The records that queries return, one class for each kind of row. Times are microseconds since 1970 UTC.

`damage` names the columns whose stored content is invalid; the record holds stand-ins for them (`db/columns.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

from zrb_store.json_tree import JsonObject, json_or_null

UNSUCCESSFUL = ("failed", "interrupted", "lost")
"""The statuses of attempts that have ended without completing."""


class ErrorRecord(NamedTuple):
    """The error that ended an attempt, or a run outside of its attempts."""

    type: str | None
    message: str | None
    traceback: str | None = None

    def to_json(self) -> JsonObject:
        """Return it as `show --format json` shows it."""
        return {"type": self.type, "message": self.message}

    def with_traceback(self) -> JsonObject:
        """Return it as `log --format json` shows it."""
        return {**self.to_json(), "traceback": self.traceback}


def _error(type_: str | None, message: str | None, traceback: str | None) -> ErrorRecord | None:
    return None if type_ is None and message is None else ErrorRecord(type_, message, traceback)


@dataclass(frozen=True, slots=True)
class SessionRecord:
    """A session."""

    id: int
    name: str
    status: str  # open, running, completed, failed, interrupted; readers add stale
    project: str | None
    task: str | None
    path: list[str]
    inputs: str | None  # encoded
    tasks: dict[str, str]  # maps every known task, in order, to "waiting" or "skipped"
    parent: str | None
    forked_from: str | None
    pinned: bool
    fence: int
    created_at: int
    finished_at: int | None
    created_tick: int
    finished_tick: int | None
    damage: tuple[str, ...] = ()

    @property
    def is_finished(self) -> bool:
        """Whether nothing is left to run. A main task that was skipped may run next time."""
        return self.status == "completed" and self.tasks.get(self.task or "") != "skipped"


@dataclass(frozen=True, slots=True)
class RunRecord:
    """A run: one process working on a session."""

    id: int
    session_id: int
    number: int
    origin: str
    host: str
    boot_id: str | None
    pid_namespace: str | None
    pid: int
    process_started: str | None
    user: str | None
    command: list[str]
    folder: str | None
    python_version: str | None
    zrb_version: str | None
    started_at: int
    lease_expires_at: int
    suspected_at: int | None
    ended_at: int | None
    outcome: str | None
    told_at: int | None  # when the command for failures was started for its end
    started_tick: int
    ended_tick: int | None
    error_type: str | None  # of the error that ended it outside of attempts
    error_message: str | None
    error_traceback: str | None
    damage: tuple[str, ...] = ()

    @property
    def error(self) -> ErrorRecord | None:
        """The error that ended it outside of its attempts."""
        return _error(self.error_type, self.error_message, self.error_traceback)

    def to_json(self) -> JsonObject:
        """Return it as `show --format json` shows it."""
        return {
            "number": self.number,
            "origin": self.origin,
            "host": self.host,
            "pid": self.pid,
            "started_at": iso(self.started_at),
            "ended_at": iso(self.ended_at),
            "outcome": self.outcome,
            "error": json_or_null(self.error),
        }


@dataclass(frozen=True, slots=True)
class AttemptRecord:
    """An attempt: one execution of a task's action, or of a step of it.

    Without the step's result, which may be long (`attempts.stored_result`).
    """

    id: int
    session_id: int
    session: str
    run_id: int | None
    run: int | None
    fence: int
    task: str
    number: int
    role: str
    status: str
    restorable: bool
    arguments: str | None
    result_queue_id: int | None
    result_seq: int | None
    error_type: str | None
    error_message: str | None
    error_traceback: str | None
    started_at: int
    ended_at: int | None
    given_back_at: int | None
    command_pid: int | None
    command_started: str | None
    parent_id: int | None
    step_of: str | None
    step: str | None
    step_number: int | None
    once: bool
    started_tick: int
    ended_tick: int | None
    given_back_tick: int | None
    damage: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The attempt's name within its session, such as `load#2`."""
        return f"{self.task}#{self.number}"

    @property
    def error(self) -> ErrorRecord | None:
        """The error that ended it."""
        return _error(self.error_type, self.error_message, self.error_traceback)

    @property
    def stands(self) -> bool:
        """Whether the attempt has completed and has not been given back since."""
        return self.status == "completed" and self.given_back_at is None


@dataclass(frozen=True, slots=True)
class ValueRecord:
    """A value of a queue."""

    queue_id: int
    seq: int
    state: str
    type: str
    size: int
    pushed_at: int
    pushed_by: int | None
    ended_at: int | None
    taken_by: int | None
    moved_from: int | None
    orphaned: bool
    deliveries: int
    data: str
    pushed_tick: int
    ended_tick: int | None
    plain: bool
    damage: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ReturnRecord:
    """The return of a taken value to its queue."""

    queue_id: int
    seq: int
    taken_by: int | None
    taken_at: int
    returned_at: int
    reason: str
    deliveries: int | None  # the value's count from then on, if it changed; 0 if it was dead and was requeued
    taken_tick: int
    returned_tick: int
    damage: tuple[str, ...] = ()


def iso(moment: int | None) -> str | None:
    """Format microseconds since 1970 as ISO 8601 in UTC, such as `2026-11-24T08:00:00.000000Z`."""
    if moment is None:
        return None
    return to_datetime(moment).isoformat(timespec="microseconds").removesuffix("+00:00") + "Z"


def to_datetime(moment: int) -> datetime:
    """Convert microseconds since 1970 to an aware UTC datetime, without the rounding of a float."""
    seconds, micros = divmod(moment, 1_000_000)
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=micros)
