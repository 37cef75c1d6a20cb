"""`fork`: create a session that continues from where another one was before a task, or a step of it, first started."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

from zrb_store.db.engine import Database
from zrb_store.db.transaction import Transaction
from zrb_store.errors import InvalidArgument, TaskNotFound, ZrbStoreError
from zrb_store.names import check_session_name, is_session_name, nearest
from zrb_store.queries import attempts, named_steps, sessions
from zrb_store.queries import fork as queries
from zrb_store.queries.changes import record_change


def fork(
    database: Database, source: str, from_task: str, name: str | None = None, *, from_step: str | None = None
) -> str:
    """Copy a session as it was before a task, or a step of it, first started. `resume` runs the independent copy.

    The new session is `open` and has the same task, inputs and project. It has the tasks and steps that had completed
    by then, with their results. Its queues are those of that moment, with every attempt that had not completed given
    back, and so are steps that rest on what such an attempt did. No step of the task itself is copied, unless the copy
    begins at a step.

    Args:
        database: The store.
        source: Full name of the session to copy.
        from_task: Name of the task.
        from_step: Name of a step of the task, or its id, TASK/NUMBER: copy the session as it was before that first
            started.
        name: Name of the new session; by default the first of `SOURCE-fork`, `SOURCE-fork-2`... that is free.

    Returns:
        The name of the new session.

    Raises:
        SessionNotFound: There is no such session.
        TaskNotFound: The task, or the step, has not started in it.
        InvalidArgument: No session can have the new name.
        ZrbStoreError: There is a session of the new name.
    """
    if name is not None:
        check_session_name(name)

    def work(transaction: Transaction) -> str:
        # The lock keeps `rm` and `prune` away. Whatever else happens meanwhile is later than the moment of the copy.
        original = sessions.get(transaction, source, lock=True)
        step = None
        if from_step is not None:
            step = named_steps.find(transaction, original.id, from_task, from_step)
        tick = queries.first_start(transaction, original.id, from_task, step)
        if tick is None:
            raise _not_started(transaction, original.id, source, from_task)
        if from_step is not None and step is None:
            hint = nearest(from_step, named_steps.names(transaction, original.id, from_task))
            raise TaskNotFound(f"step {from_step} of task {from_task} has not started in session {source}{hint}")
        for candidate in [name] if name else _default_names(source):
            if not is_session_name(candidate):
                raise InvalidArgument(f"{candidate} is too long for a session's name: choose another --name")
            target = queries.create(transaction, candidate, original)
            if target is not None:
                break
        else:
            raise ZrbStoreError(f"there is a session {name} already: choose another --name")
        queries.copy_as_of(transaction, original.id, target, from_task, step, tick)
        beginning = from_task if step is None else f"step {step} of {from_task}"
        record_change(transaction, "fork", candidate, f"{source} from {beginning}")
        return candidate

    return database.transact(work, "fork")


def _default_names(source: str) -> Iterable[str]:
    return itertools.chain([f"{source}-fork"], (f"{source}-fork-{number}" for number in itertools.count(2)))


def _not_started(transaction: Transaction, session_id: int, source: str, task: str) -> TaskNotFound:
    started = dict.fromkeys(attempt.task for attempt in attempts.of_session(transaction, session_id))
    known = f"these have: {', '.join(started)}" if started else "nor has any other task"
    return TaskNotFound(f"task {task} has not started in session {source}; {known}")
