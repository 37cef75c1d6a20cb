"""What readers show of a session, as plain data that JSON holds (design.md section 5). Nothing here writes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from zrb_store import codec, lease
from zrb_store.errors import SessionNotFound, ValueNotFound
from zrb_store.names import nearest, value_id
from zrb_store.queries import history, sessions, values
from zrb_store.queries.history import AttemptName
from zrb_store.reading.moments import attempts_at, moment_of, runs_at, status_at, value_at
from zrb_store.records import AttemptRecord, ReturnRecord, RunRecord, SessionRecord, ValueRecord, iso

if TYPE_CHECKING:
    from zrb_store.db.transaction import Transaction
    from zrb_store.store import Store


def show(
    store: Store, name: str, queue: str | None = None, *, live: bool = False, at: str | None = None
) -> dict[str, Any]:
    """Everything of one session, in the shape of `show --format json`.

    Args:
        store: Where it is.
        name: Its full name.
        queue: Only this queue.
        live: Only live values.
        at: As it was at a moment: an ISO 8601 time, `before:TASK#N` or `after:TASK#N`.

    Raises:
        SessionNotFound: There is no such session, or there was none at that moment.
        ValueNotFound: The session has no such queue.
        TaskNotFound: The session has no such attempt.
        InvalidName: `at` is not a moment.
    """
    with store.database.snapshot() as transaction:
        story = Story.read(transaction, name, at)
        if queue is not None and queue not in story.queues.values():
            hint = nearest(queue, story.queues.values())
            raise ValueNotFound(f"session {name} has no queue {queue!r}{hint}")
        contents = _contents(transaction, story, queue, live)
    return {
        **header(story.session),
        "runs": [run_shape(one) for one in story.runs],
        "tasks": story.tasks(),
        "queues": contents,
    }


def header(session: SessionRecord) -> dict[str, Any]:
    """The fields that `list --format json` shows of a session; its status must be the one that readers see."""
    return {
        "name": session.name,
        "project": session.project,
        "status": session.status,
        "task": session.task,
        "path": session.path,
        "inputs": codec.to_json(session.inputs) if session.inputs else {},
        "created_at": iso(session.created_at),
        "finished_at": iso(session.finished_at),
        "parent": session.parent,
        "forked_from": session.forked_from,
        "pinned": session.pinned,
    }


def run_shape(run: RunRecord) -> dict[str, Any]:
    """One run in JSON."""
    return {
        "number": run.number,
        "origin": run.origin,
        "host": run.host,
        "pid": run.pid,
        "started_at": iso(run.started_at),
        "ended_at": iso(run.ended_at),
        "outcome": run.outcome,
    }


def error_shape(attempt: AttemptRecord) -> dict[str, Any] | None:
    """Why an attempt failed, or None."""
    if attempt.error_type is None and attempt.error_message is None:
        return None
    return {"type": attempt.error_type, "message": attempt.error_message}


class Story:
    """A session with its runs, attempts and queue names, as readers see them at one moment.

    Attributes:
        moment: That moment, or None for now.
        queues: The queues' names by id.
    """

    def __init__(
        self,
        session: SessionRecord,
        runs: Sequence[RunRecord],
        attempts: Sequence[AttemptRecord],
        queues: Mapping[int, str],
        moment: int | None = None,
    ) -> None:
        self.session = session
        self.runs = runs
        self.attempts = attempts
        self.queues = queues
        self.moment = moment
        self._names = {one.id: AttemptName(one.session, one.task, one.number, one.given_back_at) for one in attempts}

    @classmethod
    def read(cls, transaction: Transaction, name: str, at: str | None = None) -> Story:
        """Read a session, now or as it was at a moment. Raises as `show`."""
        session = sessions.need(transaction, name)
        now = values.moment(transaction)
        runs = sessions.runs(transaction, session.id)
        attempts = history.attempts_in_short(transaction, session.id)
        queues = history.queue_names(transaction, session.id)
        moment = None if at is None else moment_of(at, name, attempts)
        if moment is not None:
            return cls._at(session, runs, attempts, queues, moment)
        status = lease.status_of(transaction, session, runs[-1] if runs else None, now)
        dead = {one.id for one in runs if one.ended_at is None and not lease.is_live(transaction, one, now)}
        runs = [replace(one, outcome="lost") if one.id in dead else one for one in runs]
        attempts = [
            replace(one, status="lost") if one.status == "running" and one.run_id in dead else one for one in attempts
        ]
        return cls(replace(session, status=status), runs, attempts, queues)

    @classmethod
    def _at(
        cls,
        session: SessionRecord,
        runs: list[RunRecord],
        attempts: list[AttemptRecord],
        queues: dict[int, str],
        moment: int,
    ) -> Story:
        if session.created_at > moment:
            raise SessionNotFound(f"there was no session {session.name} at {iso(moment)}: it was made later")
        runs = runs_at(runs, moment)
        finished = session.finished_at if session.finished_at and session.finished_at <= moment else None
        session = replace(session, status=status_at(runs, moment), finished_at=finished)
        return cls(session, runs, attempts_at(attempts, moment), queues, moment)

    def know(self, visitors: Mapping[int, AttemptName]) -> None:
        """Learn the names of attempts of other sessions."""
        self._names.update(visitors)

    def knows(self, attempt_id: int | None) -> bool:
        """Whether the attempt of this id has a name here (none needs none)."""
        return attempt_id is None or attempt_id in self._names

    def attempt_name(self, attempt_id: int | None) -> str | None:
        """`load#1` for an attempt of this session, `SESSION/load#1` for another's, None for none."""
        if attempt_id is None or attempt_id not in self._names:
            return None
        session, task, number, _ = self._names[attempt_id]
        return f"{task}#{number}" if session == self.session.name else value_id(session, task, number)

    def given_back(self, attempt_id: int | None) -> bool:
        """Whether the attempt was given back by the story's moment."""
        known = self._names.get(attempt_id) if attempt_id is not None else None
        return bool(known and known.given_back_at and (self.moment is None or known.given_back_at <= self.moment))

    def tasks(self) -> list[dict[str, Any]]:
        """Every task with its attempts, in the order in which they first started; what waits or was skipped last."""
        of_task: dict[str, list[AttemptRecord]] = {}
        for one in self.attempts:
            of_task.setdefault(one.task, []).append(one)
        for name in self.session.tasks:
            of_task.setdefault(name, [])
        return [self._task(name, sorted(tried, key=lambda one: one.number)) for name, tried in of_task.items()]

    def _task(self, name: str, tried: list[AttemptRecord]) -> dict[str, Any]:
        last = tried[-1] if tried else None
        return {
            "task": name,
            "status": task_status(last, self.session.tasks.get(name, "waiting")),
            "restorable": last is None or last.restorable,
            "result": self._result(last) if last is not None and last.stands else None,
            "attempts": [
                {
                    "number": one.number,
                    "run": one.run,
                    "status": one.status,
                    "started_at": iso(one.started_at),
                    "ended_at": iso(one.ended_at),
                    "error": error_shape(one),
                }
                for one in tried
            ],
        }

    def _result(self, of: AttemptRecord) -> str | None:
        name = self.queues.get(of.result_queue_id) if of.result_queue_id is not None else None
        return None if name is None or of.result_seq is None else value_id(self.session.name, name, of.result_seq)

    def value(self, one: ValueRecord, queue: str, returns: Sequence[ReturnRecord]) -> dict[str, Any]:
        """One value in JSON."""
        return {
            "id": value_id(self.session.name, queue, one.seq),
            "seq": one.seq,
            "state": one.state,
            "type": one.type,
            "size": one.size,
            "value": codec.to_json(one.data),
            "pushed_at": iso(one.pushed_at),
            "pushed_by": self.attempt_name(one.pushed_by),
            "taken_at": iso(one.ended_at) if one.state in ("taken", "removed") else None,
            "taken_by": self.attempt_name(one.taken_by),
            "moved_from": one.moved_from,
            "orphaned": one.orphaned,
            "returns": [
                {
                    "taken_by": self.attempt_name(back.taken_by),
                    "taken_at": iso(back.taken_at),
                    "returned_at": iso(back.returned_at),
                    "reason": back.reason,
                }
                for back in returns
            ],
        }


def task_status(last: AttemptRecord | None, known: str) -> str:
    """A task's status: its last attempt's, unless that was undone and the task was skipped or has to run again."""
    if last is None or (last.given_back_at is not None and known == "skipped"):
        return known
    return last.status if last.status != "completed" or last.stands else "waiting"


def _contents(transaction: Transaction, story: Story, queue: str | None, live: bool) -> dict[str, Any]:
    """The queues of a session in JSON."""
    of = story.session.id
    rows = history.values_of(transaction, of, queue, live=live, at=story.moment)
    returns: dict[tuple[int, int], list[ReturnRecord]] = {}
    for back in history.returns_of(transaction, of, queue):
        returns.setdefault((back.queue_id, back.seq), []).append(back)
    involved = {one for row, _ in rows for one in (row.pushed_by, row.taken_by)}
    involved |= {back.taken_by for backs in returns.values() for back in backs}
    if not all(map(story.knows, involved)):
        story.know(history.visitors(transaction, of, queue))
    contents: dict[str, Any] = {
        name: {"live": [], "values": []} for name in story.queues.values() if queue in (None, name)
    }
    for row, is_live in rows:
        backs = returns.get((row.queue_id, row.seq), [])
        seen: ValueRecord | None = row
        if story.moment is not None:
            seen = value_at(row, is_live, backs, story.moment)
            backs = [back for back in backs if back.returned_at <= story.moment]
            if seen is not None and seen.state in ("taken", "removed"):
                seen = replace(seen, orphaned=story.given_back(seen.pushed_by))
        if seen is not None:
            name = story.queues[row.queue_id]
            shaped = story.value(seen, name, backs)
            contents[name]["values"].append(shaped)
            if is_live:
                contents[name]["live"].append(shaped["value"])
    return contents
