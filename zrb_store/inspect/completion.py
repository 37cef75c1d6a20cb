"""What TAB completes: the names in the store that a word of the command line may be."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass

from zrb_store.db.bare import Reader
from zrb_store.queries import completion as queries

_SESSIONS = 50
_NAMES = 500
_VALUES = 100
_ATTEMPTS = 10  # of each task


@dataclass(frozen=True)
class Word:
    """A word that is being typed.

    Attributes:
        prefix: What is typed of it.
        session: The session that the line names, in any form.
        queue: The queue that it names.
        task: The task that it names.
        changes: Whether the command changes the session, and so takes its full name or @this.
        dead: Whether only dead values are meant.
    """

    prefix: str
    session: str | None = None
    queue: str | None = None
    task: str | None = None
    changes: bool = False
    dead: bool = False


def sessions(reader: Reader, word: Word) -> list[str]:
    """Return names of sessions: the newest ones, or those that begin with what is typed."""
    return _abbreviations(word) + queries.session_names(reader, word.prefix, _SESSIONS)


def queues(reader: Reader, word: Word) -> list[str]:
    """Return names of the session's queues."""
    session = _session_id(reader, word.session)
    return [] if session is None else queries.queue_names(reader, session, word.prefix, _NAMES)


def tasks(reader: Reader, word: Word) -> list[str]:
    """Return names of the session's tasks and, once their task is typed, the ids of steps.

    If the line names no session, these are the tasks that have completed anywhere.
    """
    if word.session is None:
        return queries.completed_task_names(reader, word.prefix, _NAMES)
    session = _session_id(reader, word.session)
    if session is None:
        return []
    found = queries.task_names(reader, session, word.prefix, _NAMES)
    task, slash, _ = word.prefix.rpartition("/")
    return found + (queries.step_ids(reader, session, task, word.prefix, _NAMES) if slash else [])


def main_tasks(reader: Reader, word: Word) -> list[str]:
    """Return names of the main tasks of all sessions."""
    return queries.main_task_names(reader, word.prefix, _NAMES)


def steps(reader: Reader, word: Word) -> list[str]:
    """Return names of the task's steps."""
    session = _session_id(reader, word.session)
    if session is None or word.task is None:
        return []
    return queries.step_names(reader, session, word.task, word.prefix, _NAMES)


def seqs(reader: Reader, word: Word) -> list[str]:
    """Return numbers of the queue's values, the newest first."""
    session = _session_id(reader, word.session)
    queue = None if session is None or word.queue is None else queries.queue_id(reader, session, word.queue)
    if queue is None:
        return []
    return [str(seq) for seq in queries.seqs(reader, queue, word.prefix, dead=word.dead, limit=_VALUES)]


def values(reader: Reader, word: Word) -> list[str]:
    """Return beginnings of ids, `SESSION/`, until a session is typed; then whole ids, the newest of each queue."""
    session, slash, rest = word.prefix.partition("/")
    if not slash:
        return [f"{name}/" for name in sessions(reader, word)]
    found = _session_id(reader, session)
    return [] if found is None else list(_ids(reader, session, found, rest, word.dead))


def _ids(reader: Reader, name: str, session: int, rest: str, dead: bool) -> Iterator[str]:
    queue, hash_, digits = rest.rpartition("#")
    whole = queries.queue_id(reader, session, queue) if hash_ else None
    if whole is not None:
        for seq in queries.seqs(reader, whole, digits, dead=dead, limit=_VALUES):
            yield f"{name}/{queue}#{seq}"
    names = queries.queue_names(reader, session, rest, _VALUES)
    for queue in names:
        found = queries.queue_id(reader, session, queue)
        if found is not None:
            for seq in queries.seqs(reader, found, "", dead=dead, limit=max(1, _VALUES // len(names))):
                yield f"{name}/{queue}#{seq}"


def moments(reader: Reader, word: Word) -> list[str]:
    """Return `before:` and `after:` until one is typed; then the attempts of the session, the newest of each task."""
    side, colon, rest = word.prefix.partition(":")
    if not colon or side not in ("before", "after"):
        return ["before:", "after:"]
    session = _session_id(reader, word.session)
    if session is None:
        return []
    typed = rest.rpartition("#")[0] or rest
    return [
        f"{side}:{task}#{number}"
        for task in queries.task_names(reader, session, typed, _NAMES)
        for number in queries.attempt_numbers(reader, session, task, _ATTEMPTS)
    ]


def _abbreviations(word: Word) -> list[str]:
    if word.prefix and not word.prefix.startswith("@"):
        return []
    this = ["@this"] if _this_session() else []
    return this if word.changes else ["@last", "@last-failed", *this]


def _this_session() -> str:
    return os.environ.get("ZRB_STORE_ATTEMPT", "").partition("/")[0]


def _session_id(reader: Reader, text: str | None) -> int | None:
    """Return the id of the session that a text names, or None if none or several are meant."""
    if text == "@last":
        return queries.newest_session_id(reader, None)
    if text == "@last-failed":
        return queries.newest_session_id(reader, time.time_ns() // 1000)
    name = _this_session() if text == "@this" else text
    return queries.session_id(reader, name) if name else None
