"""The data of a report: a session as `show` and `log` read it, cut to fit a page (docs/schema/report.json).

`describe` reads it. The shapes are those of `show --format json` and `log --format json`, with counts of what is cut.
"""

from __future__ import annotations

import json
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Generic, NamedTuple, TypeVar

from zrb_store.codec.arguments import call_text
from zrb_store.db.engine import Database
from zrb_store.inspect.agents import agent_note, agent_tokens
from zrb_store.inspect.header import header, inputs_of
from zrb_store.inspect.log import AttemptLog, SessionLog, change_json, line_json, log_of, run_json
from zrb_store.inspect.queues import held_by_others
from zrb_store.inspect.resume import Decision
from zrb_store.inspect.show import Queue, SessionDocument, Step, Task, open_session
from zrb_store.inspect.trace import Span, Timeline, merged
from zrb_store.inspect.value import Value
from zrb_store.queries.by_hand import Change
from zrb_store.queries.lease import worked_until
from zrb_store.queries.runs import acknowledged_at
from zrb_store.queries.show import dead_by
from zrb_store.queries.waits import Wait
from zrb_store.records import (
    AttemptRecord,
    Damage,
    JsonObject,
    JsonTree,
    JsonValue,
    RunRecord,
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
_NOTE = 200  # characters
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
    """How much a report holds, in bytes as `measure` counts them unless it says otherwise."""

    values: int = 3_900_000  # of all values together
    value: int = 64 * 1024  # of one value; of a longer one, only the beginning is shown
    tasks: int = 600_000  # of the attempts and steps of all tasks together; half of what the values leave is added
    logged: int = 300_000  # of errors and output together
    message: int = 400  # characters of an error's message in a summary, and of what somebody did by hand
    lines: int = 200  # lines of output of one attempt
    runs: int = 300  # the last runs
    changes: int = 300  # the last changes by hand
    most_values: int = 100_000  # values of a queue that are read
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

    record: RunRecord
    worked_until: int

    def to_json(self) -> JsonObject:
        """Return it in the shape of docs/schema/report.json, as all that follow."""
        return {**run_json(self.record), "worked_until": iso(self.worked_until)}


class ReportTask(NamedTuple):
    """A task with its last attempts and steps, and how many come before these."""

    task: Task
    attempts_left_out: int
    steps_left_out: int

    def to_json(self) -> JsonObject:
        """Return it in the shape of a report."""
        shown, counts = {**self.task.to_json(), "attempts_left_out": self.attempts_left_out}, self.task.counts
        if counts is None:
            return shown
        steps = [{**step.to_json(), "note": step.note, "tokens": step.tokens} for step in self.task.steps]
        return {**shown, "steps": steps, "steps_left_out": self.steps_left_out, "steps_standing": counts.standing}


class ReportQueue(NamedTuple):
    """A queue with its last values, and how many come before these."""

    queue: Queue
    left_out: int

    @property
    def total(self) -> int:
        """How many values it has."""
        return len(self.queue.values) + self.left_out

    def to_json(self, value_json: Callable[[Value], JsonTree]) -> JsonObject:
        """Return it in the shape of a report."""
        return {
            **self.queue.rules.to_json(),
            "counts": {"values": self.total, "live": len(self.queue.live), "dead": self.queue.dead},
            "left_out": self.left_out,
            "values": [value_json(value) for value in self.queue.values],
        }


def _value_json(value: Value) -> JsonObject:
    """Return a value in the shape of a report, with the times at which it stopped to be live."""
    undone_at = None if value.undone is None else iso(value.undone.at)
    return {**value.to_json(), "ended_at": iso(value.record.ended_at), "undone_at": undone_at}


class Plan(NamedTuple):
    """What a resume would do, or why that cannot be told."""

    refused: str | None
    tasks: Sequence[Decision]

    def to_json(self) -> JsonObject:
        """Return it in the shape of a report."""
        return {"refused": self.refused, "tasks": [asdict(decision) for decision in self.tasks]}


@dataclass(frozen=True)
class Report:
    """A session cut to what a page can hold."""

    session: SessionRecord  # with the status that readers see
    inputs: JsonValue
    read_at: int  # microseconds
    runs: list[ReportRun]  # the last ones
    runs_left_out: int  # how many come before them
    tasks: list[ReportTask]
    queues: list[ReportQueue]
    logged: list[AttemptLog]  # the last attempts that failed or printed something
    logged_left_out: int
    changes: list[Change]  # the last ones
    pending: list[str]  # names of unfinished attempts that still have an effect on some queue
    pending_left_out: int
    plan: Plan | None  # what a resume would do, if that is known
    damage: str | None
    work: list[Span]  # when the session worked: what lies between these spans are pauses
    comes_back: list[Value]  # what unfinished attempts hold of its queues
    comes_back_elsewhere: int  # how many values they hold of other sessions' queues
    killed: int  # how many values are dead since an attempt of this session took them
    held: Counter[str]  # how many of its values attempts of other sessions hold, by the state of their process
    waits: Sequence[Wait]  # what it waits for

    @property
    def timeline(self) -> Timeline:
        """When its attempts worked."""
        return Timeline([run.record for run in self.runs], self.read_at)

    @property
    def is_acknowledged(self) -> bool:
        """Whether somebody acknowledged how it ended."""
        return acknowledged_at([run.record for run in self.runs]) is not None

    def to_json(self, value_json: Callable[[Value], JsonTree] = _value_json) -> JsonObject:
        """Return it in the shape of docs/schema/report.json."""
        return {
            **header(self.session),
            "inputs": self.inputs,
            "read_at": iso(self.read_at),
            "runs": [run.to_json() for run in self.runs],
            "runs_left_out": self.runs_left_out,
            "waits": [wait.to_json() for wait in self.waits],
            "tasks": [task.to_json() for task in self.tasks],
            "queues": {each.queue.name: each.to_json(value_json) for each in self.queues},
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
        log = log_of(document)
        runs, pending = _runs(document, log, budget), list(document.pending())
        comes_back: list[Value] = []
        queues, used = _queues(document, budget, set(pending), comes_back)
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
            comes_back=comes_back,
            comes_back_elsewhere=document.held_elsewhere(),
            killed=dead_by(document.transaction, document.session.id),
            held=held_by_others(document.transaction, document.session, document.read_at),
            waits=document.waits,
        )
        return replace(report, work=_work(report), damage=str(damage) if damage else None)


def _runs(document: SessionDocument, log: SessionLog, budget: Budget) -> list[ReportRun]:
    runs = []
    for place, run in enumerate(log.runs):
        shown = replace(
            run,
            command=[cut_text(word, BEGINNING) for word in run.command],
            error_message=run.error_message and cut_text(run.error_message, budget.message),
            error_traceback=run.error_traceback if place >= len(log.runs) - _TRACEBACKS else None,
        )
        runs.append(ReportRun(shown, worked_until(run, document.moment)))
    return runs


def _work(report: Report) -> list[Span]:
    timeline = report.timeline
    spans = list(timeline.runs.values())
    for task, _, _ in report.tasks:
        attempts = [attempt.record for attempt in task.attempts]
        attempts += (attempt for step in task.steps for attempt in step.attempts)
        spans += map(timeline.span_of, attempts)
    return merged(spans)


def _queues(
    document: SessionDocument, budget: Budget, unfinished: Collection[str], comes_back: list[Value]
) -> tuple[list[ReportQueue], int]:
    """Return the queues, and how many bytes their values take. Note what unfinished attempts hold."""

    def measure(value: Value) -> int:
        content = budget.measure(value.content if value.beginning is None else value.beginning)
        past = [each.to_json() for each in value.past]
        return _PER_VALUE + content + (budget.measure(past) if past else 0)

    def noted(values: Iterable[Value]) -> Iterator[Value]:
        for value in values:
            if value.record.state == "taken" and value.taken_by in unfinished:
                comes_back.append(value)
            yield value

    queues = []
    room, remaining = budget.values, len(document.queues)
    for queue in document.queues:
        share = room // remaining
        cut = last_within(noted(_shown(queue.values, budget, share)), share, measure)
        room -= cut.used
        remaining -= 1
        left_out = sum(queue.earlier.values()) + cut.left_out
        queues.append(ReportQueue(replace(queue, values=cut.items), left_out))
    return queues, min(budget.values, budget.values - room)


def _shown(values: Iterable[Value], budget: Budget, share: int) -> Iterator[Value]:
    """Yield values; of one that takes more than a quarter of the room, and of earlier contents, only the beginning."""
    most = min(budget.value, max(share // 4, BEGINNING))
    for value in values:
        if value.replaced:
            earlier = [
                each if each.record.size <= BEGINNING else each._replace(content=f"{beginning(each.content)} […]")
                for each in value.replaced
            ]
            value = replace(value, replaced=earlier)
        size = value.record.size
        if size <= most and (size <= BEGINNING or budget.measure(value.content) <= most):
            yield value
        else:
            yield replace(value, content=None, beginning=beginning(value.content))


def _tasks(document: SessionDocument, budget: Budget, room: int) -> list[ReportTask]:
    def measure_attempt(attempt: AttemptRecord) -> int:
        return _PER_ATTEMPT + (budget.measure(attempt.error.to_json()) if attempt.error else 0)

    def measure_step(step: Step) -> int:
        result = step.result if step.beginning is None else step.beginning
        return _PER_STEP + budget.measure(step.name) + budget.measure(result) + sum(map(measure_attempt, step.attempts))

    tasks = []
    remaining = len(document.tasks)
    for task in document.tasks:
        share = room // remaining
        shown = (attempt._replace(record=_cut(attempt.record, budget)) for attempt in task.attempts)
        attempts_share = share if task.counts is None else share // 2
        attempts = last_within(shown, attempts_share, lambda attempt: measure_attempt(attempt.record))
        steps = last_within(_steps(task, budget), share - attempts.used, measure_step)
        room -= attempts.used + steps.used
        kept = replace(task, attempts=attempts.items, steps=steps.items)
        tasks.append(ReportTask(kept, attempts.left_out, steps.left_out))
        remaining -= 1
    return tasks


def _cut(attempt: AttemptRecord, budget: Budget) -> AttemptRecord:
    message = attempt.error_message
    return attempt if not message else replace(attempt, error_message=cut_text(message, budget.message))


def _steps(task: Task, budget: Budget) -> Iterator[Step]:
    for step in task.steps:
        shown = replace(
            step,
            attempts=[_cut(attempt, budget) for attempt in step.attempts],
            tokens=agent_tokens(step.name, step.result),
            note=cut_text(agent_note(step.name, step.result) or call_text(step.last.arguments or "[[],{}]"), _NOTE),
        )
        if budget.measure(step.result) > BEGINNING:
            shown = replace(shown, result=None, beginning=beginning(step.result))
        yield shown


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
