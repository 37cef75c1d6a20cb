"""`show`: one session with everything in it. `trace`: the history of one of its values."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from zrb_store.cli import completion
from zrb_store.cli.arguments import format_option, session_argument
from zrb_store.cli.command import command
from zrb_store.db.engine import Database
from zrb_store.inspect import session_names
from zrb_store.inspect.queues import HeldBy
from zrb_store.inspect.show import SessionDocument, inputs_of, open_session
from zrb_store.masking import one_line
from zrb_store.names import split_id
from zrb_store.queries.history import Only
from zrb_store.records import Damage
from zrb_store.render.document import Block, Column, Fields, Table, on_terminal, with_rows_read
from zrb_store.render.format import (
    NOTHING,
    TimeFormat,
    counted,
    error_line,
    preview,
    process,
    program_name,
    run_process,
    setting_text,
    size,
    zrb_program,
)
from zrb_store.render.history import HistoryPrinter, took
from zrb_store.render.printing import display, echo_json, echo_value, noting_damage, pause, print_document
from zrb_store.render.values import QueuePrinter, fate

if TYPE_CHECKING:
    from zrb_store.inspect.trace import Event, Trace

_LAST_VALUES = 20  # of each queue, unless all are asked for
_SHOWN_LENGTH = 240  # characters of a traced value, unless all of it is asked for
_HINT_WIDTH = len("Pending:")
_ENDED = ("completed", "failed", "interrupted", "stale")


@command(
    "show",
    "{} etl-2026-11-24",
    "{} @last-failed load --live",
    "{} etl-2026-11-24 --at before:load#2",
    "{} inbox files --dead",
    "{} @last --watch",
    "{} @last --timeline --steps",
    details="SESSION is a full name, its unique beginning, @last, @last-failed, or in a task @this.\n"
    "\n"
    "MOMENT is before:TASK#N, just before that attempt starts; after:TASK#N; or a time as it is printed: "
    "2026-11-24T03:12:45 (local unless Z, an offset or the name of the local zone follows), 11-24 03:12:45 (in the "
    "year in which the session started) or 03:12:45 (on that day). It is the end of the last unit that is given, a "
    "second, a minute or a day, so that whatever is printed with this time has happened.",
)
@session_argument
@click.argument("queue", required=False, shell_complete=completion.queues)
@click.option("--live", is_flag=True, help="Only values that are still in their queue.")
@click.option("--dead", is_flag=True, help="Only values that are dead: their queue allows no more deliveries.")
@click.option("--at", metavar="MOMENT", shell_complete=completion.moments, help="As it was at that moment.")
@click.option("--all", "every", is_flag=True, help="Show long lists whole, not only the last values and attempts.")
@click.option("--steps", is_flag=True, help="Show all steps of tasks that have more than 20.")
@click.option("--full", is_flag=True, help="As --all, and do not shorten values either.")
@click.option("--timeline", is_flag=True, help="Draw the attempts as bars of time; with --steps the steps too.")
@click.option("--watch", is_flag=True, help="Refresh the display until the session has ended.")
@format_option()
def show(
    session: str,
    queue: str | None,
    live: bool,
    dead: bool,
    at: str | None,
    every: bool,
    steps: bool,
    full: bool,
    timeline: bool,
    watch: bool,
    output_format: str,
) -> None:
    if live and dead:
        raise click.UsageError("--live and --dead exclude each other")
    only: Only | None = "live" if live else "dead" if dead else None
    if watch and (at or output_format != "table"):
        raise click.UsageError("--watch shows the table as it is now: leave out --at and --format")
    if timeline and (queue is not None or only or output_format != "table"):
        raise click.UsageError("--timeline draws the tasks: leave out QUEUE, --live, --dead and --format")
    wanted = _Wanted(queue, only, at, every=every or full, full=full, steps=steps, timeline=timeline)
    with session_names.open_for_reading() as database:
        name = session_names.resolve(database, session).name
        if watch:
            _watch(database, name, wanted)
            return
        with noting_damage() as damage, _open(database, name, wanted, output_format, damage) as document:
            if output_format == "json":
                echo_json(document.to_json())
            elif output_format == "table":
                print_document(_blocks(document, wanted), full=full)
            for each in document.queues:
                if output_format == "jsonl":
                    for value in each.values:
                        echo_json(value.to_json(), one_line=True)
                elif output_format == "value":
                    for content in (value.content for value in each.values) if dead else each.live:
                        echo_value(content)


@dataclass(frozen=True)
class _Wanted:
    """What is shown of a session, as the options say.

    Attributes:
        at: The moment, as the user gave it; None for now.
        every: Whether long lists are shown whole.
        full: Whether values are shown whole.
    """

    queue: str | None
    only: Only | None
    at: str | None = None
    every: bool = False
    full: bool = False
    steps: bool = False
    timeline: bool = False


def _open(
    database: Database, name: str, wanted: _Wanted, output_format: str = "table", damage: Damage | None = None
) -> AbstractContextManager[SessionDocument]:
    last = _LAST_VALUES if output_format == "table" and not wanted.every else None
    return open_session(database, name, wanted.queue, only=wanted.only, at=wanted.at, last=last, damage=damage)


def _blocks(document: SessionDocument, wanted: _Wanted, *, with_elapsed: bool = True) -> Iterator[Block]:
    """Yield the blocks that show a session. Their rows are read while they are printed."""
    at, runs = wanted.at, document.runs
    until = document.moment if with_elapsed else None
    times = TimeFormat(runs[0].started_at if runs else document.session.created_at if at is None else None)
    holders = document.holders() if at is None else []
    printer = QueuePrinter(document, times, holders, only=wanted.only, at=at, full=wanted.full)
    queues = map(printer.block, document.queues)
    if wanted.queue is not None:
        yield from queues
        return
    yield _session_fields(document, times, at, until)
    if wanted.timeline:
        from zrb_store.render.chart import timeline_chart  # late: most are shown as tables

        yield timeline_chart(document, times, every=wanted.every, steps=wanted.steps)
        return
    every = wanted.every
    history = HistoryPrinter(times, until, every=every, steps=wanted.steps or every, full=wanted.full)
    if len(runs) > 1:
        yield history.runs(runs)
    if document.tasks:
        yield history.tasks(document.tasks)
    yield from queues
    hints = _hints(document, holders) if at is None else []
    if hints:
        yield Fields(hints, label_width=_HINT_WIDTH)


def _session_fields(document: SessionDocument, times: TimeFormat, at: str | None, until: int | None) -> Fields:
    session, runs, inputs = document.session, document.runs, inputs_of(document.session)
    pairs = [("Session", session.name), ("Status", session.status + (", pinned" if session.pinned else ""))]
    if at is not None:
        pairs.append(("As it was", at))
    if session.task:
        pairs.append(("Task", one_line(" ".join(session.path) or session.task)))
    if session.project:
        pairs.append(("Project", one_line(session.project)))
    if type(inputs) is dict and inputs:
        pairs.append(("Inputs", ", ".join(one_line(f"{key}={setting_text(value)}") for key, value in inputs.items())))
    origins = (("Parent", session.parent), ("Fork of", session.forked_from))
    pairs += [(label, one_line(name)) for label, name in origins if name]
    if not runs:
        return Fields([*pairs, ("Created", times.full(session.created_at))])
    pairs.append(("Started", times.full(runs[0].started_at)))
    if runs[-1].outcome is None and until is not None:
        pairs.append(("Running", f"for {took(runs[-1], 'running', until)}"))
    if session.finished_at is not None:
        pairs.append(("Ended", times.full(session.finished_at)))
    if len(runs) == 1:
        pairs.append(("Run by", run_process(runs[0])))
    if error := runs[-1].error:
        pairs.append(("Error", one_line(error_line(error))))
    return Fields(pairs)


def _hints(document: SessionDocument, holders: Sequence[HeldBy]) -> list[tuple[str, str]]:
    """Say what to do next about a session that did not end well, or whose values such a session holds."""
    name, status = document.session.name, document.session.status
    hints = []
    attempts = (attempt for task in document.tasks for attempt in task.attempts)
    failed_steps = any(task.counts is not None and task.counts.failed for task in document.tasks)
    has_run_error = any(run.error for run in document.runs)
    if failed_steps or has_run_error or any(each.record.error or each.output for each in attempts):
        hints.append(("Log:", f"{program_name()} log {name}"))
    is_halted, is_zrb = status in ("failed", "interrupted", "stale"), bool(document.session.path)
    if is_halted and is_zrb:
        hints.append(("Resume:", f"{zrb_program(program_name())} resume {name}"))
    if status != "completed" and (pending := [one_line(attempt) for attempt in document.pending()]):
        hints.append(
            ("Pending:", f"what {', '.join(pending)} took and pushed is given back when the session is resumed")
        )
    counts = [task.counts for task in document.tasks if task.status != "completed" and task.counts is not None]
    if is_halted and (completed := [each for each in counts if each.standing]):
        again = f", unless with --from {one_line(completed[0].task)}" if is_zrb and len(completed) == 1 else ""
        steps = " and ".join(f"{counted(each.standing, 'step')} of {one_line(each.task)}" for each in completed)
        hints.append(("Steps:", f"{steps} completed and stand: a resume does not run them again{again}"))
    holding = list(dict.fromkeys((each.session, each.step_of) for each in holders if each.step_of is not None))
    if holding:
        session, task = holding[0]
        more = f" (and {len(holding) - 1} more)" if len(holding) > 1 else ""
        text = (
            f"what completed steps of {one_line(f'{session}/{task}')}{more} hold comes back only if "
            f"{session} is resumed with --from {one_line(str(task))}, or removed"
        )
        hints.append(("Held:", text))
    return hints


def _watch(database: Database, name: str, wanted: _Wanted) -> None:
    """Show the session until it has ended, or until the user has seen enough."""
    blocks: list[Block] = []
    with display() as draw:
        while True:
            with _open(database, name, wanted) as document:
                status = document.session.status
                # In a pipe it is printed again only when something happened, not because time goes by.
                shown = _blocks(document, wanted, with_elapsed=on_terminal())
                blocks = [with_rows_read(block) for block in shown]
            draw(blocks, wanted.full)
            if status in _ENDED:
                break
            pause()
    if on_terminal() and blocks:
        print_document(blocks, full=wanted.full)


@command("trace", "{} 'etl-2026-11-24/load#1'", details="`show` prints the number of each value.")
@click.argument("value_id", metavar="SESSION/QUEUE#SEQ", shell_complete=completion.value_ids)
@click.option("--full", is_flag=True, help="Do not shorten the value.")
@format_option()
def trace_(value_id: str, full: bool, output_format: str) -> None:
    from zrb_store.inspect.trace import trace  # late: `show` needs none of it

    session, queue, seq = split_id(value_id)
    with session_names.open_for_reading() as database, noting_damage() as damage:
        name = session_names.resolve(database, session).name
        history = trace(database, name, queue, seq, damage)
    if output_format == "json":
        echo_json(history.to_json())
    elif output_format == "jsonl":
        for event in history.events:
            echo_json(event.to_json(), one_line=True)
    elif output_format == "value":
        echo_value(history.value.content)
    else:
        print_document(_trace_blocks(history, full), full=full)


def _trace_blocks(history: Trace, full: bool) -> Iterator[Block]:
    value, times = history.value, TimeFormat()
    text = preview(value.content, full=full)
    fields = [
        ("Value", one_line(value.id)),
        ("State", fate(value, times)),
        ("Type", f"{one_line(value.record.type)}, {size(value.record.size)}"),
        ("Content", text if full or len(text) <= _SHOWN_LENGTH else f"{text[:_SHOWN_LENGTH]}..."),
    ]
    yield Fields(fields, frozenset({"State"}))
    columns = (Column("at", words=True), Column("event", status=True), Column("by", fold=True), Column("note"))
    rows = [[times.exact(event.at), event.event, one_line(_by(event)), _note(event)] for event in history.events]
    yield Table(columns, rows)


def _by(event: Event) -> str:
    """Name the attempt of an event; of a step, with its name: `load/3#1 (page 3)`; or who did it from a shell."""
    if by_hand := event.pushed_from or event.popped_by:
        return process(by_hand)
    by = event.by or NOTHING
    return by if event.step is None else f"{by} ({event.step})"


def _note(event: Event) -> str:
    verb = {"pushed": "continues ", "moved": "continued as "}.get(event.event, "")
    other_value = None if event.value is None else f"{verb}{event.value}"
    return one_line(", ".join(part for part in (other_value, event.reason) if part))
