"""What a report shows: a session as `show` and `log` know it, cut to what a page can hold (docs/schema/report.json).

`describe` reads it. The shapes are those of `show --format json` and `log --format json`, with counts of what is cut.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Generic, NamedTuple, TypeVar

from zrb_store.db.engine import Database
from zrb_store.inspect.log import AttemptLog, RunLog, SessionLog, change_json, line_json, log_of
from zrb_store.inspect.resume import Decision
from zrb_store.inspect.session_view import Attempt, Step, Task, header, inputs_of
from zrb_store.inspect.show import Queue, SessionDocument, open_session
from zrb_store.inspect.trace import Span, merged, span_of
from zrb_store.inspect.value import Damage, Value
from zrb_store.queries.by_hand import Change
from zrb_store.queries.lease import worked_until
from zrb_store.records import (
    AttemptRecord,
    ErrorRecord,
    JsonObject,
    JsonTree,
    JsonValue,
    SessionRecord,
    iso,
    json_or_null,
)

T = TypeVar("T")

Measure = Callable[[JsonTree], int]
"""How many bytes plain data takes on a page."""

BEGINNING = 2000
"""Characters that are shown of a value that is too long."""

_PER_VALUE = 4  # bytes that a value takes besides its content, if it is like those beside it
_PER_ATTEMPT = 150
_PER_STEP = 100
_MOST_PENDING = 20
_TRACEBACKS = 5  # of so many runs, the last ones


class Cut(NamedTuple, Generic[T]):
    """The last items that fit in a room, how many come before them, and how many bytes they use."""

    items: list[T]
    left_out: int
    used: int


def last_within(items: Iterable[T], room: int, measure: Callable[[T], int]) -> Cut[T]:
    """Return the last items that have room together, and at least one. They are read once."""
    kept: deque[tuple[T, int]] = deque()
    used, left_out = 0, 0
    for item in items:
        size = measure(item)
        kept.append((item, size))
        used += size
        while used > room and len(kept) > 1:
            used -= kept.popleft()[1]
            left_out += 1
    return Cut([item for item, _ in kept], left_out, used)


def json_length(tree: JsonTree) -> int:
    """Return how long data is as JSON, in bytes of UTF-8."""
    return len(json.dumps(tree, separators=(",", ":"), ensure_ascii=False).encode(errors="surrogatepass"))


def beginning(tree: JsonValue) -> str:
    """Return the first characters of a long value: of its text, or of its JSON."""
    return tree[:BEGINNING] if type(tree) is str else json.dumps(tree, ensure_ascii=False)[:BEGINNING]


def cut_text(text: str, length: int) -> str:
    """Return a text, or its first characters and a sign that there are more."""
    return text if len(text) <= length else f"{text[:length]} […]"


@dataclass(frozen=True)
class Budget:
    """How much a report holds.

    Attributes:
        values: Bytes of all values together.
        value: Bytes of one value; of a longer one, only the beginning is shown.
        tasks: Bytes of the attempts and steps of all tasks together. Half of what the values leave is added.
        logged: Bytes of errors and output together.
        message: Characters of an error's message where it is told in short, and of what somebody did by hand.
        lines: Lines of output of one attempt.
        runs: How many runs are described, the last ones.
        changes: How many changes by hand are described, the last ones.
        most_values: How many values of a queue are read.
        measure: Measures data on the page.
    """

    values: int = 3_900_000
    value: int = 64 * 1024
    tasks: int = 600_000
    logged: int = 300_000
    message: int = 400
    lines: int = 200
    runs: int = 300
    changes: int = 300
    most_values: int = 100_000
    measure: Measure = field(default=json_length)

    def part(self, share: float) -> Budget:
        """Return a smaller budget."""

        def cut(number: int) -> int:
            return max(1, int(number * share))

        return replace(
            self,
            values=cut(self.values),
            value=cut(self.value),
            tasks=cut(self.tasks),
            logged=cut(self.logged),
            runs=cut(self.runs),
            changes=cut(self.changes),
            most_values=cut(self.most_values),
        )


class ReportRun(NamedTuple):
    """A run, and until when its process is known to have worked."""

    log: RunLog
    worked_until: int

    def to_json(self) -> JsonObject:
        """Return it in the shape of docs/schema/report.json, as all that follow."""
        return {**self.log.to_json(), "worked_until": iso(self.worked_until)}


class ReportStep(NamedTuple):
    """A step; of one with a long result only its beginning."""

    step: Step
    beginning: str | None = None

    def to_json(self) -> JsonObject:
        """Return it in the shape of a report."""
        return _with_beginning(self.step.to_json(), self.beginning)


@dataclass(frozen=True, slots=True)
class ReportTask:
    """A task with its last attempts and steps."""

    task: Task
    attempts: list[Attempt]
    attempts_left_out: int
    steps: list[ReportStep]
    steps_left_out: int

    def to_json(self) -> JsonObject:
        """Return it in the shape of a report."""
        shown = replace(self.task, attempts=self.attempts, steps=[]).to_json()
        shown["attempts_left_out"] = self.attempts_left_out
        if self.task.counts is not None:
            steps = [step.to_json() for step in self.steps]
            shown |= {
                "steps": steps,
                "steps_left_out": self.steps_left_out,
                "steps_standing": self.task.counts.standing,
            }
        return shown


class ReportValue(NamedTuple):
    """A value; of a long one only its beginning."""

    value: Value
    beginning: str | None = None

    @property
    def undone_at(self) -> int | None:
        """When its push was undone."""
        return None if self.value.undone is None else self.value.undone.at

    def to_json(self) -> JsonObject:
        """Return it in the shape of a report, with the time at which it stopped to be live."""
        times: JsonObject = {"ended_at": iso(self.value.record.ended_at), "undone_at": iso(self.undone_at)}
        return _with_beginning({**self.value.to_json(), **times}, self.beginning)


def _with_beginning(shown: JsonObject, beginning: str | None) -> JsonObject:
    return shown if beginning is None else {**shown, "beginning": beginning}


@dataclass(frozen=True, slots=True)
class ReportQueue:
    """A queue with its last values: of so many, so many come before these."""

    queue: Queue
    count: int
    left_out: int
    values: list[ReportValue]

    def to_json(self, values: JsonTree = None) -> JsonObject:
        """Return it in the shape of a report, with other data in place of the values if it is given."""
        return {
            "max_deliveries": self.queue.max_deliveries,
            "counts": {"values": self.count, "live": len(self.queue.live), "dead": self.queue.dead},
            "left_out": self.left_out,
            "values": [value.to_json() for value in self.values] if values is None else values,
        }


class Plan(NamedTuple):
    """What a resume would do, or why that cannot be told."""

    refused: str | None
    tasks: Sequence[Decision]

    def to_json(self) -> JsonObject:
        """Return it in the shape of a report."""
        return {"refused": self.refused, "tasks": [asdict(decision) for decision in self.tasks]}


@dataclass(frozen=True)
class Report:
    """A session cut to what a page can hold.

    Attributes:
        session: Its record, with the status that readers see.
        read_at: When it was read, in microseconds.
        runs: Its last runs; so many come before them. So with what follows.
        logged: The last attempts that failed or printed something.
        changes: The last changes by hand.
        pending: Names of unfinished attempts that still have an effect on some queue.
        plan: What a resume would do, if that is known.
        work: When the session worked: what lies between these spans are pauses.
    """

    session: SessionRecord
    inputs: JsonValue
    read_at: int
    runs: list[ReportRun]
    runs_left_out: int
    tasks: list[ReportTask]
    queues: list[ReportQueue]
    logged: list[AttemptLog]
    logged_left_out: int
    changes: list[Change]
    pending: list[str]
    pending_left_out: int
    plan: Plan | None
    damage: str | None
    work: list[Span]

    def to_json(self, queue_json: Callable[[ReportQueue], JsonTree] = ReportQueue.to_json) -> JsonObject:
        """Return it in the shape of docs/schema/report.json."""
        return {
            **header(self.session),
            "inputs": self.inputs,
            "read_at": iso(self.read_at),
            "runs": [run.to_json() for run in self.runs],
            "runs_left_out": self.runs_left_out,
            "tasks": [task.to_json() for task in self.tasks],
            "queues": {each.queue.name: queue_json(each) for each in self.queues},
            "logged": {"attempts": [each.to_json() for each in self.logged], "left_out": self.logged_left_out},
            "changes": list(map(change_json, self.changes)),
            "pending": self.pending,
            "pending_left_out": self.pending_left_out,
            "plan": json_or_null(self.plan),
            "damage": self.damage,
            "work": [{"started_at": iso(span.start), "ended_at": iso(span.end)} for span in self.work],
        }


def describe(database: Database, name: str, *, budget: Budget | None = None, damage: Damage | None = None) -> Report:
    """Describe a session for a report, as of one moment."""
    budget = budget or Budget()
    damage = Damage() if damage is None else damage
    with open_session(database, name, last=budget.most_values, damage=damage) as document:
        log = log_of(document.view)
        runs, pending = _runs(document, log, budget), document.pending()
        queues, used = _queues(document, budget)
        inputs = inputs_of(document.session)
        report = Report(
            session=document.session,
            inputs={
                name: value if budget.measure(value) <= BEGINNING else f"{beginning(value)} […]"
                for name, value in (inputs.items() if type(inputs) is dict else ())
            },
            read_at=document.read_at,
            runs=runs[-budget.runs :],
            runs_left_out=max(0, len(runs) - budget.runs),
            tasks=_tasks(document, budget, budget.tasks + (budget.values - used) // 2),
            queues=queues,
            logged=(logged := _logged(log.attempts, budget)).items,
            logged_left_out=logged.left_out,
            changes=[
                change._replace(detail=change.detail and cut_text(change.detail, budget.message))
                for change in deque(log.changes, maxlen=budget.changes)
            ],
            pending=pending[:_MOST_PENDING],
            pending_left_out=max(0, len(pending) - _MOST_PENDING),
            plan=None,
            damage=None,
            work=[],
        )
        return replace(report, work=_work(report), damage=str(damage) if damage else None)


def _runs(document: SessionDocument, log: SessionLog, budget: Budget) -> list[ReportRun]:
    runs = []
    for place, (record, error) in enumerate(log.runs):
        if error is not None:
            is_late = place >= len(log.runs) - _TRACEBACKS
            message = error.message and cut_text(error.message, budget.message)
            error = ErrorRecord(error.type, message, error.traceback if is_late else None)
        shown = replace(record, command=[cut_text(word, BEGINNING) for word in record.command])
        runs.append(ReportRun(RunLog(shown, error), worked_until(record, document.moment)))
    return runs


def _work(report: Report) -> list[Span]:
    ends = {run.log.record.number: run.worked_until for run in report.runs}
    spans = [Span(run.log.record.started_at, run.worked_until) for run in report.runs]
    for task in report.tasks:
        attempts = [attempt.record for attempt in task.attempts]
        attempts += (attempt for step in task.steps for attempt in step.step.attempts)
        spans += (span_of(attempt, ends, report.read_at) for attempt in attempts)
    return merged(spans)


def _queues(document: SessionDocument, budget: Budget) -> tuple[list[ReportQueue], int]:
    """Return the queues, and how many bytes their values take."""

    def measure(shown: ReportValue) -> int:
        content = budget.measure(shown.value.content if shown.beginning is None else shown.beginning)
        returns = [each.to_json() for each in shown.value.returns]
        return _PER_VALUE + content + (budget.measure(returns) if returns else 0)

    queues = []
    room, remaining = budget.values, len(document.queues)
    for queue in document.queues:
        share = room // remaining
        cut = last_within(_shown(queue.values, budget, share), share, measure)
        room -= cut.used
        remaining -= 1
        queues.append(ReportQueue(queue, queue.count, sum(queue.earlier.values()) + cut.left_out, cut.items))
    return queues, min(budget.values, budget.values - room)


def _shown(values: Iterable[Value], budget: Budget, share: int) -> Iterator[ReportValue]:
    """Yield values; of one that takes more than a quarter of the room only its beginning."""
    most = min(budget.value, max(share // 4, BEGINNING))
    for value in values:
        size = value.record.size
        if size <= most and (size <= BEGINNING or budget.measure(value.content) <= most):
            yield ReportValue(value)
        else:
            yield ReportValue(replace(value, content=None), beginning(value.content))


def _tasks(document: SessionDocument, budget: Budget, room: int) -> list[ReportTask]:
    def measure_attempt(attempt: AttemptRecord) -> int:
        return _PER_ATTEMPT + (budget.measure(attempt.error.to_json()) if attempt.error else 0)

    def measure_step(shown: ReportStep) -> int:
        result = shown.step.result if shown.beginning is None else shown.beginning
        attempts = sum(map(measure_attempt, shown.step.attempts))
        return _PER_STEP + budget.measure(shown.step.name) + budget.measure(result) + attempts

    tasks = []
    remaining = len(document.tasks)
    for task in document.tasks:
        share, has_steps = room // remaining, task.counts is not None
        shown = (attempt._replace(record=_cut(attempt.record, budget)) for attempt in task.attempts)
        attempts = last_within(
            shown, share // 2 if has_steps else share, lambda attempt: measure_attempt(attempt.record)
        )
        steps = last_within(_steps(task, budget), share - attempts.used, measure_step)
        room -= attempts.used + steps.used
        tasks.append(ReportTask(task, attempts.items, attempts.left_out, steps.items, steps.left_out))
        remaining -= 1
    return tasks


def _cut(attempt: AttemptRecord, budget: Budget) -> AttemptRecord:
    message = attempt.error_message
    return attempt if not message else replace(attempt, error_message=cut_text(message, budget.message))


def _steps(task: Task, budget: Budget) -> Iterator[ReportStep]:
    for step in task.steps:
        shown = replace(step, attempts=[_cut(attempt, budget) for attempt in step.attempts])
        if budget.measure(step.result) > BEGINNING:
            yield ReportStep(replace(shown, result=None), beginning(step.result))
        else:
            yield ReportStep(shown)


def _logged(attempts: Iterable[AttemptLog], budget: Budget) -> Cut[AttemptLog]:
    """Return what the attempts that failed or printed something have to tell."""
    telling = (each for each in attempts if each.has_failed or each.output)
    shown = (_with_last_lines(each, budget) for each in telling)
    return last_within(shown, budget.logged, lambda each: budget.measure(each.to_json()))


def _with_last_lines(attempt: AttemptLog, budget: Budget) -> AttemptLog:
    output = attempt.output
    if output is None:
        return attempt
    cut = last_within(output.lines, budget.logged // 4, lambda line: budget.measure(line_json(line))).items[
        -budget.lines :
    ]
    lines = [line._replace(text=cut_text(line.text, BEGINNING)) for line in cut]
    is_cut = len(cut) < len(output.lines)
    return replace(attempt, output=output._replace(lines=lines, truncated=output.truncated or is_cut))
