"""A session with its runs and attempts, as readers see them now or as they were at an earlier moment."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from zrb_store import codec, records
from zrb_store.db.transaction import Transaction
from zrb_store.errors import SessionNotFound
from zrb_store.inspect.moments import NamedMoment, attempt_at, moment_of, runs_at, status_at
from zrb_store.inspect.value import ByHand, Damage
from zrb_store.masking import mask_named
from zrb_store.names import full_name
from zrb_store.queries import history, lease, output, runs, sessions, show
from zrb_store.queries.history import StepCounts
from zrb_store.queries.output import StoredOutput
from zrb_store.records import (
    UNSUCCESSFUL,
    AttemptRecord,
    JsonObject,
    JsonValue,
    Lazy,
    Rows,
    RunRecord,
    SessionRecord,
    each_as_json,
    iso,
    json_or_null,
)


class Attempt(NamedTuple):
    """An attempt as it is seen, and how much it printed; None for nothing."""

    record: AttemptRecord
    output: StoredOutput | None = None

    def to_json(self) -> JsonObject:
        """Return it as `show --format json` shows it."""
        record = self.record
        return {
            "number": record.number,
            "run": record.run,
            "status": record.status,
            "started_at": iso(record.started_at),
            "ended_at": iso(record.ended_at),
            "error": json_or_null(record.error),
            "output": None if self.output is None else self.output._asdict(),
        }


@dataclass(frozen=True, slots=True)
class Step:
    """A step of a task, with its attempts in order, and its result if it has completed."""

    attempts: list[AttemptRecord]
    status: str
    result: JsonValue

    @property
    def last(self) -> AttemptRecord:
        """Its last attempt."""
        return self.attempts[-1]

    @property
    def id(self) -> str:
        """TASK/NUMBER."""
        return self.last.task

    @property
    def name(self) -> str:
        """Its name."""
        return self.last.step or self.last.task

    def to_json(self) -> JsonObject:
        """Return it as `show --format json` shows it."""
        return {
            "id": self.id,
            "name": self.name,
            "status": self.status,
            "restorable": self.last.restorable,
            "once": self.last.once,
            "attempts": [Attempt(each).to_json() for each in self.attempts],  # steps have no output
            "result": self.result,
        }


@dataclass(frozen=True, slots=True)
class Task:
    """A task of a session, with its attempts and steps in the order in which they started.

    Attributes:
        restorable: Whether the result of its last attempt can be restored.
        result: The id of the value that is its result, if it has one that was not given back.
        counts: How many steps it has; None for none.
    """

    name: str
    status: str
    restorable: bool
    result: str | None
    attempts: Rows[Attempt]
    counts: StepCounts | None
    steps: Rows[Step]

    def to_json(self) -> JsonObject:
        """Return it as `show --format json` shows it."""
        shown: JsonObject = {
            "task": self.name,
            "status": self.status,
            "restorable": self.restorable,
            "result": self.result,
            "attempts": each_as_json(self.attempts, Attempt.to_json),
        }
        return shown if self.counts is None else {**shown, "steps": each_as_json(self.steps, Step.to_json)}


_Attempted = tuple[str, AttemptRecord | None, Rows[Attempt]]  # a task, its last attempt, and all its attempts


class SessionView:
    """A session with its runs and attempts at one moment.

    Attributes:
        session: Its record, with the status that readers see.
        moment: None for now.
        unfinished: Names of the last attempts of tasks that did not complete, and of steps that were lost and are not
            given back yet, by id. `tasks` fills it.
        steps: How many steps each task has that has some. `tasks` fills it.
    """

    def __init__(
        self, transaction: Transaction, name: str, at: str | None = None, damage: Damage | None = None
    ) -> None:
        """Read a session.

        Args:
            at: The moment: a time as it is printed, `before:TASK#N` or `after:TASK#N`; by default now.

        Raises:
            InvalidArgument: `at` does not name a moment, or one that is ambiguous.
        """
        session = sessions.get(transaction, name)
        now, attempt_count, self._has_steps = show.attempt_summary(transaction, session.id)
        its_runs = runs.of_session(transaction, session.id)
        few = attempt_count <= records.MAX_ROWS
        attempts = self._attempts = show.short_attempts(transaction, session.id) if few else None
        self._outputs: dict[int, StoredOutput] | None = None  # read when the attempts are shown
        self._dead_runs: frozenset[int] = frozenset()

        def find(task: str, number: int) -> AttemptRecord | None:
            known = (each for each in attempts or () if (each.task, each.number) == (task, number))
            return next(known, None) or show.short_attempt(transaction, session.id, task, number)

        start = its_runs[0].started_at if its_runs else session.created_at
        moment, awaited = NamedMoment(None) if at is None else moment_of(at, name, start, find)
        if moment is None:
            status = lease.status_of(transaction, session, its_runs[-1] if its_runs else None, now)
            self._dead_runs = frozenset(
                run.id for run in its_runs if run.ended_at is None and not lease.is_live(transaction, run, now)
            )
            its_runs = [replace(run, outcome="lost") if run.id in self._dead_runs else run for run in its_runs]
            session = replace(session, status=status)
        else:
            if session.created_at > moment.at and moment.tick is None and "created_at" not in session.damage:
                raise SessionNotFound(f"there was no session {name} at {iso(moment.at)}: it was created later")
            its_runs = runs_at(its_runs, moment)
            finished_at = session.finished_at if its_runs and its_runs[-1].ended_at is not None else None
            session = replace(session, status=status_at(its_runs, moment), finished_at=finished_at)
            if awaited is not None and awaited not in session.tasks:  # only zrb says in advance what tasks there are
                session = replace(session, tasks={**session.tasks, awaited: "waiting"})
        self.transaction = transaction
        self.read_at = now
        self.session = session
        self.runs: Sequence[RunRecord] = its_runs
        self.moment = moment
        self.damage = Damage() if damage is None else damage
        self.by_hand = ByHand(transaction, name, session.id, self.damage)
        self.unfinished: dict[int, str] = {}
        self.steps: dict[str, StepCounts] = {}

    def seen(self, attempt: AttemptRecord) -> AttemptRecord:
        """Return an attempt as it is seen at this view's moment."""
        if self.moment is not None:
            return attempt_at(attempt, self.moment)
        if attempt.status == "running" and attempt.run_id in self._dead_runs:
            return replace(attempt, status="lost")
        return attempt

    def tasks(self, queues: Mapping[int, str]) -> list[Task]:
        """Return every task with its attempts, and with its steps if it has some.

        Tasks that have attempts come first, in the order in which they were first started. Steps are read when they are
        iterated over.

        Args:
            queues: Names of the session's queues by id.
        """
        if self._has_steps:
            counts = history.counts(self.transaction, self.session.id, self.moment, dead_runs=self._dead_runs)
            self.steps = {each.task: each for each in counts}
            if self._dead_runs:
                running = history.running(self.transaction, self.session.id)
                self.unfinished.update((each.id, each.name) for each in running if self.seen(each).status == "lost")
        attempted = self._read_tasks() if self._attempts is None else self._group(self._attempts)
        tasks = [self._task(*each, queues) for each in attempted]
        known = {task.name for task in tasks}
        # A fork may have steps of a task that has no attempts yet.
        others = dict.fromkeys(name for name in (*self.session.tasks, *self.steps) if name not in known)
        return tasks + [self._task(name, None, [], queues) for name in others]

    def _group(self, attempts: list[AttemptRecord]) -> Iterator[_Attempted]:
        """Group attempts, which are all those of the session, by task."""
        by_task: dict[str, list[AttemptRecord]] = {}
        for attempt in attempts:
            if self.moment is None or self.moment.includes(attempt.started_at, attempt.started_tick):
                by_task.setdefault(attempt.task, []).append(self.seen(attempt))
        for name, own in by_task.items():
            own.sort(key=lambda attempt: attempt.number)
            yield name, own[-1], [self._attempt(attempt) for attempt in own]

    def _read_tasks(self) -> Iterator[_Attempted]:
        """Read the tasks from the store; their attempts are too many to keep."""
        for name, last, count in show.attempted_tasks(self.transaction, self.session.id, self.moment):
            newest = show.short_attempt(self.transaction, self.session.id, name, last)
            yield name, newest and self.seen(newest), Lazy(functools.partial(self._attempts_of, name), count)

    def _attempts_of(self, task: str) -> Iterator[Attempt]:
        for attempt in show.attempts_of_task(self.transaction, self.session.id, task, self.moment):
            yield self._attempt(self.seen(attempt))

    def _attempt(self, attempt: AttemptRecord) -> Attempt:
        """Add how much an attempt printed until now, also if the view is of an earlier moment."""
        self._note(attempt)
        if self._attempts is None:
            return Attempt(attempt, output.of_attempt(self.transaction, attempt.id))
        if self._outputs is None:
            self._outputs = output.of_attempts(self.transaction, self.session.id)
        return Attempt(attempt, self._outputs.get(attempt.id))

    def _note(self, attempt: AttemptRecord) -> None:
        self.damage.note(f"attempt {attempt.session}/{attempt.name}", attempt.damage)

    def _task(self, name: str, last: AttemptRecord | None, attempts: Rows[Attempt], queues: Mapping[int, str]) -> Task:
        if last is not None and last.status in UNSUCCESSFUL:
            self.unfinished[last.id] = last.name
        counts, result = self.steps.get(name), None
        if last is not None and last.in_effect and last.result_seq is not None:
            queue = queues.get(last.result_queue_id or 0)
            result = None if queue is None else full_name(self.session.name, queue, last.result_seq)
        return Task(
            name,
            task_status(last, self.session.tasks.get(name, "waiting")),
            last is None or last.restorable,
            result,
            attempts,
            counts,
            [] if counts is None else Lazy(functools.partial(self._steps_of, name), counts.steps),
        )

    def _steps_of(self, task: str) -> Iterator[Step]:
        attempts = history.of_task(self.transaction, self.session.id, task, self.moment)
        for _, group in itertools.groupby(attempts, lambda each: each[0].step_number):
            own = [(self.seen(attempt), result) for attempt, result in group]
            last, result = own[-1]
            for attempt, _ in own:
                self._note(attempt)
            content = codec.to_json(result) if result is not None and last.in_effect else None
            yield Step([attempt for attempt, _ in own], task_status(last, "waiting"), content)


def header(session: SessionRecord) -> JsonObject:
    """Return the part of a session that `list --format json` and `show --format json` share."""
    return {
        "name": session.name,
        "project": session.project,
        "status": session.status,
        "task": session.task,
        "path": session.path,
        "inputs": inputs_of(session),
        "created_at": iso(session.created_at),
        "finished_at": iso(session.finished_at),
        "parent": session.parent,
        "forked_from": session.forked_from,
        "pinned": session.pinned,
    }


def inputs_of(session: SessionRecord) -> JsonValue:
    """Return the inputs of a session, in which secrets are masked: a dict, unless they are damaged."""
    return mask_named(codec.to_json(session.inputs)) if session.inputs else {}


def task_status(last: AttemptRecord | None, known: str) -> str:
    """Return the status of a task, or of a step.

    It is that of its last attempt, unless that attempt was given back and the task is skipped or has to run again.
    Without one it is what the session knows: `waiting` or `skipped`.
    """
    if last is None or (last.given_back_at is not None and known == "skipped"):
        return known
    return last.status if last.status != "completed" or last.in_effect else "waiting"
