"""`pin`, `rm` and `fork`: changes of whole sessions.

A fork is a session that continues from where another one was before a task or one of its steps first started.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator, Sequence

from zrb_store.db.engine import Database
from zrb_store.db.transaction import Executor, Transaction
from zrb_store.errors import InvalidArgument, SessionNotFound, TaskNotFound, ZrbStoreError
from zrb_store.names import NamePattern, check_session_name, is_session_name, nearest
from zrb_store.queries import attempts, lease, sessions, steps
from zrb_store.queries import fork as queries
from zrb_store.queries.by_hand import record_change
from zrb_store.queries.clock import now_micros
from zrb_store.queries.give_back import give_back_unfinished
from zrb_store.queries.sessions import Removable
from zrb_store.records import SessionRecord


def pin(database: Database, *names: str, pinned: bool = True) -> None:
    """Protect sessions from `rm` and `prune`, or end their protection; all of them or none."""

    def work(transaction: Transaction) -> None:
        for name in names:
            session = sessions.get(transaction, name, lock=True)
            sessions.pin(transaction, session.id, pinned)
            record_change(transaction, "pin" if pinned else "unpin", name)

    database.transact(work, "pin")


_AT_ONCE = 100  # sessions that one transaction deletes, so that others can write in between


def remove_sessions(database: Database, *names: str) -> None:
    """Delete sessions, all of them or none. What their unfinished attempts did elsewhere is given back first."""

    def work(transaction: Transaction) -> None:
        for name in names:
            _remove(transaction, _removable(transaction, name, lock=True))

    database.transact(work, "rm")


def remove_matching(database: Database, pattern: NamePattern, *, dry_run: bool = False) -> Iterator[str]:
    """Delete the sessions whose names match a pattern, and yield their names; none if one is being run or is pinned."""
    with database.snapshot() as transaction:
        names = list(sessions.matching_names(transaction, pattern))
        if not names:
            raise SessionNotFound(f"no session matches {pattern.text!r}; `zrb-store list` shows all sessions")
        check_removable(transaction, list(sessions.matching_names(transaction, pattern, perhaps_kept=True)))
    if dry_run:
        yield from names
        return
    refusals: list[ZrbStoreError] = []
    while names:
        batch, names = names[:_AT_ONCE], names[_AT_ONCE:]
        deleted, refused = database.transact(functools.partial(_remove_batch, names=batch), "rm")
        yield from deleted
        refusals += refused
    if refusals:
        raise refusals[0]


def _remove_batch(transaction: Transaction, names: Sequence[str]) -> tuple[list[str], list[ZrbStoreError]]:
    deleted: list[str] = []
    refused: list[ZrbStoreError] = []
    for name in names:
        session = sessions.removable(transaction, name)
        if session is None:
            continue  # somebody else has deleted it
        try:
            _refuse(transaction, session)
        except ZrbStoreError as error:
            refused.append(error)
        else:
            _remove(transaction, session)
            deleted.append(name)
    return deleted, refused


def _remove(transaction: Transaction, session: Removable) -> None:
    delete(transaction, session)
    record_change(transaction, "rm", session.name)


def check_removable(executor: Executor, names: Sequence[str]) -> None:
    """Raise the error with which `remove_sessions` refuses to delete these sessions, if it does."""
    with executor.snapshot() as transaction:
        for name in names:
            _removable(transaction, name, lock=False)


def _removable(transaction: Transaction, name: str, *, lock: bool) -> Removable:
    """Return a session that may be deleted, or raise the error that it may not."""
    session = sessions.removable(transaction, name, lock=lock)
    if session is None:
        raise sessions.not_found_error(name)
    _refuse(transaction, session)
    return session


def _refuse(transaction: Transaction, session: Removable) -> None:
    """Raise an error if a session must not be deleted: it is being run, or is pinned."""
    lease.refuse_at_work(transaction, session, now_micros(transaction))
    if session.pinned:
        raise ZrbStoreError(f"session {session.name} is pinned: `zrb-store unpin {session.name}` lets it be deleted")


def delete(transaction: Transaction, session: SessionRecord | Removable) -> None:
    """Delete a session, which is locked and may be deleted, in the open transaction."""
    give_back_unfinished(transaction, session.id, counted=False)
    sessions.delete(transaction, session.id, session.name)


def fork(
    database: Database,
    source: str,
    from_task: str,
    name: str | None = None,
    *,
    from_step: str | None = None,
    repeat_once: bool = False,
) -> str:
    """Copy a session as it was before a task, or a step given by name or id, first started; return the new name.

    What the copy lacks runs again in it: with `repeat_once` also steps that were declared `once`.
    """
    if name is not None:
        check_session_name(name)

    def work(transaction: Transaction) -> str:
        # The lock keeps `rm` and `prune` away. Whatever else happens meanwhile is later than the moment of the copy.
        original = sessions.get(transaction, source, lock=True)
        step = None
        if from_step is not None:
            found = steps.find(transaction, original.id, from_task, from_step)
            step = None if found is None else found.step
        tick = queries.first_start(transaction, original.id, from_task, step)
        if tick is None:
            started = dict.fromkeys(attempt.task for attempt in attempts.of_session(transaction, original.id))
            known = f"these have: {', '.join(started)}" if started else "no task has started"
            raise TaskNotFound(f"task {from_task} has not started in session {source}; {known}")
        if from_step is not None and step is None:
            hint = nearest(from_step, steps.names(transaction, original.id, from_task))
            raise TaskNotFound(f"step {from_step} of task {from_task} has not started in session {source}{hint}")
        numbered = (f"{source}-fork-{number}" for number in itertools.count(2))
        for candidate in [name] if name else itertools.chain([f"{source}-fork"], numbered):
            if not is_session_name(candidate):
                raise InvalidArgument(f"{candidate} is too long for a session's name: choose another --name")
            target = queries.create(transaction, candidate, original, tick)
            if target is not None:
                break
        else:
            raise ZrbStoreError(f"there is a session {name} already: choose another --name")
        queries.copy_as_of(transaction, original.id, target, from_task, step, tick)
        once = None if repeat_once else queries.once_left_out(transaction, original.id, target)
        if once is not None:
            raise InvalidArgument(
                f"step {once.step} ({source}/{once.task}) {once.what} and is declared `once`, and would run again in "
                "the fork: add --repeat-once to allow it"
            )
        beginning = from_task if step is None else f"step {step} of {from_task}"
        record_change(transaction, "fork", candidate, f"{source} from {beginning}")
        return candidate

    return database.transact(work, "fork")
