"""Marking a task completed that a person mended by hand."""

from __future__ import annotations

from typing import NamedTuple, TypeVar

from zrb_store import lease
from zrb_store.codec import Encoded
from zrb_store.db.engine import Database
from zrb_store.db.transaction import Transaction
from zrb_store.errors import SessionCompleted, TaskCompleted, TaskNotFound, ZrbStoreError
from zrb_store.process import identity
from zrb_store.queries import attempts, sessions, values
from zrb_store.queries.give_back import give_back_unfinished
from zrb_store.records import SessionRecord

T = TypeVar("T")


class Marked(NamedTuple):
    """What was recorded.

    Attributes:
        attempt: The attempt's name, as in `load#3`.
        others: If the session had no such task until now, those it had: the name may be misspelt.
    """

    attempt: str
    others: list[str]


def mark_completed(database: Database, name: str, task: str, result: Encoded | None = None) -> Marked:
    """Record that a task is done, so that no run starts it again: an attempt with the role `manual`.

    What its unfinished attempts did is given back first, as before any attempt.

    Args:
        database: Where the session is.
        name: Name of the session.
        task: Name of the task. Where the session says which tasks it has, one of these.
        result: Pushed to the queue of the task's name.

    Returns:
        The attempt.

    Raises:
        SessionNotFound: There is no such session.
        SessionBusy: A process runs the session.
        SessionCompleted: There is nothing left to run.
        TaskNotFound: The session has no such task.
        TaskCompleted: It has completed already.
    """

    def work(transaction: Transaction) -> Marked:
        session = sessions.need(transaction, name, lock=True)
        lease.refuse_live(transaction, session, values.moment(transaction))
        if session.is_finished:
            raise SessionCompleted(f"session {name} has completed: there is nothing left to mark")
        known = [*session.tasks, *(attempt.task for attempt in attempts.of_session(transaction, session.id))]
        if session.tasks and task not in known:
            raise TaskNotFound(f"session {name} has no task {task}; it has: {', '.join(session.tasks)}")
        if attempts.standing(transaction, session.id, task):
            raise TaskCompleted(f"task {task} has completed in session {name} already: its result is stored")
        give_back_unfinished(transaction, session.id, task)
        attempt_id, number = _certain(
            attempts.begin(transaction, session.id, None, session.fence, task, "manual", None), name
        )
        place = None
        if result:
            queue_id = _certain(values.make_queue(transaction, name, _queue_of(task, session)), name)
            place = queue_id, _certain(values.push(transaction, queue_id, result, attempt_id), name)
        _certain(attempts.complete(transaction, attempt_id, restorable=True, result=place) or None, name)
        sessions.note_change(transaction, identity(), "mark", name, f"{task}#{number} completed")
        return Marked(f"{task}#{number}", [] if task in known else list(dict.fromkeys(known)))

    return database.transact(work, "mark")


def _certain(done: T | None, name: str) -> T:
    """What a statement gave. The session is locked: if it did nothing, the whole is undone."""
    if done is None:
        raise ZrbStoreError(f"session {name} changes at this moment: try again")
    return done


def _queue_of(task: str, session: SessionRecord) -> str:
    """The queue of a task's results: the second task of a name, `load~2`, shares that of the first."""
    first, tilde, number = task.rpartition("~")
    return first if tilde and number.isdecimal() and {first, task} <= session.tasks.keys() else task
