"""What `log` shows: how each run was started, what became of each attempt, and what people did by hand."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from zrb_store.db.engine import Database
from zrb_store.db.transaction import Transaction
from zrb_store.errors import TaskNotFound
from zrb_store.inspect.damage import Damage
from zrb_store.inspect.output import read_output
from zrb_store.inspect.session_view import SessionView
from zrb_store.inspect.shapes import error_shape, header, run_shape
from zrb_store.names import nearest
from zrb_store.queries import changes, runs, step_history
from zrb_store.queries.log import LoggedAttempt, attempts_with_errors
from zrb_store.queries.show import attempted_tasks
from zrb_store.records import RunRecord, iso


@contextmanager
def log(
    database: Database, name: str, task: str | None = None, damage: Damage | None = None
) -> Iterator[dict[str, Any]]:
    """Read the log of a session, in the shape of `log --format json`.

    The attempts and the changes are iterators, which can be used once and within the block.

    Args:
        database: Where the session is.
        name: Full name of the session.
        task: Only attempts of this task and of its steps; or of a step, by its id TASK/NUMBER.
        damage: Collects damaged rows.

    Raises:
        SessionNotFound: There is no such session.
        TaskNotFound: The session has no attempt of such a task or step.
    """
    with database.snapshot() as transaction:
        view = SessionView.read(transaction, name, damage=damage)
        header(view.session, view.damage)  # not shown; notes what is damaged in the session's row
        yield log_of(view, task)


def log_of(view: SessionView, task: str | None = None) -> dict[str, Any]:
    """Return the log of a session that is being read, as `log` does.

    Args:
        view: The session, whose snapshot is open.
        task: Only attempts of this task and of its steps; or of a step, by its id.

    Raises:
        TaskNotFound: The session has no attempt of such a task or step.
    """
    transaction, name = view.transaction, view.session.name
    is_step = task is not None and _is_step(transaction, view.session.id, name, task)
    attempts = attempts_with_errors(transaction, view.session.id, task, is_step=is_step)
    return {
        "name": name,
        "status": view.session.status,
        "runs": [_run(view, run) for run in view.runs],
        "attempts": (_attempt(view, logged) for logged in attempts),
        "changes": _changes(transaction, name, view.damage),
    }


def _is_step(transaction: Transaction, session_id: int, session: str, task: str) -> bool:
    """Whether a name is the id of a step, and not the name of a task."""
    attempted = {each.task for each in attempted_tasks(transaction, session_id)}
    if task in attempted:
        return False
    if step_history.newest(transaction, session_id, task) is not None:
        return True
    # A fork may have steps of a task that has no attempts yet.
    attempted.update(each.task for each in step_history.counts(transaction, session_id))
    if task not in attempted:
        raise TaskNotFound(f"session {session} has no attempt of task {task!r}{nearest(task, attempted)}")
    return False


def _attempt(view: SessionView, logged: LoggedAttempt) -> dict[str, Any]:
    attempt = view.seen(logged.record)
    view.damage.note(f"attempt {attempt.session}/{attempt.name}", attempt.damage)
    error = error_shape(attempt)
    return {
        "attempt": attempt.name,
        "run": attempt.run,
        "role": attempt.role,
        "step": attempt.step,
        "inside": logged.around,
        "status": attempt.status,
        "started_at": iso(attempt.started_at),
        "ended_at": iso(attempt.ended_at),
        "given_back_at": iso(attempt.given_back_at),
        "error": error and {**error, "traceback": attempt.error_traceback},
        "output": read_output(view.transaction, attempt, view.damage) if logged.printed else None,
    }


def _changes(transaction: Transaction, name: str, damage: Damage) -> Iterator[dict[str, Any]]:
    for change, damaged in changes.of_session(transaction, name):
        damage.note(f"a change of session {name}", damaged)
        yield {**change._asdict(), "at": iso(change.at)}


def _run(view: SessionView, run: RunRecord) -> dict[str, Any]:
    shape = run_shape(run, view.session.name, view.damage)
    error = shape["error"]
    return {
        **shape,
        "error": error and {**error, "traceback": runs.traceback_of(view.transaction, run.id)},
        "user": run.user,
        "command": run.command,
        "folder": run.folder,
        "python_version": run.python_version,
        "zrb_version": run.zrb_version,
    }
