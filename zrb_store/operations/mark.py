"""`mark`: record that a person has done a task by hand."""

from __future__ import annotations

from typing import NamedTuple, TypeVar

from zrb_store.codec import Encoded
from zrb_store.db.engine import Database
from zrb_store.db.transaction import Transaction
from zrb_store.errors import SessionCompleted, TaskCompleted, TaskNotFound, ZrbStoreError
from zrb_store.queries import attempts, lease, queues, sessions, values
from zrb_store.queries.changes import record_change
from zrb_store.queries.clock import now_micros
from zrb_store.queries.give_back import give_back_unfinished
from zrb_store.records import SessionRecord

T = TypeVar("T")


class ManualAttempt(NamedTuple):
    """The attempt that was recorded for a task.

    Attributes:
        attempt: Its name, such as `load#3`.
        others: If the session did not have this task before, the tasks that it had: the name may be misspelt.
    """

    attempt: str
    others: list[str]


def mark(database: Database, session: str, task: str, result: Encoded | None = None) -> ManualAttempt:
    """Record a completed attempt with the role `manual`, so that no run starts the task again.

    What unfinished attempts of the task did is given back first, as before any attempt.

    Args:
        database: The store.
        session: Full name of the session.
        task: Name of the task. If the session has a list of its tasks, the task must be one of them.
        result: The task's result, which is pushed to the queue of the task's name.

    Raises:
        SessionNotFound: There is no such session.
        SessionBusy: A process is running the session.
        SessionCompleted: The session has completed, so there is nothing left to run.
        TaskNotFound: The session has no such task.
        TaskCompleted: The task has completed already.
    """

    def work(transaction: Transaction) -> ManualAttempt:
        record = sessions.get(transaction, session, lock=True)
        lease.refuse_live(transaction, record, now_micros(transaction))
        if record.is_finished:
            raise SessionCompleted(f"session {session} has completed: there is nothing left to mark")
        known = [*record.tasks, *(attempt.task for attempt in attempts.of_session(transaction, record.id))]
        if record.tasks and task not in known:
            raise TaskNotFound(f"session {session} has no task {task}; it has: {', '.join(record.tasks)}")
        if attempts.standing(transaction, record.id, task):
            raise TaskCompleted(f"task {task} has completed in session {session} already: its result is stored")
        give_back_unfinished(transaction, record.id, task)
        begun = attempts.begin(transaction, record.id, None, record.fence, task, "manual", None)
        attempt_id, number = _checked(begun, session)
        place = None
        if result:
            queue_id = _checked(queues.create_queue(transaction, session, _result_queue(task, record)), session)
            place = queue_id, _checked(values.push(transaction, queue_id, result, attempt_id), session)
        _checked(attempts.complete(transaction, attempt_id, restorable=True, result=place) or None, session)
        record_change(transaction, "mark", session, f"{task}#{number} completed")
        return ManualAttempt(f"{task}#{number}", [] if task in known else list(dict.fromkeys(known)))

    return database.transact(work, "mark")


def _checked(outcome: T | None, session: str) -> T:
    """Return what a statement returned. If it did nothing, raise an error, which undoes the whole transaction."""
    if outcome is None:
        raise ZrbStoreError(f"session {session} is being changed by another process: try again")
    return outcome


def _result_queue(task: str, session: SessionRecord) -> str:
    """Return the name of the queue of a task's results. `load~2`, the second task of a name, uses that of `load`."""
    first, tilde, number = task.rpartition("~")
    return first if tilde and number.isdecimal() and {first, task} <= session.tasks.keys() else task
