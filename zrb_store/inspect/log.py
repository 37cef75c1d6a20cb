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
from zrb_store.db.rows import note
from zrb_store.db.transaction import Transaction
from zrb_store.errors import TaskNotFound
from zrb_store.inspect.header import inputs_of
from zrb_store.inspect.show import SessionView
from zrb_store.names import nearest
from zrb_store.queries import by_hand, lease, output, runs, sessions, show
from zrb_store.queries.clock import now_micros
from zrb_store.queries.show import attempted_tasks, attempts_with_errors
from zrb_store.records import UNSUCCESSFUL, AttemptRecord, JsonObject, RunRecord, pick, pick_all


class AttemptOutput(NamedTuple):
    bytes: int
    truncated: bool  # whether only the end of it is stored
    lines: list[output.OutputLine]  # those that are stored

    def to_json(self) -> JsonObject:
        return {"bytes": self.bytes, "truncated": self.truncated, "lines": list(map(pick_all, self.lines))}


@dataclass(frozen=True, slots=True)
class AttemptLog:
    """An attempt, or one of a step, with its traceback, and the attempt around it if that still exists."""

    record: AttemptRecord
    parent: str | None
    output: AttemptOutput | None
    was_retried: bool = False  # whether it did not complete, and another one of its task or step followed

    @property
    def has_failed(self) -> bool:
        """Whether it has not completed, or has an error."""
        return self.record.error is not None or self.record.status in UNSUCCESSFUL

    @property
    def is_final(self) -> bool:
        """Whether it has failed and was not tried again."""
        return self.has_failed and not self.was_retried

    def to_json(self) -> JsonObject:
        record = self.record
        return {
            "attempt": record.name,
            **pick(record, "run", "kind", "step"),
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
            "changes": map(pick_all, self.changes),
        }


def run_json(run: RunRecord) -> JsonObject:
    return {
        **run.to_json(),
        "error": None if run.error is None else run.error.with_traceback(),
        **pick(run, "user", "command", "folder", "python_version", "zrb_version"),
        "inputs": None if run.inputs is None else inputs_of(run),
    }


@contextmanager
def log(database: Database, name: str, task: str | None = None) -> Iterator[SessionLog]:
    """Read the log of a session; only attempts of `task` and of its steps, or of a step by its id TASK/NUMBER."""
    with database.snapshot() as transaction:
        yield log_of(SessionView(transaction, name, None), task)


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
        (_attempt(view, *each) for each in attempts),
        by_hand.of_session(transaction, session.name),
    )


def _is_step(transaction: Transaction, session_id: int, session: str, task: str) -> bool:
    """Whether a name is the id of a step, and not the name of a task."""
    attempted = {each.task for each in attempted_tasks(transaction, session_id)}
    if task in attempted:
        return False
    if show.newest_of_step(transaction, session_id, task) is not None:
        return True
    # A fork may have steps of a task that has no attempts yet.
    attempted.update(each.task for each in show.step_counts(transaction, session_id))
    if task not in attempted:
        raise _no_task_error(session, task, attempted)
    return False


def _no_task_error(session: str, task: str, known: Collection[str]) -> TaskNotFound:
    return TaskNotFound(f"session {session} has no attempt of task {task!r}{nearest(task, known)}")


def _attempt(
    view: SessionView, record: AttemptRecord, around: str | None, has_output: bool, was_followed: bool
) -> AttemptLog:
    """Add what an attempt printed, without the lines of damaged pieces."""
    attempt, printed = view.seen(record), None
    stored = output.of_attempt(view.transaction, attempt.id) if has_output else None
    if stored is not None:
        lines: list[output.OutputLine] = []
        for _, data in output.pieces(view.transaction, attempt.id):
            lines += _lines(data, f"{attempt.session}/{attempt.name}")
        printed = AttemptOutput(stored.bytes, stored.truncated, lines)
    return AttemptLog(attempt, around, printed, was_followed and attempt.status in UNSUCCESSFUL)


def _lines(data: str, attempt: str) -> list[output.OutputLine]:
    if OUTPUT["data"].problem(data):
        note(f"the output of {attempt} (data)")
        return []
    return output.decode_lines(data)


_Printed = tuple[str, output.OutputLine]  # the name TASK#N of an attempt, and a line that it printed
Looks = Iterator[tuple[str, int | None, list[_Printed]]]


def follow(database: Database, name: str, task: str | None) -> Looks:
    """Yield the status of a session, when its newest run started, and what that printed since the last time.

    Only attempts of `task` are followed, if it is given; it may begin later. At first, all that is stored of the run
    is new. This never ends by itself.
    """
    read: dict[int, int] = {}  # the number of the last piece that was read, by attempt
    while True:
        with database.snapshot() as transaction:
            session = sessions.get(transaction, name)
            last = runs.last(transaction, session.id)
            status = lease.status_of(transaction, session.status, last, now_micros(transaction))
            if task is not None and status != "running":
                known = [each.task for each in attempted_tasks(transaction, session.id)]
                if task not in known:
                    raise _no_task_error(name, task, known)
            printed: list[_Printed] = []
            found = output.newest_pieces(transaction, session.id, last.id, task) if last else []
            for attempt_id, of_task, number, newest in found:
                attempt, before = f"{of_task}#{number}", read.get(attempt_id, 0)
                for piece, data in output.pieces(transaction, attempt_id, before) if newest > before else ():
                    read[attempt_id] = piece
                    printed += ((attempt, line) for line in _lines(data, f"{name}/{attempt}"))
        yield status, None if last is None else last.started_at, sorted(printed, key=lambda each: each[1].at)
