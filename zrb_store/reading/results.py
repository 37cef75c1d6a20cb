"""Single values: one of a queue, a task's result, and the newest result of a task."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from zrb_store.errors import TaskNotFound, ValueNotFound
from zrb_store.names import nearest, value_id
from zrb_store.project import current_project
from zrb_store.queries import attempts, history, lives, sessions, tries, values
from zrb_store.queries.lives import Life
from zrb_store.reading.damage import Damage
from zrb_store.reading.shapes import value_shape
from zrb_store.records import AttemptRecord, SessionRecord

if TYPE_CHECKING:
    from zrb_store.db.transaction import Transaction
    from zrb_store.store import Store


@dataclass(frozen=True)
class Found:
    """One value.

    Attributes:
        shape: As `show --format json` has it.
        data: As it is stored.
        damage: What could not be read.
    """

    shape: dict[str, Any]
    data: str
    damage: Damage

    @classmethod
    def of(cls, life: Life, session: str, queue: str) -> Found:
        """Show a value's life."""
        damage = Damage()
        return cls(value_shape(life, session, queue, damage), life.value.data, damage)


def find_value(store: Store, session: str, queue: str, seq: int | None = None) -> Found:
    """The newest live value of a queue, or the one of that seq whatever became of it.

    Raises:
        SessionNotFound: There is no such session.
        ValueNotFound: There is no such queue or value, or no live one.
    """
    with store.database.snapshot() as transaction:
        record = sessions.need(transaction, session)
        names = history.queue_names(transaction, record.id)
        queue_id = next((one for one, name in names.items() if name == queue), None)
        if queue_id is None:
            raise ValueNotFound(f"session {session} has no queue {queue!r}{nearest(queue, names.values())}")
        if seq is None:
            newest = values.peek(transaction, queue_id, right=True)
            if newest is None:
                raise ValueNotFound(f"queue {queue!r} of session {session} has no live value; --seq N shows others")
            seq = newest[0]
        found = lives.of_value(transaction, queue_id, seq)
        if found is None:
            raise ValueNotFound(f"there is no value {value_id(session, queue, seq)}")
        return Found.of(found, session, queue)


def task_result(store: Store, session: str, task: str) -> Found:
    """The stored result of a task's completed attempt, taken or not.

    Raises:
        SessionNotFound: There is no such session.
        TaskNotFound: The session has no such task.
        ValueNotFound: The task has not completed, or left no result.
    """
    with store.database.snapshot() as transaction:
        record = sessions.need(transaction, session)
        standing = attempts.standing(transaction, record.id, task)
        if standing is None:
            tried = {one.task for one in tries.tried(transaction, record.id)} | set(record.tasks)
            if task not in tried:
                raise TaskNotFound(f"session {session} has no task {task!r}{nearest(task, tried)}")
            raise ValueNotFound(f"task {task!r} of session {session} has not completed")
        return _result(transaction, record, standing)


def newest_result(store: Store, task: str, *, max_age: timedelta | None = None, any_project: bool = False) -> Found:
    """The newest result of a task in a completed session of this project.

    Args:
        store: Where to look.
        task: Name of the task, main or not.
        max_age: How long ago its attempt may have completed.
        any_project: Look in every project.

    Raises:
        ValueNotFound: There is none, or the newest is too old.
    """
    project = None if any_project else current_project()
    with store.database.snapshot() as transaction:
        found = history.newest_result(transaction, task, project)
        where = "" if project is None else f" in project {project} (--any-project looks in all)"
        if found is None:
            raise ValueNotFound(f"no completed session has a result of task {task!r}{where}")
        name, attempt_id = found
        attempt = attempts.by_id(transaction, attempt_id)
        record = sessions.need(transaction, name)
        if attempt is None or attempt.ended_at is None:
            raise ValueNotFound(f"the newest result of task {task!r} was removed meanwhile")
        age = timedelta(microseconds=values.moment(transaction) - attempt.ended_at)
        if max_age is not None and age > max_age:
            raise ValueNotFound(
                f"the newest result of task {task!r}{where} is of session {name}, "
                f"{_rough(age)} old, older than {_rough(max_age)}"
            )
        return _result(transaction, record, attempt)


def _result(transaction: Transaction, session: SessionRecord, of: AttemptRecord) -> Found:
    found = None
    if of.result_queue_id is not None and of.result_seq is not None:
        found = lives.of_value(transaction, of.result_queue_id, of.result_seq)
    if found is None:
        raise ValueNotFound(f"{of.session}/{of.name} completed without a result")
    queue = history.queue_names(transaction, session.id).get(found.value.queue_id, of.task)
    return Found.of(found, session.name, queue)


def _rough(length: timedelta) -> str:
    seconds = length.total_seconds()
    for name, unit in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * unit:
            return f"{seconds / unit:.0f} {name}"
    return f"{seconds:.0f} s"
