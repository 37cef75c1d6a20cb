"""Marking a task completed that a person mended by hand."""

from __future__ import annotations

from zrb_store import lease
from zrb_store.codec import Encoded
from zrb_store.db.engine import Database
from zrb_store.db.transaction import Transaction
from zrb_store.errors import SessionCompleted, SessionNotFound, TaskCompleted, TaskNotFound, ZrbStoreError
from zrb_store.process import identity
from zrb_store.queries import attempts, sessions, values
from zrb_store.records import SessionRecord


def mark_completed(database: Database, name: str, task: str, result: Encoded | None = None) -> str:
    """Record that a task is done, so that no run starts it again: an attempt with the role `manual`.

    What its unfinished attempts did is given back first, as before any attempt.

    Args:
        database: Where the session is.
        name: Name of the session.
        task: Name of the task. Where the session says which tasks it has, one of these.
        result: Pushed to the queue of the task's name.

    Returns:
        The attempt's name, as in `load#3`.

    Raises:
        SessionNotFound: There is no such session.
        SessionBusy: A process runs the session.
        SessionCompleted: There is nothing left to run.
        TaskNotFound: The session has no such task.
        TaskCompleted: It has completed already.
    """

    def work(transaction: Transaction) -> str:
        session = sessions.by_name(transaction, name, lock=True)
        if session is None:
            raise SessionNotFound(f"there is no session {name}; `zrb-store list` shows which there are")
        lease.refuse_live(transaction, session, values.moment(transaction))
        if session.status == "completed":
            raise SessionCompleted(f"session {name} has completed: there is nothing left to mark")
        known = {*session.tasks, *(attempt.task for attempt in attempts.of_session(transaction, session.id))}
        if session.tasks and task not in known:
            raise TaskNotFound(f"session {name} has no task {task}; it has: {', '.join(session.tasks)}")
        if attempts.standing(transaction, session.id, task):
            raise TaskCompleted(f"task {task} has completed in session {name} already: its result is stored")
        attempts.give_back_unfinished(transaction, session.id, task)
        begun = attempts.begin(transaction, session.id, None, session.fence, task, "manual", None)
        if begun is None:
            raise ZrbStoreError(f"session {name} changes at this moment: try again")
        attempt_id, number = begun
        place = _push(transaction, name, _queue_of(task, session), result, attempt_id) if result else None
        attempts.complete(transaction, attempt_id, restorable=True, result=place)
        sessions.note_change(transaction, identity(), "mark", name, f"{task}#{number} completed")
        return f"{task}#{number}"

    return database.transact(work, "mark")


def _queue_of(task: str, session: SessionRecord) -> str:
    """The queue of a task's results: the second task of a name, `load~2`, shares that of the first."""
    first, tilde, number = task.rpartition("~")
    return first if tilde and number.isdecimal() and {first, task} <= session.tasks.keys() else task


def _push(transaction: Transaction, name: str, queue: str, result: Encoded, attempt_id: int) -> tuple[int, int] | None:
    queue_id = values.make_queue(transaction, name, queue)
    seq = None if queue_id is None else values.push(transaction, queue_id, result, attempt_id)
    return None if queue_id is None or seq is None else (queue_id, seq)
