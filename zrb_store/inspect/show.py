"""A session as readers see it, now or at an earlier moment: its runs, its tasks with their attempts, and its queues.

Each `to_json` is a part of what `show --format json` shows.
"""

from __future__ import annotations

import functools
import itertools
import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import NamedTuple, TypedDict, Unpack

from zrb_store import codec, records
from zrb_store.db.engine import Database
from zrb_store.db.location import StoreUrl
from zrb_store.db.transaction import Transaction
from zrb_store.errors import SessionNotFound, ValueNotFound
from zrb_store.inspect.advice import Start
from zrb_store.inspect.header import as_seen, header
from zrb_store.inspect.moments import attempt_at, moment_of, runs_at, status_at, value_at
from zrb_store.inspect.told import Costs, plain, sum_of, tellers
from zrb_store.inspect.value import each_with_acts
from zrb_store.masking import one_line
from zrb_store.names import full_name, nearest
from zrb_store.queries import attempts, history, lease, output, runs, sessions, show
from zrb_store.queries.by_hand import Change, last_of_session
from zrb_store.queries.clock import Moment
from zrb_store.queries.commands import LeftCommand, left_commands
from zrb_store.queries.history import Only, Scope, Value
from zrb_store.queries.output import StoredOutput
from zrb_store.queries.show import StepCounts
from zrb_store.queries.waits import Wait, parked
from zrb_store.records import (
    RERUN,
    UNFINISHED,
    UNSUCCESSFUL,
    AttemptRecord,
    JsonObject,
    JsonValue,
    Lazy,
    Rows,
    RunRecord,
    by_key,
    each_as_json,
    iso,
    pick,
)
from zrb_store.wings import fact_of


class ShownAttempt(NamedTuple):
    """An attempt as it is seen, and how much it printed; None for nothing."""

    record: AttemptRecord
    output: StoredOutput | None = None

    def to_json(self) -> JsonObject:
        shown = pick(self.record, "number", "run", "status", "started_at", "ended_at", "error")
        return {
            **shown,
            "inputs_read": self.record.read,
            "inputs_assigned": self.record.assigned,
            "output": None if self.output is None else self.output._asdict(),
        }


@dataclass(frozen=True, slots=True)
class ShownStep:
    """A step of a task with its attempts in order."""

    attempts: list[AttemptRecord]
    status: str
    result: JsonValue  # None unless it has completed
    executions: int = 1
    counts_executions: bool = False
    note: str | None = None  # what it did, in place of its name and result
    tokens: int | None = None
    costs: Costs | None = None
    beginning: str | None = None  # in a report, of a long result, which is left out
    call: str | None = None  # in a report, how it was called

    @property
    def last(self) -> AttemptRecord:
        return self.attempts[-1]

    @property
    def id(self) -> str:
        """TASK/NUMBER."""
        return self.last.task

    @property
    def name(self) -> str:
        return self.last.step or self.last.task

    @property
    def repeats(self) -> str:
        """How often it was begun, or executed if that is counted; empty for once."""
        count, what = (self.executions, "executions") if self.counts_executions else (len(self.attempts), "attempts")
        return f"{count} {what}" * (count > 1)

    def was_retried(self, attempt: AttemptRecord) -> bool:
        """Whether one of its attempts did not complete and another one followed."""
        return attempt.status in UNSUCCESSFUL and attempt.id != self.last.id

    @property
    def rerun(self) -> str | None:
        """Why its last attempt began although it had completed, if it is known."""
        found: dict[str, str] = json.loads(self.last.attributes or "{}")
        return found.get(RERUN)

    @property
    def fact(self) -> str | None:
        """What a wing says of its last attempt, beside its name."""
        return fact_of(self.last.kind, self.last)

    @property
    def facts(self) -> list[str]:
        """What is said of it beside its name: how often it was begun and why, and how it may be repeated."""
        last = self.last
        lost = "not restorable" if last.status == "completed" and not last.restorable else ""
        again = f"again: {one_line(self.rerun)}" if self.rerun else ""
        return list(filter(None, (self.repeats, "once" * last.once, self.fact, lost, again)))

    def to_json(self) -> JsonObject:
        shown: JsonObject = {
            **pick(self, "id", "name", "status", "rerun"),
            **pick(self.last, "kind", "restorable", "once"),
            "executions": self.executions,
            "attempts": [ShownAttempt(each).to_json() for each in self.attempts],  # steps have no output
            "result": self.result,
            "note": self.note or "; ".join(filter(None, (self.call, self.fact))) or None,
        }
        return shown if self.beginning is None else {**shown, "beginning": self.beginning}


@dataclass(frozen=True)
class Task:
    """A task of a session, with its attempts and steps in the order in which they started."""

    name: str
    status: str
    last: AttemptRecord | None  # its last attempt
    restorable: bool  # whether the result of its last attempt can be restored
    result: str | None  # the id of the value that is its result, if it has one that was not given back
    attempts: Rows[ShownAttempt]
    counts: StepCounts | None  # None if it has no steps
    steps: Rows[ShownStep]
    attempts_left_out: int = 0  # in a report, how many come before these
    steps_left_out: int = 0

    @property
    def is_left(self) -> bool:
        """Whether no attempt of it counts: its status is then a row of its own."""
        return not self.attempts or self.status in ("given back", "skipped")

    def fate_of(self, attempt: AttemptRecord) -> str:
        """Say what became of what one of its attempts did; empty if its status says that."""
        if attempt.status == "completed" and not attempt.in_effect:
            return "given back"
        return "not restorable" * (self.is_last(attempt) and not self.restorable)

    def is_last(self, attempt: AttemptRecord) -> bool:
        """Whether an attempt is the last one of the task."""
        return self.last is not None and attempt.id == self.last.id

    def was_retried(self, attempt: AttemptRecord) -> bool:
        """Whether one of its attempts did not complete and another one followed. A delivery has a value of its own."""
        return attempt.status in UNSUCCESSFUL and attempt.kind != "delivery" and not self.is_last(attempt)

    @property
    def is_of_wings(self) -> bool:
        """Whether some of its steps are of kinds that wings add."""
        return self.counts is not None and self.counts.of_wings > 0

    @functools.cached_property
    def costs(self) -> Costs | None:
        """What its steps have cost, if that is known; they are read once."""
        return sum_of(step.costs for step in self.steps) if self.is_of_wings else None

    def to_json(self) -> JsonObject:
        shown: JsonObject = {
            "task": self.name,
            **pick(self, "status", "restorable", "result"),
            "attempts": each_as_json(self.attempts, ShownAttempt.to_json),
        }
        return shown if self.counts is None else {**shown, "steps": each_as_json(self.steps, ShownStep.to_json)}


@dataclass(frozen=True, slots=True)
class Queue:
    """A queue of a session, with all its values or those that were asked for."""

    now: show.QueueCounts  # its name, what it allows now, and how many of its values are dead, delayed and held now
    live: Rows[JsonValue]
    values: Rows[Value]
    earlier: dict[str, int]  # if only the last values, or the notable ones, were asked for: the others by their state

    @property
    def count(self) -> int:
        """How many values it has, or how many of those that were asked for."""
        return len(self.values) + self.left_out

    @property
    def left_out(self) -> int:
        """How many of these are not among `values`."""
        return sum(self.earlier.values())

    @property
    def counts(self) -> list[str]:
        """How many values it has, and in which states they are now: `2 live of 5`, `1 held`."""
        if not self.count:
            return ["empty"]
        states = {"held": self.now.held, "delayed": self.now.delayed, "dead": self.now.dead}
        numbers = [f"{number:,} {state}" for state, number in states.items() if number]
        return [f"{len(self.live):,} live of {self.count:,}", *numbers]

    def cut(self, values: list[Value]) -> Queue:
        """Return it with its last values only, which are these."""
        return replace(self, values=values, earlier={"earlier": self.count - len(values)})

    def to_json(self) -> JsonObject:
        return {**self.now.rules.to_json(), "live": self.live, "values": each_as_json(self.values, Value.to_json)}


_Attempted = tuple[str, AttemptRecord | None, Rows[ShownAttempt]]  # a task, its last attempt, and all its attempts


class SessionView:
    """A session with its runs and attempts at one moment, while its snapshot is open."""

    def __init__(self, transaction: Transaction, name: str, at: str | None) -> None:
        """Read a session at a moment that is given as a user types it, by default now."""
        session = sessions.get(transaction, name)
        self.transaction = transaction
        self.read_at, count, self._has_steps = show.attempt_summary(transaction, session.id)  # microseconds
        self._attempts = show.short_attempts(transaction, session.id) if count <= records.MAX_ROWS else None
        self._outputs: dict[int, StoredOutput] | None = None  # read when the attempts are shown
        self._dead_runs: frozenset[int] = frozenset()
        self.at: Moment | None = None  # the moment that is shown; None for now
        self.runs: Sequence[RunRecord] = runs.of_session(transaction, session.id)
        self.session = session
        if at is not None:
            self._go_back(at)
        if self.at is None:
            self.session = as_seen(transaction, session, self.runs, self.read_at)
            self._dead_runs = frozenset(
                run.id
                for run in self.runs
                if run.ended_at is None and not lease.is_live(transaction, run, self.read_at)
            )
            self.runs = [replace(run, status="lost") if run.id in self._dead_runs else run for run in self.runs]
        if any(run.status == "lost" for run in self.runs):
            self.runs = runs.with_last_signs(transaction, self.runs)

    def _go_back(self, at: str) -> None:
        """See the session and its runs as they were at a moment, unless the attempt that names it has not ended."""
        session = self.session
        start = self.runs[0].started_at if self.runs else session.created_at
        find = functools.partial(attempts.by_name, self.transaction, session.name)
        self.at, awaited = moment_of(at, session.name, start, find)
        if self.at is None:
            return
        if session.created_at > self.at.at and self.at.tick is None:
            raise SessionNotFound(f"there was no session {session.name} at {iso(self.at.at)}: it was created later")
        self.runs = runs_at(self.runs, self.at)
        ended_at = session.ended_at if self.runs and self.runs[-1].ended_at is not None else None
        tasks = session.tasks
        if awaited is not None and awaited not in tasks:  # only zrb says in advance what tasks there are
            tasks = {**tasks, awaited: "not started"}
        self.session = replace(session, status=status_at(self.runs, self.at), ended_at=ended_at, tasks=tasks)

    def seen(self, attempt: AttemptRecord) -> AttemptRecord:
        """Return an attempt as it is seen at this view's moment."""
        if self.at is not None:
            return attempt_at(attempt, self.at)
        if attempt.status == "running" and attempt.run_id in self._dead_runs:
            return replace(attempt, status="lost")
        return attempt


class Asked(TypedDict, total=False):
    """What is read of a session: of each queue all values, unless `only` or `last` leaves some out."""

    only: Only | None
    at: str | None  # a time as it is printed, `before:TASK#N` or `after:TASK#N`; now, if it is left out
    last: int | None  # only so many values of a queue; notable ones are asked for only of queues that have more
    whole_errors: bool  # do not cut the errors of deliveries
    url: StoreUrl  # of the store, to find the commands that live


class SessionDocument(SessionView):
    """A session with its tasks and its queues, as `show` shows it."""

    def __init__(self, transaction: Transaction, name: str, queue: str | None, **asked: Unpack[Asked]) -> None:
        super().__init__(transaction, name, asked.get("at"))
        self._only, self._last = asked.get("only"), asked.get("last")
        self._unfinished: dict[int, str] = {}  # by id, the names of last attempts that did not complete, and lost steps
        queues = show.queue_counts(transaction, self.session.id, queue, at=self.at)
        self._names = {each.id: each.name for each in queues}
        self._url = asked.get("url")
        whole, place = asked.get("whole_errors", False), (transaction, self.session.name, self._names)
        self._values = functools.partial(history.values, *place, at=self.at, whole_errors=whole)
        self.tasks = self._read_tasks()
        if queue is not None:
            names = [each.name for each in queues]
            queues = [each for each in queues if each.name == queue]
            if not queues:
                raise ValueNotFound(f"session {name} has no queue {queue!r}{nearest(queue, names)}")
        self.queues = self._read_few(queues, queue) or [self._lazy(each) for each in queues]

    @property
    def moment(self) -> int:
        """The moment that is shown, in microseconds: `read_at`, or an earlier one."""
        return self.read_at if self.at is None else self.at.at

    @functools.cached_property
    def waits(self) -> list[Wait]:
        """What the session waits for; empty at an earlier moment."""
        return parked(
            self.transaction, [self.session.id] if self.at is None and self.session.status == "waiting" else []
        )

    @property
    def start(self) -> Start:
        """How it was started, which says what continues it."""
        return Start.of(self.transaction, self.session, self.runs)

    @functools.cached_property
    def left(self) -> list[LeftCommand]:
        """What lives of the commands of attempts that were cut off."""
        if self._url is None or self.at is not None or self.session.status in ("open", "running", "completed"):
            return []
        return left_commands(self.transaction, self.session, self._url)

    def acknowledgement(self) -> tuple[int | None, Change | None]:
        """Return when somebody acknowledged how it ended, if so, and who and why, if that is known."""
        at = runs.acknowledged_at(self.runs) if self.at is None else None
        return at, last_of_session(self.transaction, self.session.name, "ack") if at else None

    @property
    def costs(self) -> Costs | None:
        """What the steps of all its tasks have cost, if that is known."""
        return sum_of(task.costs for task in self.tasks)

    def to_json(self) -> JsonObject:
        (acknowledged_at, why), costs = self.acknowledgement(), self.costs
        return {
            **header(self.session),
            "acknowledged_at": iso(acknowledged_at),
            "acknowledged_by": why and why.user,
            "acknowledged_reason": why and why.reason,
            "waits": [wait.to_json() for wait in self.waits],
            "runs": [run.to_json() for run in self.runs],
            "tasks": [task.to_json() for task in self.tasks],
            **({"costs": costs.to_json()} if costs and costs.text() else {}),
            "queues": {queue.now.name: queue.to_json() for queue in self.queues},
        }

    @functools.cached_property
    def pending(self) -> dict[str, show.Holding]:
        """What unfinished attempts did that still stands, by their names; nothing if the session has completed."""
        holding = show.holding_values(self.transaction, list(self._unfinished)) if self._unfinished else {}
        return {name: holding[each] for each, name in self._unfinished.items() if each in holding}

    def _read_tasks(self) -> list[Task]:
        """Return every task: first those that have attempts, in the order in which they were first started."""
        counts: dict[str, StepCounts] = {}
        if self._has_steps:
            found = show.step_counts(self.transaction, self.session.id, self.at, dead_runs=self._dead_runs)
            counts = {each.task: each for each in found}
            if self._dead_runs:
                running = show.running_steps(self.transaction, self.session.id)
                self._unfinished.update((each.id, each.name) for each in running if self.seen(each).status == "lost")
        attempted = self._stream_attempts() if self._attempts is None else self._group(self._attempts)
        tasks = [self._task(*each, counts.get(each[0])) for each in attempted]
        known = {task.name for task in tasks}
        # A fork may have steps of a task that has no attempts yet.
        others = dict.fromkeys(name for name in (*self.session.tasks, *counts) if name not in known)
        return tasks + [self._task(name, None, [], counts.get(name)) for name in others]

    def _group(self, attempts: list[AttemptRecord]) -> Iterator[_Attempted]:
        """Group attempts, which are all those of the session, by task."""
        at = self.at
        begun = (each for each in attempts if at is None or at.includes(each.started_at, each.started_tick))
        for name, own in by_key(map(self.seen, begun), lambda each: each.task).items():
            own.sort(key=lambda attempt: attempt.number)
            yield name, own[-1], [self._attempt(attempt) for attempt in own]

    def _stream_attempts(self) -> Iterator[_Attempted]:
        """Read the tasks from the store; their attempts are too many to keep."""
        for name, last, count in show.attempted_tasks(self.transaction, self.session.id, self.at):
            newest = attempts.by_name(self.transaction, self.session.name, name, last)
            yield name, newest and self.seen(newest), Lazy(functools.partial(self._attempts_of, name), count)

    def _attempts_of(self, task: str) -> Iterator[ShownAttempt]:
        for attempt in show.attempts_of_task(self.transaction, self.session.id, task, self.at):
            yield self._attempt(self.seen(attempt))

    def _attempt(self, attempt: AttemptRecord) -> ShownAttempt:
        """Add how much an attempt printed until now, also if the view is of an earlier moment."""
        if self._attempts is None:
            return ShownAttempt(attempt, output.of_attempt(self.transaction, attempt.id))
        if self._outputs is None:
            self._outputs = output.of_attempts(self.transaction, self.session.id)
        return ShownAttempt(attempt, self._outputs.get(attempt.id))

    def _task(
        self, name: str, last: AttemptRecord | None, attempts: Rows[ShownAttempt], counts: StepCounts | None
    ) -> Task:
        if last is not None and last.status in UNFINISHED:
            self._unfinished[last.id] = last.name
        result = None
        if last is not None and last.in_effect and last.result_seq is not None:
            queue = self._names.get(last.result_queue_id or 0)
            result = None if queue is None else full_name(self.session.name, queue, last.result_seq)
        read_steps = functools.partial(self._steps_of, name, last, bool(counts and counts.of_wings))
        steps: Rows[ShownStep] = [] if counts is None else Lazy(read_steps, counts.steps)
        status = _status(last, self.session.tasks.get(name, "not started"))
        return Task(name, status, last, not last or last.restorable, result, attempts, counts, steps)

    def _steps_of(self, task: str, last_attempt: AttemptRecord | None, is_of_wings: bool) -> Iterator[ShownStep]:
        told = tellers(self.transaction, last_attempt) if is_of_wings else {}
        found = show.steps_of_task(self.transaction, self.session.id, task, self.at)
        for _, group in itertools.groupby(found, lambda each: each[0].step_number):
            own = [(self.seen(each), None if data is None else codec.to_json(data)) for each, data in group]
            last, result = own[-1]
            content = result if last.in_effect else None
            of_step = told.get(last.kind, plain)(own)
            yield ShownStep([attempt for attempt, _ in own], _status(last, "not started"), content, **of_step._asdict())

    def _count(self, queue: show.QueueCounts) -> int:
        counts = {"live": queue.live, "dead": queue.dead, "held": queue.held, "next": min(1, queue.live)}
        return counts.get(self._only or "", queue.values)

    def _read_few(self, queues: Sequence[show.QueueCounts], name: str | None) -> list[Queue]:
        """Read all values of the session, or of the queue of that name, at once; an empty list if they are too many."""
        counts = list(map(self._count, queues))
        is_cut = self._last is not None and max(counts, default=0) > self._last
        if self._only in ("dead", "held", "next") or is_cut or sum(counts) > records.MAX_ROWS:
            return []
        values: dict[int, list[Value]] = {queue.id: [] for queue in queues}
        size = 0
        scope: Scope = "session" if name is None else "queue"
        of = self.session.id if name is None else queues[0].id
        only: Only | None = "live" if self._only == "live" else None  # all of a queue that is short are notable
        for each in self._values(scope, of, only=only):
            values[each.record.queue_id].append(each)
            size += each.record.size + sum(one.record.size for one in each.replaced)
            if size > records.MAX_BYTES:
                return []
        found_queues = []
        for queue in queues:
            live = [each.content for each in values[queue.id] if each.is_live]
            found_queues.append(Queue(queue, live, list(self._seen(values[queue.id])), {}))
        return found_queues

    def _lazy(self, queue: show.QueueCounts) -> Queue:
        """Return a queue whose values are read when they are iterated over."""
        only, at = self._only, self.at
        were_dead = only == "dead" and at is not None  # which values were, only their whole history tells
        first: int | None = None

        def values() -> Iterator[Value]:
            found = self._seen(self._values("queue", queue.id, only=None if were_dead else only, seq=first))
            return (each for each in found if each.record.state == "dead") if were_dead else found

        count = sum(1 for _ in values()) if were_dead else self._count(queue)
        shown = count if self._last is None or only in ("held", "next") else min(count, self._last)
        earlier: dict[str, int] = {}
        if only == "notable" and shown == count:
            only = None
        elif only == "notable":
            others = history.earlier(self.transaction, queue.id)
            others["taken"] = others.get("taken", 0) - queue.held
            others["live"] = others.get("live", 0) - min(1, queue.live)
            earlier = {state: number for state, number in others.items() if number and state in history.USUAL}
            shown = count - sum(earlier.values())
        elif shown < count and were_dead:
            earlier = {"dead": count - shown}
        elif shown < count:
            first = history.first_of_last(self.transaction, queue.id, shown, only=only, at=at)
            earlier = {} if first is None else history.earlier(self.transaction, queue.id, first, only=only, at=at)
        skipped = earlier.get("dead", 0) if were_dead else 0
        rows = Lazy(lambda: itertools.islice(values(), skipped, None), shown)
        live = Lazy(lambda: map(codec.to_json, history.live_data(self.transaction, queue.id, at)), queue.live)
        return Queue(queue, live, rows, earlier)

    def _seen(self, values: Iterable[Value]) -> Iterator[Value]:
        """Yield values of one queue as they are seen at this view's moment."""
        for each in each_with_acts(self.transaction, self.session, values):
            seen = each if self.at is None else value_at(each, self.at)
            if seen is not None:
                yield seen


@contextmanager
def open_session(
    database: Database, name: str, queue: str | None = None, **asked: Unpack[Asked]
) -> Iterator[SessionDocument]:
    """Read a session as of one moment, with `queue` or every queue."""
    with database.snapshot() as transaction:
        asked["url"] = database.url
        yield SessionDocument(transaction, name, queue, **asked)


def _status(last: AttemptRecord | None, known: str) -> str:
    """Return the status of a task or a step from its last attempt; without one it is `known`: not started, or skipped.

    If that attempt completed and was given back, the task is skipped, or `given back`: it will run again.
    """
    if last is None or (last.given_back_at is not None and known == "skipped"):
        return known
    return last.status if last.status != "completed" or last.in_effect else "given back"
