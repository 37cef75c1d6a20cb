"""`mark`: record that a person has done a task or a step by hand, or has found out that a step did not happen."""

from __future__ import annotations

import shlex
from typing import NamedTuple, TypeAlias, TypeVar

from zrb_store.codec import Encoded
from zrb_store.db.engine import Database
from zrb_store.db.transaction import Transaction
from zrb_store.errors import SessionCompleted, TaskCompleted, TaskNotFound, ZrbStoreError
from zrb_store.names import STEP_BYTES, check_name, nearest
from zrb_store.process import identity
from zrb_store.queries import attempts, lease, queues, sessions, steps, survived, values
from zrb_store.queries.by_hand import record_change
from zrb_store.queries.clock import draw, now_micros
from zrb_store.queries.give_back import give_back, give_back_unfinished
from zrb_store.queries.steps import NewStep
from zrb_store.records import AttemptRecord, SessionRecord

T = TypeVar("T")
ChangedColumns: TypeAlias = dict[str, str | int | None]


class ManualAttempt(NamedTuple):
    """The attempt that was recorded for a task or a step."""

    attempt: str  # its name, such as `load#3`
    others: list[str] | None  # if there was no step of this name before, those that there were: it may be misspelt


def mark(
    database: Database, session: str, task: str, result: Encoded | None = None, *, new: bool = False
) -> ManualAttempt:
    """Record a completed attempt with the kind `manual`, so that no run starts the task again.

    What unfinished attempts of the task did is given back first. Only with `new` the task may be one that never began.
    """

    def work(transaction: Transaction) -> ManualAttempt:
        record = _lock(transaction, session)
        known = _known_tasks(record, attempts.of_session(transaction, record.id))
        if task not in known and not (new and not record.tasks):
            _refuse_step(transaction, record, task)
            hint = "" if record.tasks else "; --new marks one that has not begun yet"
            raise _no_task_error(session, task, known, hint)
        if attempts.in_effect(transaction, record.id, task):
            raise TaskCompleted(f"task {task} has completed in session {session} already: its result is stored")
        give_back_unfinished(transaction, record.id, task)
        begun = attempts.begin(transaction, record.id, None, record.fence, task, "manual", None)
        attempt_id, number = _checked(begun, session)
        place = at = None
        if result:
            queue_id = _checked(queues.create_queue(transaction, session, _result_queue(task, record)), session)
            pushed = _checked(values.push(transaction, queue_id, result, attempt_id), session)
            place, at = (queue_id, pushed.seq), pushed.at
        _checked(attempts.complete(transaction, attempt_id, at, restorable=True, result=place) or None, session)
        record_change(transaction, "mark", session, f"{task}#{number} completed")
        return ManualAttempt(f"{task}#{number}", None)

    return database.transact(work, "mark")


def mark_step(
    database: Database, session: str, task: str, step: str, *, completed: bool, result: Encoded | None = None
) -> ManualAttempt:
    """Record an attempt of a step, given by name or id, that a person knows to have completed or failed."""
    check_name(step, "step", STEP_BYTES)

    def work(transaction: Transaction) -> ManualAttempt:
        record = _lock(transaction, session)
        of_session = attempts.of_session(transaction, record.id)
        known = _known_tasks(record, of_session)
        if task not in known:
            raise _no_task_error(session, task, known)
        give_back_unfinished(transaction, record.id, task)
        last = steps.find(transaction, record.id, task, step)
        if last is not None:
            others: list[str] | None = None
            of_step = _of_begun_step(transaction, record, last, completed=completed)
            survived.forget(transaction, task, session_id=record.id, names=[last.step or ""])
        else:
            others = steps.names(transaction, record.id, task)
            if not completed or steps.number_of(task, step) is not None:
                raise TaskNotFound(f"task {task} of session {session} has no step {step}{nearest(step, others)}")
            of_step = _of_new_step(transaction, record, task, step)
        if of_step["parent_id"] is None:
            of_step["parent_id"] = next((each.id for each in reversed(of_session) if each.task == task), None)
        me, (at, tick) = identity(), draw(transaction)
        status = "completed" if completed else "failed"
        outcome: ChangedColumns = {
            "status": status,
            "error_message": None if completed else f"marked as failed by {me.user} on {me.host}",
            "result": (result.data if result else "null") if completed else None,
            "started_at": at,
            "started_tick": tick,
            "ended_at": at,
            "ended_tick": tick,
            "given_back_at": None if completed else at,
            "given_back_tick": None if completed else tick,
        }
        number = steps.insert_marked(transaction, of_step | outcome)
        attempt = f"{of_step['task']}#{number}"
        record_change(transaction, "mark", session, f"{attempt} {status} ({of_step['step']})")
        return ManualAttempt(attempt, others)

    return database.transact(work, "mark")


def _of_begun_step(
    transaction: Transaction, session: SessionRecord, last: AttemptRecord, *, completed: bool
) -> ChangedColumns:
    """Return what the next attempt of a step has in common with its last one. What that one did is settled."""
    if last.in_effect and last.restorable:
        raise TaskCompleted(
            f"step {last.step} of task {last.step_of} ({session.name}/{last.name}) has completed already: "
            "its result is stored"
        )
    if last.in_effect and not completed:  # its result could not be stored, and it is to run again
        give_back(transaction, [(last.id, "not-restorable")])
    same = ("session_id", "task", "parent_id", "step_of", "step_number", *NewStep._fields)
    return {"fence": session.fence, **{name: getattr(last, name) for name in same}}


def _of_new_step(transaction: Transaction, session: SessionRecord, task: str, step: str) -> ChangedColumns:
    """Return what the first attempt of a step has that has never begun. Its arguments are not known."""
    number = steps.highest_number(transaction, task, session_id=session.id) + 1
    return {
        "session_id": session.id,
        "fence": session.fence,
        "task": f"{task}/{number}",
        "parent_id": None,
        "step_of": task,
        "step_number": number,
        **NewStep(step, None)._asdict(),
    }


def _known_tasks(session: SessionRecord, of_session: list[AttemptRecord]) -> list[str]:
    return list(dict.fromkeys([*session.tasks, *(attempt.task for attempt in of_session)]))


def _no_task_error(session: str, task: str, known: list[str], hint: str = "") -> TaskNotFound:
    return TaskNotFound(f"session {session} has no task {task}; it has: {', '.join(known) or 'none'}{hint}")


def _refuse_step(transaction: Transaction, session: SessionRecord, name: str) -> None:
    """Raise an error if what is given as the name of a task is the id of a step."""
    task = name.rpartition("/")[0]
    step = steps.find(transaction, session.id, task, name) if task else None
    if step is not None:
        raise TaskNotFound(
            f"session {session.name} has no task {name}; for step {step.step} of task {task}, use "
            f"`zrb-store mark {shlex.join([session.name, task, '--step', name])} completed`"
        )


def _lock(transaction: Transaction, name: str) -> SessionRecord:
    """Lock a session that no process is running and that has not completed, and return it."""
    session = sessions.get(transaction, name, lock=True)
    lease.refuse_at_work(transaction, session, now_micros(transaction))
    if session.is_finished:
        raise SessionCompleted(f"session {name} has completed: there is nothing left to mark")
    return session


def _checked(outcome: T | None, session: str) -> T:
    """Return what a statement returned. If it did nothing, raise an error, which undoes the whole transaction."""
    if outcome is None:
        raise ZrbStoreError(f"session {session} is being changed by another process: try again")
    return outcome


def _result_queue(task: str, session: SessionRecord) -> str:
    """Return the name of the queue of a task's results. `load~2`, the second task of a name, uses that of `load`."""
    first, tilde, number = task.rpartition("~")
    return first if tilde and number.isdecimal() and {first, task} <= session.tasks.keys() else task
