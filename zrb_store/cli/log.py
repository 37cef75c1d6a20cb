"""`log`: what went wrong, and how each run was started."""

from __future__ import annotations

import contextlib
import itertools
import shlex
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import click

from zrb_store.cli import completion
from zrb_store.cli.arguments import format_option, session_argument
from zrb_store.cli.command import command
from zrb_store.inspect import session_names
from zrb_store.inspect.header import inputs_of
from zrb_store.inspect.log import AttemptLog, AttemptOutput, Looks, SessionLog
from zrb_store.inspect.log import follow as follow_session
from zrb_store.inspect.log import log as read_log
from zrb_store.inspect.trace import took
from zrb_store.masking import one_line
from zrb_store.queries.output import OutputLine
from zrb_store.records import JsonObject, RunRecord, pick_all
from zrb_store.render.attempts import Title, title_of, title_of_run, why_it_ended
from zrb_store.render.document import Block, Column, Fields, Lines, Table
from zrb_store.render.format import (
    NOTHING,
    TimeFormat,
    counted,
    error_details,
    error_line,
    format_duration,
    inputs_text,
    process,
    program_name,
    run_by,
    size,
    versions,
)
from zrb_store.render.printing import echo, echo_json, echo_raw, echo_records, flush, noting_damage, print_document

_LAST = 20  # lines that are shown unless all are asked for
_INTERVAL = 0.5  # seconds between two looks at what is followed


@command(
    "log",
    "{} @last-failed",
    "{} etl-2026-11-24 load",
    "{} etl-2026-11-24 load/3",
    "{} @last --follow",
    details="Shows the last 20 lines printed by each attempt that did not complete. The output of completed attempts "
    "is shown with TASK (its last 20 lines) or with --all.\n\n"
    "With TASK, shows only the attempts of that task and its steps. TASK/3 is the task's third step.",
)
@session_argument
@click.argument("task", required=False, shell_complete=completion.tasks)
@click.option("--all", "whole", is_flag=True, help="Show all stored output of the attempts.")
@click.option("--follow", is_flag=True, help="Print output as the attempts write it, until the session has ended.")
@format_option()
def log(session: str, task: str | None, whole: bool, follow: bool, output_format: str) -> None:
    if follow and output_format == "json":
        raise click.UsageError("--follow prints lines as they come: use --format jsonl")
    with session_names.open_for_reading() as database:
        name = session_names.resolve(database, session).name
        with noting_damage():
            if follow:
                _follow(follow_session(database, name, task), output_format, whole=whole)
                return
            with read_log(database, name, task) as session_log:
                _print(session_log, task, output_format, whole=whole)


def _print(session_log: SessionLog, task: str | None, output_format: str, *, whole: bool) -> None:
    if output_format == "json":
        echo_json(session_log.to_json())
    elif output_format == "jsonl":
        echo_records((attempt.to_json() for attempt in session_log.attempts), output_format)
    elif output_format == "table":
        print_document(_blocks(session_log, task, whole=whole))
    elif whole:
        for attempt in session_log.attempts:
            for line in attempt.output.lines if attempt.output else ():
                echo_raw(line.text)
    else:
        of_runs = (run.error for run in session_log.runs if task is None)
        for error in itertools.chain(of_runs, (attempt.record.error for attempt in session_log.attempts)):
            if error:
                echo_raw(error_details(error, program_name()).rstrip("\n"))


def _blocks(session_log: SessionLog, task: str | None, *, whole: bool) -> Iterator[Block]:
    runs, name = session_log.runs, session_log.name
    times = TimeFormat(runs[0].started_at if runs else None)
    yield Fields([("Session", name), ("Status", session_log.status)])
    for run in runs:
        yield _run_fields(run, times)
        if run.error and task is None:
            yield Lines(_lines(error_details(run.error, program_name())), _title(title_of_run(run), times))
    untold = _Untold(nothing_failed=task is not None or not any(run.error for run in runs))
    for attempt in session_log.attempts:
        is_asked_for = attempt.record.step is not None and attempt.record.task == task
        if attempt.has_failed or is_asked_for:
            untold.nothing_failed = False
            yield _step_lines(attempt, times, name) if is_asked_for else _attempt_lines(attempt, times, whole)
        elif attempt.output and (whole or task is not None or attempt.record.status == "running"):
            yield Lines(_output_lines(attempt.output, times, whole=whole), _title(title_of(attempt), times))
        else:
            untold.add(attempt)
    if summary := list(untold.lines(name)):
        yield Lines(summary)
    rows = (
        [times.full(change.at), one_line(change.action), process(change), one_line(change.text)]
        for change in session_log.changes
    )
    if first := next(rows, None):
        columns = (Column("at", words=True), Column("what"), Column("by", fold=True), Column("detail"))
        yield Table(columns, itertools.chain([first], rows), "Done by others")


@dataclass
class _Untold:
    """The attempts that are not shown one by one."""

    nothing_failed: bool
    quiet: int = 0  # how many printed something
    completed: Counter[str] = field(default_factory=Counter)  # steps by the task that they are of
    given_back: Counter[str] = field(default_factory=Counter)

    def add(self, attempt: AttemptLog) -> None:
        record = attempt.record
        if attempt.output:
            self.quiet += 1
        elif record.step is not None and record.status == "completed":
            steps = self.completed if record.given_back_at is None else self.given_back
            steps[record.task.rpartition("/")[0]] += 1

    def lines(self, session: str) -> Iterator[str]:
        if self.nothing_failed:
            yield "No attempt failed."
        if self.quiet:
            command = f"{program_name()} log {session} --all"
            yield f"{counted(self.quiet, 'completed attempt')} printed something:  {command}"
        for task in self.completed | self.given_back:
            undone = self.given_back[task]
            more = f"; {undone} completed and were given back" if undone else ""
            yield f"{counted(self.completed[task], 'step')} of {one_line(task)} completed{more}."


def _run_fields(run: RunRecord, times: TimeFormat) -> Fields:
    lasted = took(run, None)
    label = f"Run {run.number}"
    return Fields(
        [
            (label, one_line(run.status or "running")),
            ("Started", times.full(run.started_at) + ("" if lasted is None else f", took {format_duration(lasted)}")),
            ("By", run_by(run)),
            ("Command", one_line(shlex.join(run.command)) or NOTHING),
            ("Folder", one_line(run.folder or NOTHING)),
            ("Versions", versions(run)),
            *([("Inputs", inputs_text(inputs_of(run)))] if run.inputs is not None else []),
        ],
        status=label,
    )


def _attempt_lines(attempt: AttemptLog, times: TimeFormat, whole: bool) -> Lines:
    """Return the lines of an attempt that did not complete: what it printed, and then why it ended.

    What a failed command said last on stderr is in the title: it may have come long before the lines that are shown.
    """
    error = attempt.record.error
    printed = _output_lines(attempt.output, times, whole=whole) if attempt.output else []
    said = f": {error_line(error)}" if error and error.type == "CmdTaskError" else ""
    title = _title(title_of(attempt), times) + said
    return Lines([*printed, *_lines(why_it_ended(attempt, program_name()))], title)


def _lines(text: str) -> list[str]:
    return [line.expandtabs() for line in text.splitlines()]


def _title(title: Title, times: TimeFormat) -> str:
    return title.text(times.full(title.at))


def _step_lines(attempt: AttemptLog, times: TimeFormat, session: str) -> Lines:
    """Return the lines of an attempt of the step that was asked for, whether or not it completed."""
    if attempt.has_failed:
        return _attempt_lines(attempt, times, False)
    lines, record = [], attempt.record
    if record.given_back_at is not None:
        lines.append(f"Given back {times.full(record.given_back_at)}.")
    elif record.status == "completed":
        lines.append(f"Its result:  {program_name()} get {session} {shlex.quote(one_line(record.task))} --result")
    return Lines(lines, _title(title_of(attempt), times))


def _output_lines(output: AttemptOutput, times: TimeFormat, *, whole: bool) -> list[str]:
    """Return all lines of an attempt's output, or only the last ones."""
    hidden = 0 if whole else max(len(output.lines) - _LAST, 0)
    shown = [_line(line, times) for line in output.lines[hidden:]]
    if hidden:
        return [f"[{counted(hidden, 'earlier line')}: --all shows all that is kept]", *shown]
    if output.truncated:
        return [f"[only the end of {size(output.bytes)} of output is kept]", *shown]
    return shown


def _line(line: OutputLine, times: TimeFormat) -> str:
    return f"{times.brief(line.at)} {one_line(line.stream):<7} {line.text.expandtabs()}".rstrip()


def _follow(looks: Looks, output_format: str, *, whole: bool) -> None:
    """Print what attempts print until the session has ended, or until the user has seen enough."""
    times = None
    with contextlib.suppress(KeyboardInterrupt):
        for status, started_at, found in looks:
            shown_lines = found if times or whole else found[-_LAST:]
            times = times or TimeFormat(started_at)
            for attempt, line in shown_lines:
                if output_format == "jsonl":
                    shown: JsonObject = {"attempt": attempt, **pick_all(line)}
                    echo_json(shown, one_line=True)
                elif output_format == "value":
                    echo_raw(line.text)
                else:
                    echo(f"{one_line(attempt)} {_line(line, times)}")
            flush()
            if status != "running":
                break
            time.sleep(_INTERVAL)
        if output_format == "table":
            echo(f"The session is {status}.")
