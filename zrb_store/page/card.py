"""The card at the head of a session: what happened and why, what to type next, and one picture of it.

In the picture, places from left to right are percents, so that it fits every page.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from zrb_store.inspect.advice import advice, first
from zrb_store.inspect.facts import facts_of
from zrb_store.inspect.failures import Failure, failures
from zrb_store.inspect.show import ShownStep, Task
from zrb_store.page.content import Report, cut_text
from zrb_store.page.depth import Mark, depth_of
from zrb_store.queries.history import Value
from zrb_store.queries.runs import last_started
from zrb_store.records import HALTED, UNSUCCESSFUL, AttemptRecord, to_datetime
from zrb_store.render.format import cause_of, counted, error_note, format_duration, preview

_WORKED = 74  # percent of the width, if something waits
_TO_COME = ("not started", "given back", "waiting")  # statuses of tasks that run next
_FEW = 12  # tasks that are all named
_MOST_TO_COME = 6  # that are named
_MOST_NAMED = 3  # tasks that failed, in the headline
_MOST_CAUSES = 10  # tasks whose errors are below it
_ROOM = 216  # pixels for the rows of the tasks that are not named
_MOST_QUIET = 108  # of these rows
_NARROW = 0.4  # percent; marks of one status that lie within it are one
_SLOTS = 24  # values of a queue
_CONTENT = 60  # characters of a value
_ENDS = ("completed", *UNSUCCESSFUL, "running")  # of deliveries
_STATES = {"dead": "dead", "lease expired": "silent"}


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
        tasks = [task for task in report.tasks if task.attempts]
        to_come = _to_come(report)
        self._program = program
        self.width = _WORKED if to_come else 100
        lanes = [Lane(task.name, task.status, _joined(self._marks(report, task))) for task in tasks]
        self.chain, self.quiet = _divided(lanes, are_few=len(report.tasks) <= _FEW)
        self.pitch = max(2, min(14, _ROOM / len(self.quiet))) if self.quiet else 0  # pixels from one to the next
        more = len(to_come) - _MOST_TO_COME
        self.to_come = to_come[:_MOST_TO_COME] + [f"and {more} more"] * (more > 0)
        self.subject, self.causes, self.note = _headline(report, tasks, program)
        self.depth = depth_of(report, program) if _is_inbox(report) else None
        if self.depth and self.depth.errors and not self.note:
            self.note = self.depth.errors[0][0]
        self.counts = dict(_counts(report, tasks))
        self.advice = advice(replace(facts_of(report), holders=report.holders), program)
        self.helps = first(self.advice)
        self.made = list(_made(report))
        self.took = format_duration(sum(span.end - span.start for span, *_ in report.scale.stretches))
        self.pauses = [
            Mark(self._x(left), self._x(right), title=length) for left, right, length in report.scale.pauses()
        ]
        self.returns = [Return(report, value) for value in report.comes_back[:1]]
        self.turns = _joined(self._turns(report))  # steps that used tokens
        died = [self._x(report.scale.at(span.end)) for span in report.timeline.deaths]
        self.cuts = [Mark(at, at) for at in died]  # where its process died

    def _x(self, share: float) -> float:
        return round(share * self.width, 2)

    def _marks(self, report: Report, task: Task) -> Iterator[Mark]:
        for each in task.attempts:
            yield self._mark(report, each.record)._replace(is_faded=task.was_retried(each.record))

    def _mark(
        self, report: Report, attempt: AttemptRecord, step: str = "", note: str = "", height: float = 100
    ) -> Mark:
        """Return the mark of an attempt, of which a tooltip tells the same as in the timeline."""
        span = report.timeline.span_of(attempt)
        left, right = self._x(report.scale.at(span.start)), self._x(report.scale.at(span.end))
        title = f"{attempt.name}{step} {attempt.status}, {report.took(attempt)}"
        error = error_note(attempt.error, self._program) if attempt.error else ""
        title = "\n".join(filter(None, (title, error, note)))
        return Mark(left, right, attempt.status, title, f"attempt-{attempt.name}", height)

    def _turns(self, report: Report) -> Iterator[Mark]:
        """Yield the steps if some used tokens, whose number is the height of each."""
        steps = [step for task in report.tasks for step in task.steps]
        most = max((step.tokens or 0 for step in steps), default=0)
        for step in steps if most else ():
            tokens = step.tokens or 0
            note = step.note or (counted(tokens, "token") if tokens else "")  # a report for strangers has no notes
            mark = self._mark(report, step.last, f" ({step.name})", note, 10 + 85 * tokens / most)
            yield mark._replace(status="kept") if _is_kept(report, step) else mark

    @property
    def tops(self) -> tuple[int, int, int, int, int]:
        """Where the rows of the picture begin, in pixels: quiet, named, waiting, values; and its height."""
        quiet = 26 + 104 * bool(self.turns)
        named = quiet + round(len(self.quiet) * self.pitch) + 8 * bool(self.quiet)
        waiting = named + 24 * len(self.chain)
        values = waiting + 24 * len(self.to_come)
        drawn = values + (84 if self.returns else 6) if self.quiet or self.chain else 0
        return quiet, named, waiting, values, 266 if self.depth else drawn


def _to_come(report: Report) -> list[str]:
    """Return the tasks that a resume runs next, in their order."""
    found = [task.name for task in report.tasks if report.session.status in HALTED and task.status in _TO_COME]
    if found[:1] == [report.session.task]:  # zrb knows the main task first, and what it needs later
        found.reverse()
    return found


def _divided(lanes: Sequence[Lane], *, are_few: bool) -> tuple[list[Lane], list[Lane]]:
    """Return the lanes that are named, and the others; of very many others every second one, or fewer."""
    named = (*UNSUCCESSFUL, "running", *(("completed", *_TO_COME) if are_few else ()))
    quiet = [each for each in lanes if each.status not in named]
    return [each for each in lanes if each.status in named][:_FEW], quiet[:: -(-len(quiet) // _MOST_QUIET) or 1]


def _is_inbox(report: Report) -> bool:
    return not report.runs and not report.tasks


class Cause(NamedTuple):
    """Why something did not complete, and the id of the place where more is said of it."""

    name: str
    text: str  # empty where it says how many are left out
    link: str


class _Headline(NamedTuple):
    subject: str  # what happened
    causes: Sequence[Cause] = ()
    note: str = ""  # what is said where there is no cause


def _headline(report: Report, tasks: Sequence[Task], program: str) -> _Headline:
    session, last = report.session, last_started(report.runs)
    if last is None:
        return _headline_of_queues(report)
    failed, own = failures(report)
    causes = [_cause(each, program) for each in failed[:_MOST_CAUSES]]
    if left_out := failed[_MOST_CAUSES:]:
        causes.append(Cause(f"and {len(left_out):,} more", "", "errors"))
    if own:
        causes.append(Cause(f"run {last.number}", error_note(own, program), "errors"))
    if deliveries := _deliveries(tasks):
        (first, count), *more = [(each, deliveries[each]) for each in _ENDS if deliveries[each]]
        said = ", ".join([f"{counted(count, 'delivery')} {first}", *(f"{count:,} {each}" for each, count in more)])
        return _Headline(said, causes)
    if session.status == "completed":
        only = tasks[0].name if len(report.tasks) == len(tasks) == 1 else counted(len(report.tasks), "task")
        return _Headline(f"{only} completed" if tasks else "completed")
    if session.status == "running":
        working = ", ".join(task.name for task in tasks if task.status == "running")
        return _Headline(
            f"running for {format_duration(report.read_at - last.started_at)}", note=cut_text(working, 100)
        )
    if report.waits:
        texts = dict.fromkeys(replace(each, say=None).text() for each in report.waits)
        said = " ".join(each.say for each in report.waits if each.say)
        return _Headline(f"waits {' and '.join(texts)}", note=said)
    said = _what_failed(report, failed) if failed else f"run {last.number} {session.status}"
    return _Headline(said, causes)


def _headline_of_queues(report: Report) -> _Headline:
    if report.session.forked_from:
        return _Headline(f"forked from {report.session.forked_from}", note="it has not run yet")
    values = counted(sum(each.count for each in report.queues), "value")
    dead = sum(each.now.dead for each in report.queues)
    return _Headline(f"{dead:,} of {values} died" if dead else f"{values} in {counted(len(report.queues), 'queue')}")


def _cause(failure: Failure, program: str) -> Cause:
    seen_at = "" if failure.seen_at is None else f"{to_datetime(failure.seen_at):%H:%M:%S} UTC"
    return Cause(failure.name, cause_of(failure, program, seen_at), f"attempt-{failure.name}")


def _what_failed(report: Report, found: Sequence[Failure]) -> str:
    """Name the tasks that made the session fail: `load failed twice`, `b and a failed`, `7 tasks failed`."""
    names, statuses = [each.task for each in found], {each.status for each in found}
    be = "was" if len(found) == 1 else "were"
    verbs = {"failed": "failed", "lost": "died", "interrupted": f"{be} interrupted"}
    verb = verbs[found[0].status] if len(statuses) == 1 else "did not complete"
    if len(found) > 1:
        named = f"{', '.join(names[:-1])} and {names[-1]}" if len(names) <= _MOST_NAMED else f"{len(names):,} tasks"
        return f"{named} {verb}"
    attempts = next(task.attempts for task in report.tasks if task.name == names[0])
    count = sum(each.record.status == found[0].status for each in attempts)
    return f"{names[0]} {verb}" + ("" if count == 1 else " twice" if count == 2 else f" {count} times")


def _deliveries(tasks: Sequence[Task]) -> Counter[str]:
    """Count the deliveries of a consumer by their status; nothing for other sessions."""
    attempts = [each.record for task in tasks for each in task.attempts]
    return Counter(each.status for each in attempts) if all(each.kind == "delivery" for each in attempts) else Counter()


def _counts(report: Report, tasks: Sequence[Task]) -> Iterator[tuple[str, str]]:
    """Yield how much there is of what, and then what a resume gets, which is coloured as of a kind."""
    yield from dict.fromkeys(_numbers(report, tasks), "").items()
    if count := len(report.comes_back) + report.comes_back_elsewhere:
        yield f"{counted(count, 'value')} {'comes' if count == 1 else 'come'} back", "ours"
    if kept := [step for task in tasks for step in task.steps if _is_kept(report, step)]:
        paid = "paid" if any(step.tokens for step in kept) else "run"
        yield f"{counted(len(kept), 'step')} not {paid} again", "kept"


def _numbers(report: Report, tasks: Sequence[Task]) -> Iterator[str]:
    """Yield how much there is of what in a queue, of a consumer or a workflow."""
    if _is_inbox(report):
        yield from _numbered(_values(report))
    elif deliveries := _deliveries(tasks):
        ended = sum(deliveries[each] for each in UNSUCCESSFUL)
        yield from _numbered({"given back": max(0, ended - report.killed), "dead": report.killed})
    elif report.session.status != "completed":
        yield from _progress(report)
    if report.session.status == "completed" and (count := sum(run.origin != "reclaim" for run in report.runs)) > 1:
        yield f"in {count} runs"


def _numbered(counts: Mapping[str, int]) -> Iterator[str]:
    return (f"{count:,} {what}" for what, count in counts.items() if count)


def _values(report: Report) -> dict[str, int]:
    """Return how many values of queues are in which state."""
    held = {
        "held" + ("" if state == "alive" else f" by {_STATES[state]} processes"): count
        for state, count in report.held.items()
    }
    return {
        "live": sum(len(each.live) for each in report.queues),
        "delayed": sum(each.now.delayed for each in report.queues),
        **held,
        "dead": sum(each.now.dead for each in report.queues),
    }


def _progress(report: Report) -> Iterator[str]:
    """Yield how many tasks are done, or a resume keeps, and how many are to run."""
    kept = [task.status in ("completed", "skipped") for task in report.tasks]
    if report.plan and report.plan.tasks:
        kept = [each.action == "skip" for each in report.plan.tasks]
    count, left = sum(kept), len(kept) - sum(kept)
    if report.session.status == "running":
        yield f"{count:,} of {counted(len(kept), 'task')} done"
        return
    yield f"{counted(count, 'task')} kept" if count else "no task kept"
    yield from _numbered({"to run": left})


def _made(report: Report) -> Iterator[tuple[str, str]]:
    """Yield the result of the main task, or what the last tasks made."""
    if report.session.status == "completed":
        results = {task.result: task.name for task in report.tasks if task.result}
        found = [
            (results[value.id], _short(value)) for each in report.queues for value in each.values if value.id in results
        ]
        yield from [each for each in found if each[0] == report.session.task] or found[-2:]


def _joined(marks: Iterable[Mark]) -> list[Mark]:
    """Join marks that could not be told apart: a consumer may have thousands."""
    found: list[Mark] = []
    last: dict[tuple[str, bool], int] = {}  # of each kind, the place of the last one
    for mark in marks:
        kind = (mark.status, mark.is_faded)
        before = found[last[kind]] if kind in last else None
        if before is None or mark.right - before.left > _NARROW:
            last[kind] = len(found)
            found.append(mark)
        else:
            height = max(before.height, mark.height)
            found[last[kind]] = before._replace(right=max(before.right, mark.right), height=height)
    return found


def _is_kept(report: Report, step: ShownStep) -> bool:
    """Whether a step was not run again, or will not be."""
    is_earlier = (step.last.run or 0) < report.runs[-1].number if report.runs else True
    return step.status == "completed" and (is_earlier or report.session.status in (*HALTED, "waiting"))


def _short(value: Value) -> str:
    return cut_text(preview(value.content) if value.beginning is None else value.beginning, _CONTENT)
