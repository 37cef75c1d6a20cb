"""The records that queries return, one class for each kind of row, and the types of data that JSON can hold.

Times are microseconds since 1970 UTC. Long lists are lazy: they are read while they are written.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Generic, NamedTuple, TypeAlias, TypeVar

K = TypeVar("K")
T = TypeVar("T")

MAX_ROWS = 1000
"""The most attempts, or values, that are read at once and kept in memory; longer lists are lazy."""
MAX_BYTES = 4 * 1024 * 1024  # the most bytes that values kept in memory may have together

JsonValue: TypeAlias = bool | int | float | str | list["JsonValue"] | dict[str, "JsonValue"] | None
"""A stored value as `codec.to_json` returns it: what JSON text becomes."""

JsonTree: TypeAlias = bool | int | float | str | Mapping[str, "JsonTree"] | Iterable["JsonTree"] | None
"""What can be written as JSON. A list in it may be an iterator or lazy, so that it is never in memory as a whole."""

JsonObject: TypeAlias = dict[str, JsonTree]
"""What a `to_json` returns."""


class Lazy(Generic[T]):
    """A list that is read from the store each time it is iterated over, while its snapshot is open."""

    def __init__(self, items: Callable[[], Iterator[T]], count: int) -> None:
        self._items = items
        self._count = count

    def __iter__(self) -> Iterator[T]:
        return self._items()

    def __len__(self) -> int:
        return self._count


Rows: TypeAlias = list[T] | Lazy[T]
"""A list that is in memory, or one that is lazy because it is long."""


def by_key(items: Iterable[T], key: Callable[[T], K]) -> dict[K, list[T]]:
    """Return items in their order by what a function says of each."""
    found: dict[K, list[T]] = {}
    for item in items:
        found.setdefault(key(item), []).append(item)
    return found


def each_as_json(rows: Rows[T], to_json: Callable[[T], JsonTree]) -> list[JsonTree] | Lazy[JsonTree]:
    """Return the JSON of each row, as lazily as the rows."""
    if isinstance(rows, Lazy):
        return Lazy(lambda: map(to_json, rows), len(rows))
    return [to_json(row) for row in rows]


_TIMES = ("at", "since", "deadline")


def pick(thing: object, *names: str) -> JsonObject:
    """Return attributes of a thing, for its JSON: times, which their names tell, as texts."""
    picked: JsonObject = {}
    for name in names:
        value, is_time = getattr(thing, name), name.endswith("_at") or name in _TIMES
        picked[name] = iso(value) if is_time else value.to_json() if hasattr(value, "to_json") else value
    return picked


def pick_all(thing: NamedTuple) -> JsonObject:
    """Return all fields of a thing, as `pick` does."""
    return pick(thing, *thing._fields)


def whole(tree: JsonTree) -> JsonTree:
    """Read the lists of a tree that are read when they are iterated over."""
    if isinstance(tree, Mapping):
        return {key: whole(item) for key, item in tree.items()}
    if tree is None or isinstance(tree, (str, int, float, bool)):
        return tree
    return [whole(item) for item in tree]


COMMAND_FAILED = "CommandFailed"
"""The type of the error of an attempt whose command has failed."""

COMMAND = "--"
"""What the path of a session begins with if the command of `zrb-store run` follows."""

RERUN = "rerun"
"""The attribute of a step that says why it began again although it had completed."""

UNSUCCESSFUL = ("failed", "interrupted", "lost")  # the statuses of attempts that have ended without completing
HALTED = ("failed", "interrupted", "stale")  # the statuses of sessions that ended without completing
UNFINISHED = (*UNSUCCESSFUL, "waiting")  # the statuses of attempts that have undone what they did to other sessions


class ErrorRecord(NamedTuple):
    """The error that ended an attempt, or a run outside of its attempts."""

    type: str | None
    message: str | None
    traceback: str | None = None

    def to_json(self) -> JsonObject:
        """Return it as `show --format json` shows it."""
        return {"type": self.type, "message": self.message}

    def text(self) -> str:
        """Return type and message. What a failed command said speaks for itself."""
        if self.type == "CmdTaskError" and self.message:
            return self.message
        return ": ".join(part for part in (self.type, self.message) if part)

    def with_traceback(self) -> JsonObject:
        return {**self.to_json(), "traceback": self.traceback}


def _error(type_: str | None, message: str | None, traceback: str | None) -> ErrorRecord | None:
    return None if type_ is None and message is None else ErrorRecord(type_, message, traceback)


@dataclass(frozen=True, slots=True)
class SessionRecord:
    """What the store knows of a session."""

    id: int
    name: str
    status: str  # open, running, waiting, completed, failed, interrupted; readers add stale
    project: str | None
    task: str | None
    path: list[str]  # the words that name the task to zrb; or `--` and the command of `zrb-store run`
    inputs: str | None  # encoded
    tasks: dict[str, str]  # maps every known task, in order, to "not started" or "skipped"
    parent: str | None
    forked_from: str | None
    pinned: bool
    fence: int
    created_at: int
    ended_at: int | None
    created_tick: int
    ended_tick: int | None
    identity: str  # random; copies of the database keep it
    traceparent: str | None  # the span of its last run

    @property
    def is_finished(self) -> bool:
        """Whether nothing is left to run. A main task that was skipped may run next time."""
        return self.status == "completed" and self.tasks.get(self.task or "") != "skipped"

    @property
    def argv(self) -> list[str]:
        """The command that `zrb-store run` runs, with its secrets masked; empty for any other session."""
        return self.path[1:] if self.path[:1] == [COMMAND] else []

    @property
    def call(self) -> str | None:
        """What a person starts: the words that name the task to zrb, the task and its command, or the task."""
        return f"{self.task}: {shlex.join(self.argv)}" if self.argv else " ".join(self.path) or self.task


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
    status: str | None
    notified_at: int | None  # when the command for failures was started for its end
    started_tick: int
    ended_tick: int | None
    error_type: str | None  # of the error that ended it outside of attempts
    error_message: str | None
    error_traceback: str | None
    stop_requested_at: int | None  # when `stop` asked its process to end it
    acknowledged_at: int | None  # when `ack` told `check` to be quiet about it
    inputs: str | None = None  # encoded; None if it had those that the session has
    seen_at: int = 0  # of one whose process died, when its attempts last began or ended, if that is read

    @property
    def process(self) -> tuple[str | None, str | None, int, str | None]:
        """What identifies its process among all that run on its machine: boot, namespace, pid and start."""
        return self.boot_id, self.pid_namespace, self.pid, self.process_started

    @property
    def handles_sigterm(self) -> bool:
        """Whether zrb or zrb-store handles SIGTERM while it runs, and not only the program itself."""
        return self.origin == "cli" or self.zrb_version is not None

    @property
    def error(self) -> ErrorRecord | None:
        """The error that ended it outside of its attempts."""
        return _error(self.error_type, self.error_message, self.error_traceback)

    def to_json(self) -> JsonObject:
        """Return it as `show --format json` shows it."""
        return pick(self, "number", "origin", "host", "pid", "started_at", "ended_at", "status", "error")


@dataclass(frozen=True, slots=True)
class AttemptRecord:
    """An attempt: one execution of a task's action, or of a step of it, without the step's result."""

    id: int
    session_id: int
    session: str
    run_id: int | None
    run: int | None
    fence: int
    task: str
    number: int
    kind: str
    status: str
    restorable: bool
    started_at: int
    started_tick: int
    ended_at: int | None
    ended_tick: int | None
    given_back_at: int | None
    given_back_tick: int | None
    command_pid: int | None
    command_started: str | None
    result_queue_id: int | None
    result_seq: int | None
    parent_id: int | None
    used_by: int | None
    once: bool
    step_of: str | None
    step: str | None
    step_number: int | None
    attributes: str | None  # JSON: what else its kind says of it
    awaited_queue: str | None
    deadline_at: int | None
    say: str | None
    say_digest: str | None
    error_type: str | None
    error_message: str | None
    error_traceback: str | None
    error_data: str | None
    inputs_read: str | None  # JSON list of the inputs that it has read, or ["*"]; None if that is not known
    inputs_assigned: str | None  # encoded dict: of each input a list of its value, which is empty if it was deleted
    code: str | None  # digest of what its task ran, when it completed
    inside: str | None  # the task whose action has started it, if one has
    arguments: str | None

    @property
    def name(self) -> str:
        """The attempt's name within its session, such as `load#2`."""
        return f"{self.task}#{self.number}"

    @property
    def error(self) -> ErrorRecord | None:
        return _error(self.error_type, self.error_message, self.error_traceback)

    @property
    def read(self) -> list[str] | None:
        """The inputs that it has read, or `["*"]`; None if that is not known."""
        return None if self.inputs_read is None else list(json.loads(self.inputs_read))

    @property
    def assigned(self) -> list[str]:
        """The inputs that it has assigned, or `["*"]` if their names are no plain texts."""
        found = json.loads(self.inputs_assigned or "{}")
        return ["*"] if "$" in found else sorted(found)

    @property
    def in_effect(self) -> bool:
        """Whether the attempt has completed and has not been given back since."""
        return self.status == "completed" and self.given_back_at is None


@dataclass(frozen=True, slots=True)
class ValueRecord:
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
    failed_deliveries: int
    data: str
    pushed_tick: int
    ended_tick: int | None
    plain: bool
    traceparent: str | None  # the span that it was pushed in
    due_at: int | None  # until then it is delayed: in its place, but in nobody's queue


@dataclass(frozen=True, slots=True)
class ReturnRecord:
    """The return of a taken value to its queue."""

    queue_id: int
    seq: int
    taken_by: int | None
    taken_at: int
    returned_at: int
    reason: str
    failed_deliveries: int | None  # the value's count from then on, if it changed; 0 if its death ended by hand
    taken_tick: int
    returned_tick: int
    due_at: int | None  # until when the value had been delayed before it was taken


@dataclass(frozen=True, slots=True)
class ReplacedRecord:
    """What a value was before another content was put in its place."""

    queue_id: int
    seq: int
    type: str
    size: int
    data: str
    failed_deliveries: int
    replaced_at: int
    replaced_tick: int


def kind_of(*, is_check: bool, has_checks: bool, is_fallback: bool) -> str:
    """Return the kind of a task: `check`, `server` (if it has checks), `fallback` or `task`."""
    if is_check:
        return "check"
    if has_checks:
        return "server"
    return "fallback" if is_fallback else "task"


def iso(moment: int | None) -> str | None:
    """Format microseconds since 1970 as ISO 8601 in UTC, such as `2026-11-24T08:00:00.000000Z`."""
    if moment is None:
        return None
    return to_datetime(moment).isoformat(timespec="microseconds").removesuffix("+00:00") + "Z"


def to_datetime(moment: int) -> datetime:
    """Convert microseconds since 1970 to an aware UTC datetime, without the rounding of a float."""
    seconds, micros = divmod(moment, 1_000_000)
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=micros)
