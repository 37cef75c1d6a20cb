"""The data of a report: a session as `show` and `log` read it, cut to fit a page (docs/schema/report.json).

`describe` reads it, and `redaction.py` makes one for strangers. The shapes are those of `show --format json` and
`log --format json`, with counts of what is cut.
"""

from __future__ import annotations

import functools
import json
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import NamedTuple, Protocol, TypeAlias, TypeVar

from zrb_store.codec.arguments import call_text
from zrb_store.db.engine import Database
from zrb_store.db.rows import noted
from zrb_store.inspect.advice import Start
from zrb_store.inspect.header import header, inputs_of
from zrb_store.inspect.log import AttemptLog, SessionLog, log_of, run_json
from zrb_store.inspect.queues import holders_of
from zrb_store.inspect.resume import Decision
from zrb_store.inspect.show import Queue, SessionDocument, ShownAttempt, ShownStep, Task, open_session
from zrb_store.inspect.trace import Timeline, merged, own_events, took
from zrb_store.page.scale import Scale
from zrb_store.queries.by_hand import Change
from zrb_store.queries.history import Value
from zrb_store.queries.holders import Holder
from zrb_store.queries.lease import worked_until
from zrb_store.queries.show import Holding, dead_by
from zrb_store.queries.waits import Wait
from zrb_store.records import (
    AttemptRecord,
    JsonObject,
    JsonTree,
    JsonValue,
    RunRecord,
    SessionRecord,
    iso,
    pick,
    pick_all,
)
from zrb_store.render.format import format_duration, most_deliveries, process, size, what_was_read
from zrb_store.render.life import row_of_event, states_of
from zrb_store.render.readable import with_words
from zrb_store.wings import View, load, views

T = TypeVar("T")

BEGINNING = 2000
"""Characters that are shown of a value that is too long."""

_PER_VALUE = 4  # bytes that a value takes besides its content, if it is like those beside it
_PER_ATTEMPT = 150
_PER_STEP = 100
_NOTE = 200  # characters
_MOST_PENDING = 20
_MESSAGE = 400  # characters of an error's message in a summary, and of what somebody did by hand
_LINES = 200  # of output of one attempt
_MOST_RESULTS = 3  # queues with nothing but results; more are folded
_TRACEBACKS = 5  # of so many runs, the last ones


def last_within(items: Iterable[T], room: int, measure: Callable[[T], int]) -> tuple[list[T], int, int]:
    """Return the last items that have room together, at least one, how many come before, and how many bytes they use.

    They are read once.
    """
    kept: deque[tuple[T, int]] = deque()
    used, left_out = 0, 0
    for item in items:
        size = measure(item)
        kept.append((item, size))
        used += size
        while used > room and len(kept) > 1:
            used -= kept.popleft()[1]
            left_out += 1
    return [item for item, _ in kept], left_out, used


def json_length(tree: JsonTree) -> int:
    """Return how long data is as JSON, in bytes of UTF-8."""
    return len(json.dumps(tree, separators=(",", ":"), ensure_ascii=False).encode(errors="surrogatepass"))


def beginning(tree: JsonValue) -> str:
    """Return the first characters of a long value: of its text, or of its JSON."""
    return tree[:BEGINNING] if type(tree) is str else json.dumps(tree, ensure_ascii=False)[:BEGINNING]


def cut_text(text: str, length: int) -> str:
    """Return a text, or its first characters and a sign that there are more."""
    return text if len(text) <= length else f"{text[:length]} […]"


class ReportLimits(NamedTuple):
    """How much a report holds, in bytes of JSON unless it says otherwise."""

    values: int = 3_900_000  # of all values together
    value: int = 64 * 1024  # of one value; of a longer one, only the beginning is shown
    tasks: int = 600_000  # of the attempts and steps of all tasks together; half of what the values leave is added
    logged: int = 300_000  # of errors and output together
    runs: int = 300  # the last runs
    changes: int = 300  # the last changes by hand
    most_values: int = 100_000  # values of a queue that are read

    def part(self, share: float) -> ReportLimits:
        return ReportLimits(*(max(1, int(number * share)) for number in self))


def _value_json(value: Value) -> JsonObject:
    """Return a value with its times in microseconds: reading 100,000 as texts takes a browser long."""
    record, undone = value.record, value.undone
    ends = {"taken_at": value.taken_at, "ended_at": record.ended_at, "undone_at": undone and undone.at}
    shown = value.to_json()
    replaced = [
        {**each.to_json(), "value": with_words(each.content), "replaced_by": _by_hand(each.by)}
        for each in value.replaced
    ]
    shown |= {"size": size(record.size), "value": with_words(value.content), "replaced": replaced}
    shown |= {"pushed_from": _by_hand(value.pushed_from), "taken_from": _by_hand(value.taken_from)}
    if not _is_plain(value):
        shown["events"] = [row_of_event(each)._asdict() for each in own_events(value)]
    return {**shown, "pushed_at": record.pushed_at, "due_at": record.due_at, **ends}


def _is_plain(value: Value) -> bool:
    """Whether nothing happened to a value but that it was pushed, and perhaps taken, as most: a script tells that."""
    record = value.record
    was_changed = value.returns or value.replaced or record.orphaned or record.moved_from is not None
    return not was_changed and record.state in ("live", "delayed", "taken")


def _by_hand(change: Change | None) -> JsonObject | None:
    """Return who did something by hand, in words, and why."""
    return None if change is None else {"by": process(change), "reason": change.reason}


class Plan(NamedTuple):
    """What a resume would do, or why that cannot be told."""

    refused: str | None
    tasks: Sequence[Decision]

    def to_json(self) -> JsonObject:
        return {"refused": self.refused, "tasks": [asdict(decision) for decision in self.tasks]}


class Text(Protocol):
    """A text that a wing shows, by whom it is and when it was said."""

    @property
    def role(self) -> str: ...

    @property
    def at(self) -> int | None: ...

    @property
    def name(self) -> str: ...

    @property
    def notes(self) -> list[str]: ...

    def said(self, *, full: bool) -> str: ...


ReadTexts: TypeAlias = Callable[[SessionDocument], Sequence[tuple[str, Iterable[Text]]]]
"""Returns what a view shows of each task."""


class Texts(NamedTuple):
    """What a view shows, cut to what a page can hold."""

    view: View
    tasks: list[tuple[str, list[Text], int]]  # of each task its last texts, and how many come before


@dataclass(frozen=True)
class Report:
    """A session cut to what a page can hold, whose `to_json` has the shape of docs/schema/report.json."""

    session: SessionRecord  # with the status that readers see
    start: Start
    inputs: JsonValue
    read_at: int  # microseconds
    runs: list[RunRecord]  # the last ones
    runs_left_out: int  # how many come before them
    tasks: list[Task]  # with their last attempts and steps
    queues: list[Queue]  # with their last values
    logged: list[AttemptLog]  # the last attempts that failed or printed something
    logged_left_out: int
    changes: list[Change]  # the last ones
    pending: Mapping[str, Holding]  # what unfinished attempts did that still stands, by their names
    comes_back: list[Value]  # what unfinished attempts hold of its queues
    comes_back_elsewhere: int  # how many values they hold of other sessions' queues
    killed: int  # how many values are dead since an attempt of this session took them
    holders: list[Holder]  # what holds its values
    waits: Sequence[Wait]  # what it waits for
    damage: str | None
    texts: list[Texts]  # of each view that a wing adds
    costs: Mapping[str, str]  # what tasks have cost, by their names, as far as that is known
    plan: Plan | None = None  # what a resume would do, if that is known

    @functools.cached_property
    def timeline(self) -> Timeline:
        return Timeline(self.runs, self.read_at)

    @property
    def moment(self) -> int:
        return self.read_at

    @property
    def held(self) -> Counter[str]:
        """How many of its values attempts of other sessions hold, by the state of their process."""
        held: Counter[str] = Counter()
        for each in self.holders:
            if each.values and each.session != self.session.name:
                held[each.status] += each.values
        return held

    @functools.cached_property
    def states(self) -> dict[str, str]:
        """The states of the processes of attempts that hold its values."""
        return states_of(self.holders, self.session.name)

    @property
    def links(self) -> list[tuple[str, str]]:
        """The ids of the parts that wings add, each with its title."""
        return [(each.view.name, each.view.name.capitalize()) for each in self.texts]

    @functools.cached_property
    def scale(self) -> Scale:
        """Where times stand. A run works as long as it lasts, but one that consumes mostly waits."""
        timeline = self.timeline
        attempts = [attempt.record for task in self.tasks for attempt in task.attempts]
        consuming = {attempt.run for attempt in attempts if attempt.kind == "delivery"}
        attempts += (attempt for task in self.tasks for step in task.steps for attempt in step.attempts)
        runs = [run.number for run in self.runs if run.origin != "reclaim" and run.number not in consuming]
        if consuming and any(task.attempts_left_out for task in self.tasks):
            runs = []  # which of them have consumed is not known
        return Scale(merged([*map(timeline.runs.__getitem__, runs), *map(timeline.span_of, attempts)]))

    @functools.cached_property
    def results(self) -> list[str]:
        """The names of the queues that hold nothing but what their task gave, and nobody took; none if they are few."""
        found = [each.now.name for each in self.queues if _has_results_only(each)]
        return found if len(found) > _MOST_RESULTS else []

    def took(self, attempt: AttemptRecord) -> str:
        """Say how long an attempt worked."""
        micros = took(attempt, self.read_at)
        if micros is None:
            return "its end is not known"
        return f"{'for' if attempt.status == 'running' else 'took'} {format_duration(micros)}"

    def to_json(self) -> JsonObject:
        return {
            **header(self.session),
            "inputs": self.inputs,
            "read_at": iso(self.read_at),
            "runs": [run_json(run) | {"worked_until": iso(worked_until(run, self.read_at))} for run in self.runs],
            "runs_left_out": self.runs_left_out,
            "waits": [wait.to_json() for wait in self.waits],
            "tasks": list(map(self._task_json, self.tasks)),
            "queues": {queue.now.name: _queue_json(queue) for queue in self.queues},
            "results": self.results,
            "steps": self._steps,
            "logged": {"attempts": [each.to_json() for each in self.logged], "left_out": self.logged_left_out},
            "changes": list(map(pick_all, self.changes)),
            "pending": list(self.pending)[:_MOST_PENDING],
            "pending_left_out": max(0, len(self.pending) - _MOST_PENDING),
            **pick(self, "plan", "damage"),
            "work": self.scale.to_json(),
        }

    @property
    def _steps(self) -> dict[str, str]:
        """The names of steps that pushed or took values, by their attempts, but for those that are shown."""
        shown = {attempt.name for task in self.tasks for step in task.steps for attempt in step.attempts}
        values = (value for queue in self.queues for value in queue.values)
        by = (each for value in values for each in (value.pusher, value.taker))
        return {each.name: each.step for each in by if each and each.step and each.name not in shown}

    def _task_json(self, task: Task) -> JsonObject:
        attempts = [self._attempt_json(each, task.was_retried(each.record)) for each in task.attempts]
        shown = {**replace(task, attempts=[], steps=[]).to_json(), "attempts": attempts}
        shown["attempts_left_out"] = task.attempts_left_out
        if task.counts is None:
            return shown
        steps = list(map(self._step_json, task.steps))
        return {**shown, "steps": steps, "steps_left_out": task.steps_left_out, "steps_standing": task.counts.standing}

    def _step_json(self, step: ShownStep) -> JsonObject:
        attempts = [self._attempt_json(ShownAttempt(each), step.was_retried(each)) for each in step.attempts]
        return {**step.to_json(), "attempts": attempts, "result": with_words(step.result), "tokens": step.tokens}

    def _attempt_json(self, attempt: ShownAttempt, was_retried: bool) -> JsonObject:
        record, end = attempt.record, self.timeline.span_of(attempt.record).end
        shown = {name: part for name, part in attempt.to_json().items() if not name.startswith("inputs_")}
        shown |= {
            "took": self.took(record),
            "retried": was_retried,
            "error": record.error and record.error.text(),
            "inputs": what_was_read(record),
        }
        return shown if end == record.ended_at else {**shown, "worked_until": iso(end)}


def _has_results_only(queue: Queue) -> bool:
    def is_result(value: Value) -> bool:
        by = (value.pushed_by or "").rpartition("#")[0]
        return by == queue.now.name and not value.returns and value.taken_by is None

    return queue.count > 0 and not queue.left_out and all(map(is_result, queue.values))


def _queue_json(queue: Queue) -> JsonObject:
    return {
        **queue.now.rules.to_json(),
        "limit": most_deliveries(queue.now.rules.max_deliveries),
        "counts": {"values": queue.count, "live": len(queue.live), "dead": queue.now.dead},
        "left_out": queue.left_out,
        "values": list(map(_value_json, queue.values)),
    }


def describe(database: Database, name: str, *, limits: ReportLimits | None = None) -> Report:
    """Describe a session for a report, as of one moment."""
    limits = limits or ReportLimits()
    with open_session(database, name, last=limits.most_values) as document:
        log, holding = log_of(document), document.pending
        queues, used, comes_back = _queues(document, limits, holding.keys())
        tasks = _tasks(document, limits, limits.tasks + (limits.values - used) // 2)
        telling = (_with_last_lines(each, limits) for each in log.attempts if each.has_failed or each.output)
        logged, logged_before, _ = last_within(telling, limits.logged, lambda each: json_length(each.to_json()))
        last_changes = deque(log.changes, maxlen=limits.changes)
        changes = [each._replace(detail=each.detail and cut_text(each.detail, _MESSAGE)) for each in last_changes]
        inputs = inputs_of(document.session)
        return Report(
            session=document.session,
            start=document.start,
            inputs={
                name: value if json_length(value) <= BEGINNING else f"{beginning(value)} […]"
                for name, value in (inputs.items() if type(inputs) is dict else ())
            },
            read_at=document.read_at,
            runs=_runs(log)[-limits.runs :],
            runs_left_out=max(0, len(log.runs) - limits.runs),
            tasks=tasks,
            queues=queues,
            logged=logged,
            logged_left_out=logged_before,
            changes=changes,
            pending=holding,
            comes_back=comes_back,
            comes_back_elsewhere=sum(each.elsewhere for each in holding.values()),
            killed=dead_by(document.transaction, document.session.id),
            holders=holders_of(document.transaction, [document.session.id], document.read_at),
            waits=document.waits,
            damage=noted(),
            texts=_texts(document, limits),
            costs={task.name: text for task in document.tasks if (costs := task.costs) and (text := costs.text())},
        )


def _texts(document: SessionDocument, limits: ReportLimits) -> list[Texts]:
    found = []
    for view in views() if any(task.is_of_wings for task in document.tasks) else ():
        read: ReadTexts = load(view.texts)
        of_tasks = read(document)
        room = limits.logged // max(1, len(of_tasks))
        cut = [(task, *last_within(texts, room, _length_of_text)[:2]) for task, texts in of_tasks]
        if cut:
            found.append(Texts(view, cut))
    return found


def _length_of_text(text: Text) -> int:
    return json_length(text.said(full=False))


def _runs(log: SessionLog) -> list[RunRecord]:
    return [
        replace(
            run,
            command=[cut_text(word, BEGINNING) for word in run.command],
            inputs=run.inputs if len(run.inputs or "") <= BEGINNING else None,
            error_message=run.error_message and cut_text(run.error_message, _MESSAGE),
            error_traceback=run.error_traceback if place >= len(log.runs) - _TRACEBACKS else None,
        )
        for place, run in enumerate(log.runs)
    ]


def _queues(
    document: SessionDocument, limits: ReportLimits, unfinished: Collection[str]
) -> tuple[list[Queue], int, list[Value]]:
    """Return the queues, how many bytes their values take, and the values that unfinished attempts hold."""

    def measure(value: Value) -> int:
        past = [each.to_json() for each in value.past]
        content = value.content if value.beginning is None else value.beginning
        return _PER_VALUE + json_length(content) + (json_length(past) if past else 0)

    def noted(values: Iterable[Value]) -> Iterator[Value]:
        for value in values:
            if value.record.state == "taken" and value.taken_by in unfinished:
                comes_back.append(value)
            yield value

    queues, room, comes_back = [], limits.values, list[Value]()
    for remaining, queue in zip(range(len(document.queues), 0, -1), document.queues, strict=True):
        share = room // remaining
        values, _, used = last_within(noted(_shown(queue.values, limits, share)), share, measure)
        room -= used
        queues.append(queue.cut(values))
    return queues, min(limits.values, limits.values - room), comes_back


def _shown(values: Iterable[Value], limits: ReportLimits, share: int) -> Iterator[Value]:
    """Yield values; of one that takes more than a quarter of the room, and of earlier contents, only the beginning."""
    most = min(limits.value, max(share // 4, BEGINNING))
    for value in values:
        if value.replaced:
            earlier = [
                each if each.record.size <= BEGINNING else each._replace(content=f"{beginning(each.content)} […]")
                for each in value.replaced
            ]
            value = replace(value, replaced=earlier)
        size = value.record.size
        if size <= most and (size <= BEGINNING or json_length(value.content) <= most):
            yield value
        else:
            yield replace(value, content=None, beginning=beginning(value.content))


def _tasks(document: SessionDocument, limits: ReportLimits, room: int) -> list[Task]:
    def measure_attempt(attempt: AttemptRecord) -> int:
        return _PER_ATTEMPT + (json_length(attempt.error.to_json()) if attempt.error else 0)

    def measure_step(step: ShownStep) -> int:
        result = step.result if step.beginning is None else step.beginning
        return _PER_STEP + json_length(step.name) + json_length(result) + sum(map(measure_attempt, step.attempts))

    tasks = []
    for remaining, task in zip(range(len(document.tasks), 0, -1), document.tasks, strict=True):
        share = room // remaining
        shown = (attempt._replace(record=_cut(attempt.record)) for attempt in task.attempts)
        attempts_share = share if task.counts is None else share // 2
        attempts, before, used = last_within(shown, attempts_share, lambda attempt: measure_attempt(attempt.record))
        task = replace(task, attempts=attempts, attempts_left_out=before)
        steps, before, used_too = last_within(map(_step, task.steps), share - used, measure_step)
        tasks.append(replace(task, steps=steps, steps_left_out=before))
        room -= used + used_too
    return tasks


def _cut(attempt: AttemptRecord) -> AttemptRecord:
    message = attempt.error_message
    return attempt if not message else replace(attempt, error_message=cut_text(message, _MESSAGE))


def _step(step: ShownStep) -> ShownStep:
    is_long = json_length(step.result) > BEGINNING
    return replace(
        step,
        attempts=list(map(_cut, step.attempts)),
        note=step.note and cut_text(step.note, _NOTE),
        call=cut_text(call_text(step.last.arguments or "[[],{}]"), _NOTE),
        result=None if is_long else step.result,
        beginning=beginning(step.result) if is_long else None,
    )


def _with_last_lines(attempt: AttemptLog, limits: ReportLimits) -> AttemptLog:
    output = attempt.output
    if output is None:
        return attempt
    fitting, _, _ = last_within(output.lines, limits.logged // 4, lambda line: json_length(pick_all(line)))
    cut = fitting[-_LINES:]
    lines = [line._replace(text=cut_text(line.text, BEGINNING)) for line in cut]
    is_cut = len(cut) < len(output.lines)
    return replace(attempt, output=output._replace(lines=lines, truncated=output.truncated or is_cut))
