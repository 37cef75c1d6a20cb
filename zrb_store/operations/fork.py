"""Forking: a new session that begins where another one was before a task first started."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

from zrb_store.db.engine import Database
from zrb_store.db.transaction import Transaction
from zrb_store.errors import InvalidName, TaskNotFound, ZrbStoreError
from zrb_store.names import check_session_name, is_session_name
from zrb_store.process import identity
from zrb_store.queries import attempts, forks, sessions


def fork(database: Database, source: str, from_task: str, name: str | None = None) -> str:
    """Copy a session as it was before a task first started. The copy stands alone, and `resume` runs it.

    The new session is `open`, with the same task, inputs and project. It has the tasks that had completed by then, with
    their results, and the queues of that moment with every attempt not completed by then given back.

    Args:
        database: Where the session is.
        source: Name of the session.
        from_task: Name of the task.
        name: Of the new session; by default the first free one of `SOURCE-fork`, `SOURCE-fork-2`...

    Returns:
        The new session's name.

    Raises:
        SessionNotFound: There is no such session.
        TaskNotFound: The task has not started in it.
        InvalidName: No session can have this name.
        ZrbStoreError: There is a session of this name.
    """
    if name is not None:
        check_session_name(name)

    def work(transaction: Transaction) -> str:
        # The lock keeps `rm` and `prune` away; whatever else happens meanwhile comes after the moment.
        found = sessions.need(transaction, source, lock=True)
        moment = forks.first_start(transaction, found.id, from_task)
        if moment is None:
            raise _not_started(transaction, found.id, source, from_task)
        for candidate in [name] if name else _free_names(source):
            if not is_session_name(candidate):
                raise InvalidName(f"{candidate} is too long for a session's name: choose another --name")
            target = forks.create(transaction, candidate, found)
            if target is not None:
                break
        else:
            raise ZrbStoreError(f"there is a session {name} already: choose another --name")
        forks.copy_as_of(transaction, found.id, target, from_task, moment)
        sessions.note_change(transaction, identity(), "fork", candidate, f"{source} from {from_task}")
        return candidate

    return database.transact(work, "fork")


def _free_names(source: str) -> Iterable[str]:
    return itertools.chain([f"{source}-fork"], (f"{source}-fork-{number}" for number in itertools.count(2)))


def _not_started(transaction: Transaction, session_id: int, source: str, task: str) -> TaskNotFound:
    started = dict.fromkeys(attempt.task for attempt in attempts.of_session(transaction, session_id))
    known = f"these have: {', '.join(started)}" if started else "nor has any other task"
    return TaskNotFound(f"task {task} has not started in session {source}; {known}")
