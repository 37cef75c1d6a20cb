"""What the queries return: one frozen record per noun. Times are microseconds since 1970 UTC.

`damage` names the columns in which the row had what cannot be; the record has stand-ins for them (`columns.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime


@dataclass(frozen=True, slots=True)
class SessionRecord:
    """One session."""

    id: int
    name: str
    status: str  # open, running, completed, failed, interrupted; readers add stale
    project: str | None
    task: str | None
    path: list[str]
    inputs: str | None  # encoded
    tasks: dict[str, str]  # every known task in order -> "waiting" or "skipped"
    parent: str | None
    forked_from: str | None
    pinned: bool
    fence: int
    created_at: int
    finished_at: int | None
    damage: tuple[str, ...] = ()

    @property
    def is_finished(self) -> bool:
        """Whether nothing is left to run. A main task that was skipped may have something to do now."""
        return self.status == "completed" and self.tasks.get(self.task or "") != "skipped"


@dataclass(frozen=True, slots=True)
class RunRecord:
    """One process working on a session."""

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
    ended_at: int | None
    outcome: str | None
    damage: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AttemptRecord:
    """One execution of one task's action."""

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
    damage: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """`load#2`: the attempt within its session."""
        return f"{self.task}#{self.number}"

    @property
    def stands(self) -> bool:
        """Whether it completed and was not given back since."""
        return self.status == "completed" and self.given_back_at is None


@dataclass(frozen=True, slots=True)
class ValueRecord:
    """One item of a queue."""

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
    data: str
    damage: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ReturnRecord:
    """One give-back of one value."""

    queue_id: int
    seq: int
    taken_by: int | None
    taken_at: int
    returned_at: int
    reason: str
    damage: tuple[str, ...] = ()


def iso(moment: int | None) -> str | None:
    """Format microseconds since 1970 as ISO 8601 UTC with microseconds."""
    if moment is None:
        return None
    return to_datetime(moment).isoformat(timespec="microseconds").removesuffix("+00:00") + "Z"


def to_datetime(moment: int) -> datetime:
    """Microseconds since 1970 as an aware UTC datetime, without a float on the way."""
    seconds, micros = divmod(moment, 1_000_000)
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=micros)
