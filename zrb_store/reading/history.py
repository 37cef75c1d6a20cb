"""One session with everything in it, as `show` tells it."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from zrb_store import codec, lease
from zrb_store.errors import SessionNotFound, ValueNotFound
from zrb_store.names import nearest, value_id
from zrb_store.queries import history, lives, sessions, tries
from zrb_store.queries.history import Queue
from zrb_store.queries.lives import Life
from zrb_store.reading.damage import Damage
from zrb_store.reading.lazy import Lazy, settled
from zrb_store.reading.moments import attempt_at, life_at, moment_of, runs_at, status_at
from zrb_store.reading.shapes import attempt_shape, header, run_shape, value_shape
from zrb_store.records import AttemptRecord, RunRecord, SessionRecord, iso

if TYPE_CHECKING:
    from zrb_store.db.transaction import Transaction
    from zrb_store.store import Store

FEW = 1000
"""So many attempts, or values, are read by one statement and kept; more are read as they are shown."""
SMALL = 4 * 1024 * 1024
"""Bytes that values which are kept may have together."""

_UNFINISHED = ("failed", "interrupted", "lost")


@dataclass(frozen=True)
class Look:
    """A session as it is shown, for as long as its snapshot lasts.

    Attributes:
        tree: In the shape of `show --format json`; what may be long is lazy.
        unfinished: Ids of the last attempts of tasks that did not complete, by name.
    """

    tree: dict[str, Any]
    unfinished: dict[int, str]
    transaction: Transaction

    def pending(self) -> list[str]:
        """The attempts that did not complete and whose doings still show in some queue."""
        holding = tries.holding(self.transaction, list(self.unfinished)) if self.unfinished else set()
        return [name for attempt_id, name in self.unfinished.items() if attempt_id in holding]


@contextmanager
def look(
    store: Store,
    name: str,
    queue: str | None = None,
    *,
    live: bool = False,
    at: str | None = None,
    damage: Damage | None = None,
) -> Iterator[Look]:
    """Look at everything of one session as of one moment.

    Args:
        store: Where it is.
        name: Its full name.
        queue: Only this queue.
        live: Only live values.
        at: As it was at a moment: an ISO 8601 time, `before:TASK#N` or `after:TASK#N`.
        damage: Collects what could not be read.

    Raises:
        SessionNotFound: There is no such session, or there was none at that moment.
        ValueNotFound: The session has no such queue.
        TaskNotFound: The session has no such attempt.
        InvalidName: `at` is not a moment.
    """
    with store.database.snapshot() as transaction:
        story = Story.read(transaction, name, at, damage)
        queues = history.queues(transaction, story.session.id, queue, at=story.moment)
        tasks = story.tasks({one.id: one.name for one in queues})
        if queue is not None:
            names = [one.name for one in queues]
            queues = [one for one in queues if one.name == queue]
            if not queues:
                raise ValueNotFound(f"session {name} has no queue {queue!r}{nearest(queue, names)}")
        yield Look(
            {
                **header(story.session, story.damage),
                "runs": [run_shape(one, name, story.damage) for one in story.runs],
                "tasks": tasks,
                "queues": _contents(story, queues, queue, live),
            },
            story.unfinished,
            transaction,
        )


def show(
    store: Store, name: str, queue: str | None = None, *, live: bool = False, at: str | None = None
) -> dict[str, Any]:
    """Everything of one session, in the shape of `show --format json`. Arguments and errors are those of `look`."""
    with look(store, name, queue, live=live, at=at) as seen:
        tree: dict[str, Any] = settled(seen.tree)
        return tree


_Attempts = list[dict[str, Any]] | Lazy[dict[str, Any]]
_Tried = tuple[str, AttemptRecord | None, _Attempts]


class Story:
    """A session with its runs and attempts, as readers see them at one moment.

    Attributes:
        moment: That moment, or None for now.
        unfinished: Ids of the last attempts of tasks that did not complete, by name; known once `tasks` was called.
    """

    def __init__(
        self,
        transaction: Transaction,
        session: SessionRecord,
        runs: Sequence[RunRecord],
        attempts: list[AttemptRecord] | None,
        moment: int | None,
        dead: frozenset[int],
        damage: Damage,
    ) -> None:
        self.transaction = transaction
        self.session = session
        self.runs = runs
        self.moment = moment
        self.damage = damage
        self.unfinished: dict[int, str] = {}
        self._attempts = attempts  # None if there are too many
        self._dead = dead

    @classmethod
    def read(cls, transaction: Transaction, name: str, at: str | None = None, damage: Damage | None = None) -> Story:
        """Read a session, now or as it was at a moment. Raises as `look`."""
        damage = Damage() if damage is None else damage
        session = sessions.need(transaction, name)
        now, count = history.overview(transaction, session.id)
        runs = sessions.runs(transaction, session.id)
        attempts = tries.attempts_in_short(transaction, session.id) if count <= FEW else None

        def find(task: str, number: int) -> AttemptRecord | None:
            if attempts is None:
                return tries.attempt_in_short(transaction, session.id, task, number)
            return next((one for one in attempts if (one.task, one.number) == (task, number)), None)

        moment = None if at is None else moment_of(at, name, find)
        if moment is not None:
            session, runs = _session_at(session, runs, moment), runs_at(runs, moment)
            return cls(transaction, session, runs, attempts, moment, frozenset(), damage)
        status = lease.status_of(transaction, session, runs[-1] if runs else None, now)
        dead = frozenset(one.id for one in runs if one.ended_at is None and not lease.is_live(transaction, one, now))
        runs = [replace(one, outcome="lost") if one.id in dead else one for one in runs]
        return cls(transaction, replace(session, status=status), runs, attempts, None, dead, damage)

    def seen(self, attempt: AttemptRecord) -> AttemptRecord:
        """An attempt as it is seen at the story's moment."""
        if self.moment is not None:
            return attempt_at(attempt, self.moment)
        if attempt.status == "running" and attempt.run_id in self._dead:
            return replace(attempt, status="lost")
        return attempt

    def tasks(self, queues: Mapping[int, str]) -> list[dict[str, Any]]:
        """Every task with its attempts, in the order in which they first started; what waits or was skipped last.

        Args:
            queues: The names of the session's queues by id.
        """
        tried = self._many_tasks() if self._attempts is None else self._few_tasks(self._attempts)
        tasks = [self._task(name, last, shaped, queues) for name, last, shaped in tried]
        known = {task["task"] for task in tasks}
        return tasks + [self._task(name, None, [], queues) for name in self.session.tasks if name not in known]

    def _few_tasks(self, attempts: list[AttemptRecord]) -> Iterator[_Tried]:
        of_task: dict[str, list[AttemptRecord]] = {}
        for one in attempts:
            if self.moment is None or one.started_at <= self.moment:
                of_task.setdefault(one.task, []).append(self.seen(one))
        for name, tried in of_task.items():
            tried.sort(key=lambda one: one.number)
            yield name, tried[-1], [attempt_shape(one, self.damage) for one in tried]

    def _many_tasks(self) -> Iterator[_Tried]:
        for name, last, number in tries.tried(self.transaction, self.session.id, self.moment):
            newest = tries.attempt_in_short(self.transaction, self.session.id, name, last)
            yield name, newest and self.seen(newest), Lazy(functools.partial(self._attempts_of, name), number)

    def _attempts_of(self, task: str) -> Iterator[dict[str, Any]]:
        for one in tries.attempts_of_task(self.transaction, self.session.id, task, self.moment):
            yield attempt_shape(self.seen(one), self.damage)

    def _task(
        self, name: str, last: AttemptRecord | None, attempts: _Attempts, queues: Mapping[int, str]
    ) -> dict[str, Any]:
        if last is not None and last.status in _UNFINISHED:
            self.unfinished[last.id] = last.name
        return {
            "task": name,
            "status": task_status(last, self.session.tasks.get(name, "waiting")),
            "restorable": last is None or last.restorable,
            "result": self._result(last, queues) if last is not None and last.stands else None,
            "attempts": attempts,
        }

    def _result(self, of: AttemptRecord, queues: Mapping[int, str]) -> str | None:
        name = queues.get(of.result_queue_id) if of.result_queue_id is not None else None
        return None if name is None or of.result_seq is None else value_id(self.session.name, name, of.result_seq)


def _session_at(session: SessionRecord, runs: list[RunRecord], moment: int) -> SessionRecord:
    if session.created_at > moment and "created_at" not in session.damage:
        raise SessionNotFound(f"there was no session {session.name} at {iso(moment)}: it was made later")
    finished = session.finished_at if session.finished_at and session.finished_at <= moment else None
    return replace(session, status=status_at(runs_at(runs, moment), moment), finished_at=finished)


def task_status(last: AttemptRecord | None, known: str) -> str:
    """A task's status: its last attempt's, unless that was undone and the task was skipped or has to run again."""
    if last is None or (last.given_back_at is not None and known == "skipped"):
        return known
    return last.status if last.status != "completed" or last.stands else "waiting"


def _contents(story: Story, queues: list[Queue], only: str | None, live: bool) -> dict[str, Any]:
    """The queues of a session."""
    if sum(queue.live if live else queue.values for queue in queues) <= FEW:
        of_queue: dict[int, list[Life]] = {queue.id: [] for queue in queues}
        size = 0
        for life in lives.of_session(story.transaction, story.session.id, only, live=live, at=story.moment):
            of_queue[life.value.queue_id].append(life)
            size += life.value.size
            if size > SMALL:
                break
        else:
            return {
                queue.name: {
                    "live": [codec.to_json(life.value.data) for life in of_queue[queue.id] if life.is_live],
                    "values": list(_values(story, queue, of_queue[queue.id])),
                }
                for queue in queues
            }
    return {queue.name: _lazy_contents(story, queue, live) for queue in queues}


def _lazy_contents(story: Story, queue: Queue, live: bool) -> dict[str, Any]:
    def values() -> Iterator[dict[str, Any]]:
        return _values(story, queue, lives.of_queue(story.transaction, queue.id, live=live, at=story.moment))

    return {
        "live": Lazy(
            lambda: map(codec.to_json, lives.live_data(story.transaction, queue.id, story.moment)), queue.live
        ),
        "values": Lazy(values, queue.live if live else queue.values),
    }


def _values(story: Story, queue: Queue, found: Iterable[Life]) -> Iterator[dict[str, Any]]:
    for life in found:
        seen = life if story.moment is None else life_at(life, story.moment)
        if seen is not None:
            yield value_shape(seen, story.session.name, queue.name, story.damage)
