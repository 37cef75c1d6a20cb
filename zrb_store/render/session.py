"""A session as `show` prints it: what it is, its runs, tasks, attempts and steps, and its queues."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence, Sized
from dataclasses import dataclass, replace

from zrb_store.inspect.advice import advice
from zrb_store.inspect.facts import facts_of
from zrb_store.inspect.failures import failures
from zrb_store.inspect.header import inputs_of
from zrb_store.inspect.queues import holders_of
from zrb_store.inspect.show import Queue, SessionDocument, ShownStep, Task
from zrb_store.inspect.told import sum_of
from zrb_store.inspect.trace import took
from zrb_store.masking import one_line
from zrb_store.process import current_folder
from zrb_store.queries.history import Only, Value
from zrb_store.queries.holders import Holder
from zrb_store.queries.show import StepCounts
from zrb_store.records import AttemptRecord, RunRecord
from zrb_store.render.attempts import AttemptRow, row_of_costs, row_of_step, rows_of_attempts
from zrb_store.render.document import (
    GAP,
    Block,
    Column,
    Faded,
    Fields,
    Lines,
    Table,
    display_width,
    page_width,
    shorten,
)
from zrb_store.render.format import (
    NOTHING,
    TimeFormat,
    cause_of,
    counted,
    error_line,
    error_note,
    format_duration,
    inputs_text,
    preview,
    program_name,
    pusher,
    queue_limits,
    run_process,
    size,
)
from zrb_store.render.life import fate_now, past, states_of

_DELIVERY_WIDTH = 120  # columns of a delivery with its error
_STEP_WIDTH = 60  # columns of a step's name
_NOTE_WIDTH = 90  # columns of what a step did
_BEFORE_NOTE = 50  # columns of the page that a note leaves to the others
_LEAST_RESULT = 16  # columns of a step's result, however narrow the page
_MOST_FAILURES = 5  # of tasks that are named
_FEW = 20  # runs, or attempts or steps of a task: no more are shown one by one
_LAST = 10  # how many of more runs and attempts are shown

_RUN_COLUMNS = (
    Column("run", right=True),
    Column("status", status=True),
    Column("started", leaves=2),
    Column("took", right=True, leaves=1),
    Column("by"),
)
_TASK_COLUMNS = (
    Column("attempt"),
    Column("status", status=True),
    Column("run", right=True, leaves=1),
    Column("started", leaves=2),
    Column("took", right=True, leaves=3),
    Column("note"),
)
_VALUE_COLUMNS = (
    Column("seq", right=True),
    Column("value", cut=True),
    Column("type", leaves=2),
    Column("size", right=True, leaves=1),
    Column("pushed by", fold=True, leaves=3),
    Column("fate", status=True),
)


@dataclass(frozen=True)
class Look:
    """What is shown of a session, as the options of `show` say."""

    queue: str | None
    only: Only | None
    at: str | None  # the moment, as the user gave it; None for now
    every: bool  # long lists are shown whole
    full: bool  # values are shown whole
    steps: bool
    timeline: bool


class SessionPrinter:
    """Makes the blocks that show a session. Their rows are read while they are printed."""

    def __init__(self, document: SessionDocument, look: Look, *, with_elapsed: bool = True) -> None:
        """Create a printer, which says with `with_elapsed` how long what runs has taken."""
        self._document, self._look = document, look
        self._until = document.moment if with_elapsed else None
        self._width = None if look.full else page_width()
        session, runs = document.session, document.runs
        self._times = TimeFormat(runs[0].started_at if runs else session.created_at if look.at is None else None)
        self._holders = holders_of(document.transaction, [session.id], document.read_at) if look.at is None else []
        self._states = states_of(self._holders, session.name)

    def blocks(self) -> Iterator[Block]:
        document, look = self._document, self._look
        if look.queue is None:
            yield self._fields()
            if look.timeline:
                from zrb_store.render.chart import timeline_chart

                skip = {task.name: self._hidden(task.attempts) for task in document.tasks}
                yield timeline_chart(document, self._times, skip, steps=look.steps)
                return
            if len(document.runs) > 1:
                yield Table(_RUN_COLUMNS, self._run_rows(document.runs), "Runs")
            if document.tasks:
                yield Table(_TASK_COLUMNS, self._task_rows(document.tasks), "Tasks")
        yield from map(self._queue, document.queues)
        if look.queue is None:
            hints = _hints(document, self._holders) if look.at is None else []
            if ends := [*self._failures(), *hints]:
                yield Fields(ends, label_width=len("Pending:"))

    def _fields(self) -> Fields:
        session, runs, times = self._document.session, self._document.runs, self._times
        is_running = bool(runs) and runs[-1].status is None and self._until is not None
        texts = {
            "Session": session.name,
            "Status": session.status + (", pinned" if session.pinned else ""),
            "As of": self._look.at,
            "Task": one_line(session.call or "") if session.task else None,
            "Project": one_line(session.project or ""),
            "Inputs": inputs_text(inputs_of(session)),
            "Parent": one_line(session.parent or ""),
            "Fork of": one_line(session.forked_from or ""),
            "Created": None if runs else times.full(session.created_at),
            "Started": times.full(runs[0].started_at) if runs else None,
            "Running": f"for {self._took(runs[-1])}" if is_running else None,
            "Ended": times.full(session.ended_at) if runs and session.ended_at is not None else None,
            "Run by": run_process(runs[0]) if len(runs) == 1 else None,
            "Acknowledged": self._acknowledged(),
            **self._costs(),
        }
        return Fields([(label, text) for label, text in texts.items() if text])

    def _failures(self) -> Iterator[tuple[str, str]]:
        """Say at the end, which a terminal still shows, why the session failed."""
        of_tasks, own = failures(self._document)
        for each in of_tasks[:_MOST_FAILURES]:
            cause = cause_of(each, program_name(), self._times.brief(each.seen_at))
            yield f"{each.status.capitalize()}:", f"{one_line(each.name)}: {cause}"
        for status, count in Counter(each.status for each in of_tasks[_MOST_FAILURES:]).items():
            yield f"{status.capitalize()}:", f"and {count:,} more"
        if own:
            yield "Error:", error_note(own, program_name())

    def _costs(self) -> dict[str, str]:
        """Return what several tasks have cost; the rows of tasks have the cost of each."""
        several = [costs for task in self._document.tasks if (costs := task.costs) and costs.text()]
        total = sum_of(several)
        return {total.title: total.text()} if total and len(several) > 1 else {}

    def _acknowledged(self) -> str | None:
        """Say when somebody acknowledged how the session ended, who, and why."""
        at, why = self._document.acknowledgement()
        if at is None:
            return None
        by = f" by {why.user or 'somebody'}" if why else ""
        return one_line(f"{self._times.brief(at)}{by}" + (f": {why.reason}" if why and why.reason else ""))

    def _run_rows(self, runs: Sequence[RunRecord]) -> Iterator[list[str]]:
        hidden = self._hidden(runs)
        if hidden:
            yield [*[NOTHING] * 4, _earlier("runs", (run.status or "running" for run in runs[:hidden]))]
        for run in runs[hidden:]:
            status = one_line(run.status or "running")
            times = self._times.brief(run.started_at), self._took(run)
            yield [str(run.number), status, *times, run_process(run)]

    def _task_rows(self, tasks: Iterable[Task]) -> Iterator[list[str]]:
        """Yield for each task its last attempts, and a row if it waits or was skipped; then its steps."""
        for task in tasks:
            hidden, attempts = self._hidden(task.attempts), iter(task.attempts)  # of a consumer they are read only once
            if hidden:
                statuses = (attempt.record.status for attempt in itertools.islice(attempts, hidden))
                yield [one_line(task.name), *[NOTHING] * 4, _earlier("attempts", statuses)]
            for row in rows_of_attempts(task, attempts, program_name()):
                yield self._attempt_row(row, row.note if self._look.full else row.said)
            if task.counts is not None:
                yield from self._step_rows(task, task.counts)

    def _step_rows(self, task: Task, counts: StepCounts) -> Iterator[list[str]]:
        """Yield what the steps of a task have cost, if that is known; then its steps, or the sum of many."""
        if task.costs and (total := task.costs.text()):
            yield self._attempt_row(row_of_costs(task.name, total), total)
        if len(task.steps) <= _FEW or self._look.steps or self._look.every:
            yield from map(self._step_row, task.steps)
        else:
            yield [one_line(task.name), *[NOTHING] * 4, _all_steps(counts)]

    def _step_row(self, step: ShownStep) -> list[str]:
        """Return the row of a step: its last attempt, with the name of the step and its result."""
        width, row = self._width, row_of_step(step, program_name(), full=self._width is None)
        if width is None:
            return self._attempt_row(row, row.note)
        said = shorten(row.said, _NOTE_WIDTH if step.note else _STEP_WIDTH) + row.facts
        room = max(_LEAST_RESULT + len(" = "), width - _BEFORE_NOTE - display_width(said))
        return self._attempt_row(row, said + (row.gave if step.last.error else shorten(row.gave, room)))

    def _attempt_row(self, row: AttemptRow, note: str) -> list[str]:
        attempt, name = row.attempt, GAP * row.is_step + row.name
        if attempt is None:
            return [name, row.status, NOTHING, NOTHING, NOTHING, note]
        run = NOTHING if attempt.run is None else str(attempt.run)
        times = self._times.brief(attempt.started_at), self._took(attempt)
        cells = [name, row.status, run, *times, note]
        return Faded(cells) if row.is_faded else cells

    def _hidden(self, every: Sized) -> int:
        """Return how many of the first runs, or attempts, are not shown one by one."""
        return 0 if self._look.every or len(every) <= _FEW else len(every) - _LAST

    def _took(self, each: RunRecord | AttemptRecord) -> str:
        return format_duration(took(each, self._until))

    def _queue(self, queue: Queue) -> Block:
        is_now = self._look.at is None
        limit = queue.now.rules.max_deliveries if is_now else None  # which is not known of an earlier moment
        if self._look.only in ("dead", "held"):
            parts = [f"{queue.count:,} {self._look.only}"]
        elif self._look.only == "next":
            parts = [f"{len(queue.live):,} live" if queue.count else "empty"]
        else:
            parts = queue.counts if is_now and self._look.only is None else queue.counts[:1]
        if is_now:
            parts += queue_limits(limit, queue.now.rules.paused_at, self._times.brief)
        title = f"Queue {one_line(queue.now.name)}: {', '.join(parts)}"
        shows_next = self._look.only == "next" or (is_now and self._look.only is None and bool(queue.earlier))
        rows = (self._value_row(value, limit, shows_next=shows_next) for value in queue.values)
        note = _not_shown(queue.earlier, "other" if is_now and self._look.only is None else "earlier")
        if not len(queue.values):
            return Lines([note] * bool(note), title)
        return Table(_VALUE_COLUMNS, rows, title, note)

    def _value_row(self, value: Value, limit: int | None, *, shows_next: bool) -> list[str]:
        record = value.record
        moved_from = "" if record.moved_from is None else f", as #{record.moved_from}"
        history = past(value, self._times, error_line, None if self._look.full else _DELIVERY_WIDTH)
        present = fate_now(value, self._times, self._states, limit, self._document.read_at)
        return [
            f"#{record.seq}",
            preview(value.content, full=self._look.full),
            one_line(record.type),
            size(record.size),
            (pusher(value) or NOTHING) + moved_from,
            "\n".join([*history, present + ", next" * (shows_next and record.state == "live")]),
        ]


def _hints(document: SessionDocument, holders: Sequence[Holder]) -> list[tuple[str, str]]:
    """Say what to do next about a session that did not end well, or whose values such a session holds."""
    facts = replace(facts_of(document), left=document.left, holders=holders)
    return [(f"{each.label}:", each.text) for each in advice(facts, program_name(), current_folder())]


def _earlier(what: str, statuses: Iterable[str]) -> str:
    """Sum up what is not shown one by one."""
    counts = Counter(statuses)
    return f"{counts.total()} earlier {what}: " + ", ".join(f"{n} {one_line(word)}" for word, n in counts.items())


def _all_steps(counts: StepCounts) -> str:
    """Sum up the steps of a task: `57 steps, 3 failed attempts`."""
    parts = [f"{counts.steps} steps"]
    if counts.standing < counts.steps:
        parts.append(f"{counts.standing} completed")
    if counts.running:
        parts.append(f"{counts.running} running")
    attempts = {"failed": counts.failed, "interrupted": counts.interrupted, "lost": counts.lost}
    return ", ".join([*parts, *(counted(number, f"{word} attempt") for word, number in attempts.items() if number)])


def _not_shown(earlier: dict[str, int], which: str) -> str:
    """Say how many values are not shown, and what became of them."""
    if not earlier:
        return ""
    states = sorted(earlier, key=lambda state: (state != "live", state != "taken", state))
    parts = ", ".join(f"{earlier[state]:,} {state}" for state in states)
    count = sum(earlier.values())
    are = "value is" if count == 1 else "values are"
    return f"{count:,} {which} {are} not shown ({parts}): --all shows {'it' if count == 1 else 'them'}"
