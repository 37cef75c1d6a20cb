"""What `get` shows: one value of a queue, or the result of a task or of a step."""

from __future__ import annotations

from zrb_store.db.engine import Database
from zrb_store.errors import TaskNotFound, ValueNotFound
from zrb_store.inspect.stored_value import (
    StepResult,
    StoredValue,
    find_history,
    find_queue,
    result_of,
    step_result_of,
)
from zrb_store.names import nearest
from zrb_store.queries import attempts, sessions, show, step_history
from zrb_store.queries.last_values import first_of_last


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
            seq = first_of_last(transaction, queue_id, 1, only="live")
            if seq is None:
                raise ValueNotFound(f"queue {queue!r} of session {session} has no live value; --seq N shows others")
        found = find_history(transaction, record, queue, queue_id, seq)
        return StoredValue.from_history(found, session, queue)


def get_result(database: Database, session: str, task: str) -> StoredValue | StepResult:
    """Return the stored result of a task's completed attempt, whether or not it was taken, or of a completed step.

    Args:
        database: Where the session is.
        session: Full name of the session.
        task: Name of the task, or the id TASK/NUMBER of a step. A task whose name looks so goes first.

    Raises:
        SessionNotFound: There is no such session.
        TaskNotFound: The session has no such task or step.
        ValueNotFound: The task or step has not completed, or completed without a result.
    """
    with database.snapshot() as transaction:
        record = sessions.get(transaction, session)
        standing = attempts.standing(transaction, record.id, task)
        if standing is not None:
            return result_of(transaction, record, standing)
        known = {each.task for each in show.attempted_tasks(transaction, record.id)} | set(record.tasks)
        step = None if task in known else step_history.newest(transaction, record.id, task)
        if step is not None:
            return step_result_of(transaction, step)
        known.update(each.task for each in step_history.counts(transaction, record.id))
        if task not in known:
            raise TaskNotFound(f"session {session} has no task {task!r}{nearest(task, known)}")
        raise ValueNotFound(f"task {task!r} of session {session} has not completed")
