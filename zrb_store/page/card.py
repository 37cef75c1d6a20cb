"""The card at the head of a session: what happened and why, what to type next, and one picture of it.

In the picture, places from left to right are percents, so that it fits every page.
"""

from __future__ import annotations

import itertools
import re
import shlex
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

from zrb_store.inspect.header import asks_for
from zrb_store.inspect.incomplete import how_to_start_again
from zrb_store.inspect.list import HALTED
from zrb_store.inspect.show import Step, Task
from zrb_store.inspect.trace import Span, Timeline, merged
from zrb_store.page.content import Report, cut_text
from zrb_store.queries.history import Value
from zrb_store.queries.lease import worked_until
from zrb_store.queries.runs import last_started
from zrb_store.queries.waits import answer
from zrb_store.records import UNSUCCESSFUL, AttemptRecord, ErrorRecord, by_key, to_datetime
from zrb_store.render.format import counted, error_summary, format_duration, preview
from zrb_store.render.stderr import resuming_program

_FUTURE = 26  # percent of the width, for what waits
_PAUSE = 4  # percent of the width that a pause takes; all of them together at most a third
_TO_COME = ("not started", "given back", "waiting")  # statuses of tasks that run next
_FEW = 12  # tasks that are all named
_MOST_TO_COME = 6  # that are named
_ROOM = 216  # pixels for the rows of the tasks that are not named
_MOST_QUIET = 108  # of these rows
_NARROW = 0.4  # percent; marks of one status that lie within it are one
_SLOTS = 24  # values of a queue
_BINS = 120  # of time
_CONTENT = 60  # characters of a value
_ENDS = ("completed", *UNSUCCESSFUL, "running")  # of deliveries
_STATES = {"dead": "dead", "lease expired": "silent"}


class Mark(NamedTuple):
    """Something between two places, with what is said of it and the id of what it leads to."""

    left: float
    right: float
    status: str = ""
    title: str = ""
    link: str = ""
    height: float = 100  # percent


class Lane(NamedTuple):
    name: str
    status: str
    marks: list[Mark]


class Return:
    """A value that comes back to its queue: its place among those around it, and their states."""

    def __init__(self, report: Report, value: Value) -> None:
        self.seq, self.content = value.record.seq, _short(value)
        self.holder = (value.taken_by or "").rpartition("#")[0]  # the task, or the id of the step
        self.queue, values = next(
            (each.now.name, list(each.values))
            for each in report.queues
            if value.id == f"{report.session.name}/{each.now.name}#{self.seq}"
        )
        ids, back = [each.id for each in values], {each.id for each in report.comes_back}
        place = ids.index(value.id) if value.id in ids else 0
        first = max(0, min(place - _SLOTS // 2, len(values) - _SLOTS))
        self.place = place - first
        self.states = ["back" if each.id in back else each.record.state for each in values[first : first + _SLOTS]]


class Card:
    """What the templates draw of a session."""

    def __init__(self, report: Report, program: str) -> None:
        """Make the card of a report, whose commands are those of a program."""
        timeline, is_halted = report.timeline, report.session.status in HALTED
        tasks = [task for task in report.tasks if task.attempts]
        work = merged(timeline.span_of(each.record) for task in tasks for each in task.attempts)
        to_come = [task.name for task in report.tasks if is_halted and task.status in _TO_COME]
        if to_come[:1] == [report.session.task]:  # zrb knows the main task first, and what it needs later
            to_come.reverse()
        scale = _Scale(work, 100 - _FUTURE * bool(to_come))
        lanes = [
            Lane(task.name, task.status, _joined(_mark(each.record, timeline, scale) for each in task.attempts))
            for task in tasks
        ]
        named = (
            *UNSUCCESSFUL,
            "running",
            *(() if len(report.tasks) > _FEW else ("completed", *_TO_COME)),
        )
        self.chain = [each for each in lanes if each.status in named][:_FEW]
        quiet = [each for each in lanes if each.status not in named]
        self.quiet = quiet[:: -(-len(quiet) // _MOST_QUIET) or 1]  # of very many, every second one, or fewer
        self.pitch = max(2, min(14, _ROOM / len(self.quiet))) if self.quiet else 0  # pixels from one to the next
        self.to_come = to_come[:_MOST_TO_COME]
        if more := len(to_come) - len(self.to_come):
            self.to_come.append(f"and {more} more")
        self.subject, self.cause, self.link = _headline(report, tasks)  # it leads to where more is said of the cause
        depth = Depth(report) if _is_inbox(report) else None
        self.depth = depth if depth and depth.is_long else None
        if self.depth and self.depth.errors and not self.cause:
            self.cause = self.depth.errors[0][0]
        self.counts = list(_counts(report, tasks))
        self.command = _command(report, program)
        is_resume = self.command and self.command.endswith(f" resume {report.session.name}")
        self.asks = asks_for(report.session) if is_resume else ""
        self.made = list(_made(report))
        self.took = format_duration(sum(span.end - span.start for span in work))
        self.pauses = list(scale.pauses())
        self.returns = [Return(report, value) for value in report.comes_back[:1]]
        self.turns = _joined(_turns(report, timeline, scale))  # steps that used tokens
        self.cuts = [Mark(at := scale.at(span.end), at) for span in timeline.deaths]  # where its process died

    @property
    def tops(self) -> tuple[int, int, int, int, int]:
        """Where the rows of the picture begin, in pixels: quiet, named, waiting, values; and its height."""
        quiet = 26 + 104 * bool(self.turns)
        named = quiet + round(len(self.quiet) * self.pitch) + 8 * bool(self.quiet)
        waiting = named + 24 * len(self.chain)
        values = waiting + 24 * len(self.to_come)
        drawn = values + (84 if self.returns else 6) if self.quiet or self.chain else 0
        return quiet, named, waiting, values, 266 if self.depth else drawn


class _Scale:
    """Where times stand: pauses between the spans of work are folded, and no span is too narrow to be seen."""

    def __init__(self, work: Sequence[Span], width: float) -> None:
        self._width, self._spans, left = width, [], 0.0
        pause = min(_PAUSE, width / 3 / max(1, len(work) - 1))
        lengths = [max(1, span.end - span.start) for span in work]
        shares = [max(length / sum(lengths), 0.3 / len(lengths)) for length in lengths]
        for span, share in zip(work, shares, strict=True):
            right = left + share / sum(shares) * (width - pause * (len(work) - 1))
            self._spans.append((span, left, right))
            left = right + pause

    def at(self, time: int) -> float:
        for span, left, right in self._spans:
            if time <= span.end:
                return round(left + (right - left) * max(0, time - span.start) / max(1, span.end - span.start), 2)
        return self._width

    def pauses(self) -> Iterator[Mark]:
        for (before, _, left), (after, right, _) in itertools.pairwise(self._spans):
            yield Mark(round(left, 2), round(right, 2), title=format_duration(after.start - before.end))


def cause_of(error: ErrorRecord) -> str:
    """Return the first line of an error: its message, if that is more than a word."""
    message = (error.message or "").strip()
    return (message if " " in message else error_summary(error)).partition("\n")[0]


def _is_inbox(report: Report) -> bool:
    return not report.runs and not report.tasks


def _headline(report: Report, tasks: Sequence[Task]) -> tuple[str, str, str]:
    """Return what happened, why, and the id of the place where more is said of it."""
    session, deliveries = report.session, _deliveries(tasks)
    status, last = session.status, last_started(report.runs)
    if last is None:
        values, queues = sum(each.count for each in report.queues), counted(len(report.queues), "queue")
        dead = sum(each.now.dead for each in report.queues)
        said = f"{dead:,} of {counted(values, 'value')} died" if dead else f"{counted(values, 'value')} in {queues}"
        return (
            (f"forked from {session.forked_from}", "it has not run yet", "") if session.forked_from else (said, "", "")
        )
    died = f"its process was last seen at {to_datetime(worked_until(last, report.read_at)):%H:%M:%S} UTC"
    if deliveries:
        (first, count), *more = [(each, deliveries[each]) for each in _ENDS if deliveries[each]]
        said = ", ".join([f"{counted(count, 'delivery')} {first}", *(f"{count:,} {each}" for each, count in more)])
        unsuccessful = [each.record for task in tasks for each in task.attempts if each.record.status in UNSUCCESSFUL]
        return said, *_why(max(unsuccessful, key=lambda each: each.id, default=None), died)
    if status == "completed":
        only = tasks[0].name if len(report.tasks) == len(tasks) == 1 else counted(len(report.tasks), "task")
        return f"{only} completed" if tasks else "completed", "", ""
    if status == "running":
        working = ", ".join(task.name for task in tasks if task.status == "running")
        return f"running for {format_duration(report.read_at - last.started_at)}", cut_text(working, 100), ""
    if report.waits:
        texts = dict.fromkeys(replace(each, say=None).text() for each in report.waits)
        return f"waits {' and '.join(texts)}", " ".join(each.say for each in report.waits if each.say), ""
    task, others = _failed(report, tasks)
    if task is None:
        return f"run {last.number} {status}", cause_of(last.error) if last.error else "", "errors"
    final = [*task.attempts][-1].record
    count = sum(each.record.status == task.status for each in task.attempts)
    verb = {"failed": "failed", "lost": "died", "interrupted": "was interrupted"}[task.status]
    often = "" if others or count == 1 else " twice" if count == 2 else f" {count} times"
    return f"{task.name}{others} {verb}{often}", *_why(final, died)


def _failed(report: Report, tasks: Sequence[Task]) -> tuple[Task | None, str]:
    """Return the task that failed, as `list` names it, and how many others; of a dead process one that it worked on."""
    failed = {each.name: each for each in tasks if each.status in UNSUCCESSFUL}
    failure = report.failure
    if failure and failure.task in failed and report.session.status != "stale":
        return failed[failure.task], f" and {failure.others} more" if failure.others else ""
    found = [each for each in failed.values() if each.status == "lost"] or list(failed.values())
    return next(iter(found), None), f" and {len(found) - 1} more" if found[1:] else ""


def _why(last: AttemptRecord | None, died: str) -> tuple[str, str]:
    """Return why an attempt did not complete, and the id of the place where more is said of it."""
    if last is None:
        return "", ""
    cause = cause_of(last.error) if last.error else died if last.status == "lost" else ""
    return cause, f"attempt-{last.name}"


def _deliveries(tasks: Sequence[Task]) -> Counter[str]:
    """Count the deliveries of a consumer by their status; nothing for other sessions."""
    attempts = [each.record for task in tasks for each in task.attempts]
    return Counter(each.status for each in attempts) if all(each.kind == "delivery" for each in attempts) else Counter()


def _counts(report: Report, tasks: Sequence[Task]) -> Iterator[str]:
    status, deliveries, counts = report.session.status, _deliveries(tasks), dict[str, int]()
    if _is_inbox(report):
        by = {state: "" if state == "alive" else f" by {_STATES[state]} processes" for state in report.held}
        counts = {"live": sum(len(each.live) for each in report.queues)}
        counts["delayed"] = sum(each.now.delayed for each in report.queues)
        counts |= {f"held{by[state]}": count for state, count in report.held.items()}
        counts["dead"] = sum(each.now.dead for each in report.queues)
    elif deliveries:
        ended = sum(deliveries[each] for each in UNSUCCESSFUL)
        counts = {"given back": max(0, ended - report.killed), "dead": report.killed}
    elif status != "completed":
        stand = [task.status in ("completed", "skipped") for task in report.tasks]
        if report.plan and report.plan.tasks:
            stand = [each.action == "skip" for each in report.plan.tasks]
        waiting = len(stand) - sum(stand)
        yield f"{sum(stand):,} stand" if any(stand) else "nothing stands"
        counts = {"wait" if any(stand) else "task waits" if waiting == 1 else "tasks wait": waiting}
    yield from (f"{count:,} {what}" for what, count in counts.items() if count)
    if status == "completed" and (count := sum(run.origin != "reclaim" for run in report.runs)) > 1:
        yield f"in {count} runs"
    if count := len(report.comes_back) + report.comes_back_elsewhere:
        yield f"{counted(count, 'value')} {'comes' if count == 1 else 'come'} back"
    if kept := [step for task in tasks for step in task.steps if _is_kept(report, step)]:
        yield f"{counted(len(kept), 'step')} not {'paid' if any(step.tokens for step in kept) else 'run'} again"


def _command(report: Report, program: str) -> str | None:
    """Return what to type next."""
    name, status = report.session.name, report.session.status
    dead = next((each.now.name for each in report.queues if each.now.dead), None)
    if _is_inbox(report):
        return f"{program} requeue {name} {shlex.quote(dead)} --all-dead" if dead is not None else None
    if asked := answer(report.waits):
        return f"{program} {asked}"
    may_continue = status in HALTED or any(each.is_over for each in report.waits)
    if may_continue and report.session.path:
        return f"{resuming_program(program, report.session.argv)} resume {name}"
    if may_continue and report.runs:
        return how_to_start_again(report.session, report.runs, None)
    return f"{program} log {name} --follow" if status == "running" else None


def _made(report: Report) -> Iterator[tuple[str, str]]:
    """Yield the result of the main task, or what the last tasks made."""
    if report.session.status == "completed":
        results = {task.result: task.name for task in report.tasks if task.result}
        found = [
            (results[value.id], _short(value)) for each in report.queues for value in each.values if value.id in results
        ]
        yield from [each for each in found if each[0] == report.session.task] or found[-2:]


def _mark(attempt: AttemptRecord, timeline: Timeline, scale: _Scale, note: str = "", height: float = 100) -> Mark:
    span, error = timeline.span_of(attempt), f": {cause_of(attempt.error)}" if attempt.error else ""
    title = f"{attempt.name} {attempt.status}, {format_duration(span.end - span.start)}{note}{error}"
    return Mark(scale.at(span.start), scale.at(span.end), attempt.status, title, f"attempt-{attempt.name}", height)


def _joined(marks: Iterable[Mark]) -> list[Mark]:
    """Join marks that could not be told apart: a consumer may have thousands."""
    found: list[Mark] = []
    last: dict[str, int] = {}  # by status, the place of the last one
    for mark in marks:
        before = found[last[mark.status]] if mark.status in last else None
        if before is None or mark.right - before.left > _NARROW:
            last[mark.status] = len(found)
            found.append(mark)
        else:
            height = max(before.height, mark.height)
            found[last[mark.status]] = before._replace(right=max(before.right, mark.right), height=height)
    return found


def _turns(report: Report, timeline: Timeline, scale: _Scale) -> Iterator[Mark]:
    """Yield the steps if some used tokens, whose number is the height of each."""
    steps = [step for task in report.tasks for step in task.steps]
    most = max((step.tokens or 0 for step in steps), default=0)
    for step in steps if most else ():
        note = f" ({step.name}){f', {step.tokens:,} tokens' if step.tokens else ''}"
        mark = _mark(step.last, timeline, scale, note, 10 + 85 * (step.tokens or 0) / most)
        yield mark._replace(status="kept") if _is_kept(report, step) else mark


def _is_kept(report: Report, step: Step) -> bool:
    """Whether a step was not run again, or will not be."""
    is_earlier = (step.last.run or 0) < report.runs[-1].number if report.runs else True
    return step.status == "completed" and (is_earlier or report.session.status in (*HALTED, "waiting"))


def _short(value: Value) -> str:
    return cut_text(preview(value.content) if value.beginning is None else value.beginning, _CONTENT)


class Depth:
    """How many values were in queues over time, how many were taken, and which died."""

    def __init__(self, report: Report) -> None:
        """Describe a report. It is worth drawing if it took a second."""
        values = [value for each in report.queues for value in each.values]
        times = [(each.record.pushed_at, each.record.ended_at or 0) for each in values]
        start = min((pushed_at for pushed_at, _ in times), default=0)
        end = max((max(both) for both in times), default=0)
        self.is_long = end - start >= 1_000_000
        if not self.is_long:
            return
        returns = [each for value in values for each in value.returns]
        left = [each.record.ended_at for each in values if each.record.ended_at is not None]
        returned = [each.record.taken_at for each in returns if not each.ended_death]
        taken = [each.taken_at for each in values if each.taken_at] + returned
        died = [each for each in values if each.record.state == "dead" and each.record.ended_at is not None]

        def bins(times: Iterable[int]) -> Counter[int]:
            return Counter((at - start) * _BINS // (end - start) for at in times)

        more = bins([*(each.record.pushed_at for each in values), *(each.record.returned_at for each in returns)])
        fewer = bins([*left, *(each.record.taken_at for each in returns)])
        depths = list(itertools.accumulate(more[place] - fewer[place] for place in range(_BINS + 1)))
        rates, width = bins(taken), 100 / (_BINS + 1)
        most, most_taken = max(1, *depths), max(rates.values(), default=1)
        length = max(60_000_000, (end - start) // _BINS)  # a rate of less than a minute says nothing of a minute
        per_length = Counter((at - start) // length for at in taken)
        points = ((place * 100 / _BINS, 100 - max(0, depth) * 100 / most) for place, depth in enumerate(depths))
        self.start, self.end, self.most = start, end, most
        self.line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        self.rates = [
            Mark(place * width, (place + 0.8) * width, height=count * 100 / most_taken)
            for place, count in sorted(rates.items())
        ]
        self.most_per_minute = round(max(per_length.values(), default=0) * 60_000_000 / length)
        self.deaths = [
            Mark(place * width, place * width, title=f"{counted(count, 'value')} died")
            for place, count in bins(each.record.ended_at or 0 for each in died).items()
        ]
        self.errors = _grouped(each.returns[-1].error for each in died if each.returns)


def _grouped(errors: Iterable[ErrorRecord | None]) -> list[tuple[str, int]]:
    """Count errors that differ in numbers only."""
    texts = Counter(cause_of(each) for each in errors if each)
    groups = by_key(texts, lambda text: re.sub(r"\d+(?:[.,:]\d+)*", "*", text))
    counts = [(same if own[1:] else own[0], sum(texts[text] for text in own)) for same, own in groups.items()]
    return sorted(counts, key=lambda each: -each[1])[:4]
