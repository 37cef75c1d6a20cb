"""The log of a session: how runs were started, how attempts ended, their output, and changes by hand.

Each `to_json` is a part of what `log --format json` shows.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import NamedTuple

from zrb_store.db.columns import OUTPUT
from zrb_store.db.engine import Database
from zrb_store.db.transaction import Transaction
from zrb_store.errors import TaskNotFound
from zrb_store.inspect.show import SessionView
from zrb_store.names import nearest
from zrb_store.queries import by_hand, history, lease, output, runs, sessions
from zrb_store.queries.clock import now_micros
from zrb_store.queries.show import LoggedAttempt, attempted_tasks, attempts_with_errors
from zrb_store.records import UNSUCCESSFUL, AttemptRecord, Damage, JsonObject, RunRecord, iso, pick


class AttemptOutput(NamedTuple):
    bytes: int
    truncated: bool  # whether only the end of it is stored
    lines: list[output.OutputLine]  # those that are stored

    def to_json(self) -> JsonObject:
        return {"bytes": self.bytes, "truncated": self.truncated, "lines": list(map(line_json, self.lines))}


@dataclass(frozen=True, slots=True)
class AttemptLog:
    """An attempt, or one of a step, with its traceback, and the attempt around it if that still exists."""

    record: AttemptRecord
    parent: str | None
    output: AttemptOutput | None

    @property
    def has_failed(self) -> bool:
        """Whether it has not completed, or has an error."""
        return self.record.error is not None or self.record.status in UNSUCCESSFUL

    def to_json(self) -> JsonObject:
        record = self.record
        return {
            "attempt": record.name,
            **pick(record, "run", "role", "step"),
            "parent": self.parent,
            **pick(record, "status", "started_at", "ended_at", "given_back_at"),
            "error": None if record.error is None else record.error.with_traceback(),
            **pick(self, "output"),
        }


@dataclass(frozen=True)
class SessionLog:
    """The log of a session. The attempts and the changes are read while they are iterated over, once."""

    name: str
    status: str
    runs: list[RunRecord]  # with tracebacks
    attempts: Iterator[AttemptLog]
    changes: Iterator[by_hand.Change]

    def to_json(self) -> JsonObject:
        return {
            **pick(self, "name", "status"),
            "runs": list(map(run_json, self.runs)),
            "attempts": map(AttemptLog.to_json, self.attempts),
            "changes": map(change_json, self.changes),
        }


def run_json(run: RunRecord) -> JsonObject:
    return {
        **run.to_json(),
        "error": None if run.error is None else run.error.with_traceback(),
        **pick(run, "user", "command", "folder", "python_version", "zrb_version"),
    }


def change_json(change: by_hand.Change) -> JsonObject:
    return {**change._asdict(), "at": iso(change.at)}


def line_json(line: output.OutputLine) -> JsonObject:
    return {"at": iso(line.at), "stream": line.stream, "text": line.text}


@contextmanager
def log(database: Database, name: str, task: str | None = None, damage: Damage | None = None) -> Iterator[SessionLog]:
    """Read the log of a session; only attempts of `task` and of its steps, or of a step by its id TASK/NUMBER."""
    with database.snapshot() as transaction:
        view = SessionView(transaction, name, None, damage)
        view.damage.note_session(view.session, view.runs)
        yield log_of(view, task)


def log_of(view: SessionView, task: str | None = None) -> SessionLog:
    """Return the log of a session whose snapshot is open, as `log` does."""
    transaction, session = view.transaction, view.session
    is_step = task is not None and _is_step(transaction, session.id, session.name, task)
    attempts = attempts_with_errors(transaction, session.id, task, is_step=is_step)
    return SessionLog(
        session.name,
        session.status,
        [
            replace(run, error_traceback=runs.traceback_of(transaction, run.id)) if run.error else run
            for run in view.runs
        ],
        (_attempt(view, logged) for logged in attempts),
        _changes(transaction, session.name, view.damage),
    )


def _is_step(transaction: Transaction, session_id: int, session: str, task: str) -> bool:
    """Whether a name is the id of a step, and not the name of a task."""
    attempted = {each.task for each in attempted_tasks(transaction, session_id)}
    if task in attempted:
        return False
    if history.newest(transaction, session_id, task) is not None:
        return True
    # A fork may have steps of a task that has no attempts yet.
    attempted.update(each.task for each in history.counts(transaction, session_id))
    if task not in attempted:
        raise _no_task(session, task, attempted)
    return False


def _no_task(session: str, task: str, known: Collection[str]) -> TaskNotFound:
    return TaskNotFound(f"session {session} has no attempt of task {task!r}{nearest(task, known)}")


def _attempt(view: SessionView, logged: LoggedAttempt) -> AttemptLog:
    """Add what an attempt printed, without the lines of damaged pieces."""
    attempt, printed = view.seen(logged.record), None
    view.damage.note(f"attempt {attempt.session}/{attempt.name}", attempt.damage)
    stored = output.of_attempt(view.transaction, attempt.id) if logged.printed else None
    if stored is not None:
        lines: list[output.OutputLine] = []
        for _, data in output.pieces(view.transaction, attempt.id):
            lines += _lines(data, attempt.session, attempt.name, view.damage)
        printed = AttemptOutput(stored.bytes, stored.truncated, lines)
    return AttemptLog(attempt, logged.around, printed)


def _changes(transaction: Transaction, name: str, damage: Damage) -> Iterator[by_hand.Change]:
    for change, damaged in by_hand.of_session(transaction, name):
        damage.note(f"a change of session {name}", damaged)
        yield change


def _lines(data: str, session: str, attempt: str, damage: Damage) -> list[output.OutputLine]:
    if OUTPUT["data"].problem(data):
        damage.note(f"the output of {session}/{attempt}", ("data",))
        return []
    return output.decode_lines(data)


class Printed(NamedTuple):
    """A line that an attempt printed, and the name TASK#N of the attempt."""

    attempt: str
    line: output.OutputLine


class Follower:
    """A reader of what the attempts of a session's newest run print."""

    def __init__(self, database: Database, session: str, task: str | None, damage: Damage) -> None:
        """Begin to follow a session, or only the attempts of one of its tasks, which may begin later."""
        self.status = ""  # the session's, when it was last read
        self.started_at: int | None = None  # when its newest run started, in microseconds
        self._database = database
        self._session = session
        self._task = task
        self._damage = damage
        self._read: dict[int, int] = {}  # the number of the last piece that was read, by attempt

    def read(self) -> list[Printed]:
        """Return what was printed since the last time, by its time; at first, all that is stored of the run."""
        with self._database.snapshot() as transaction:
            session = sessions.get(transaction, self._session)
            last = runs.last(transaction, session.id)
            self.status = lease.status_of(transaction, session.status, last, now_micros(transaction))
            if self._task is not None and self.status != "running":
                known = [each.task for each in attempted_tasks(transaction, session.id)]
                if self._task not in known:
                    raise _no_task(self._session, self._task, known)
            if last is None:
                return []
            self.started_at = last.started_at
            newest = output.newest_pieces(transaction, session.id, last.id, self._task)
            return sorted(self._new(transaction, newest), key=lambda printed: printed.line.at)

    def _new(self, transaction: Transaction, newest: list[output.NewestPiece]) -> Iterator[Printed]:
        for each in newest:
            before = self._read.get(each.attempt_id, 0)
            if each.piece <= before:
                continue
            name = f"{each.task}#{each.number}"
            for piece, data in output.pieces(transaction, each.attempt_id, before):
                self._read[each.attempt_id] = piece
                for line in _lines(data, self._session, name, self._damage):
                    yield Printed(name, line)
