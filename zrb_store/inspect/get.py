"""What `get` shows: one value of a queue, or the result of a task."""

from __future__ import annotations

from zrb_store.db.engine import Database
from zrb_store.errors import TaskNotFound, ValueNotFound
from zrb_store.inspect.stored_value import StoredValue, find_history, find_queue, result_of
from zrb_store.names import nearest
from zrb_store.queries import attempts, sessions, show, values


def get_value(database: Database, session: str, queue: str, seq: int | None = None) -> StoredValue:
    """Return one value of a queue.

    Args:
        database: Where the session is.
        session: Full name of the session.
        queue: Name of the queue.
        seq: The value's number, whatever its state; by default the newest live value is returned.

    Raises:
        SessionNotFound: There is no such session.
        ValueNotFound: There is no such queue or value, or no value is live.
    """
    with database.snapshot() as transaction:
        record = sessions.get(transaction, session)
        queue_id = find_queue(transaction, record, queue)
        if seq is None:
            newest = values.peek(transaction, queue_id, right=True)
            if newest is None:
                raise ValueNotFound(f"queue {queue!r} of session {session} has no live value; --seq N shows others")
            seq = newest[0]
        found = find_history(transaction, record, queue, queue_id, seq)
        return StoredValue.from_history(found, session, queue)


def get_result(database: Database, session: str, task: str) -> StoredValue:
    """Return the stored result of a task's completed attempt, whether or not it was taken.

    Args:
        database: Where the session is.
        session: Full name of the session.
        task: Name of the task.

    Raises:
        SessionNotFound: There is no such session.
        TaskNotFound: The session has no such task.
        ValueNotFound: The task has not completed, or completed without a result.
    """
    with database.snapshot() as transaction:
        record = sessions.get(transaction, session)
        standing = attempts.standing(transaction, record.id, task)
        if standing is None:
            known = {each.task for each in show.attempted_tasks(transaction, record.id)} | set(record.tasks)
            if task not in known:
                raise TaskNotFound(f"session {session} has no task {task!r}{nearest(task, known)}")
            raise ValueNotFound(f"task {task!r} of session {session} has not completed")
        return result_of(transaction, record, standing)
