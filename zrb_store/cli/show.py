"""`show`: one session with everything in it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from time import sleep
from typing import Any, TypeVar

import click

from zrb_store.cli import completion
from zrb_store.cli.arguments import format_option, refuse_usage, session_argument
from zrb_store.cli.command import command
from zrb_store.inspect import session_names
from zrb_store.inspect.show import SessionDocument, open_session
from zrb_store.queries.history import Only
from zrb_store.render.document import laid_out, on_terminal
from zrb_store.render.printing import (
    display,
    echo_json,
    echo_records,
    echo_value,
    noting_damage,
    print_document,
)
from zrb_store.render.session import Look, SessionPrinter
from zrb_store.wings import load, views

_FEW_VALUES = 20  # a queue with more is not shown whole unless that is asked for
_INTERVAL = 1.0  # seconds between two looks at what is watched
_ENDED = ("completed", "failed", "interrupted", "stale", "waiting")
_FORMATS = ("table", "json", "jsonl", "value")
_VIEWS = views()

Function = TypeVar("Function", bound=Callable[..., Any])


def _view_options(function: Function) -> Function:
    """Add an option for each view that a wing adds."""
    for view in reversed(_VIEWS):
        function = click.option(f"--{view.name}", is_flag=True, help=view.purpose)(function)
    return function


@command(
    "show",
    "{} etl-2026-11-24",
    "{} @last-failed load --live",
    "{} etl-2026-11-24 --at before:load#2",
    "{} @last --watch",
    "{} @last --timeline --steps",
    details="SESSION is a full name, the unique beginning of one, @last, @last-failed, or @this in a task. MOMENT "
    "is before:TASK#N (just before that attempt starts), after:TASK#N, or a time as printed: 2026-11-24T03:12:45 "
    "(local unless Z, an offset or the name of the local zone follows), 11-24 03:12:45 (in the year of the "
    "session's start) or 03:12:45 (on that day). A time means the end of its last unit: everything printed with "
    "this time has happened.\n\n"
    "Of a queue with more than 20 values, the table has the held and dead ones and the next one to be taken, and "
    "sums up the others; with --at it has the last 20." + "".join(f"\n\n{view.details}" for view in _VIEWS),
)
@session_argument
@click.argument(
    "queue", required=False, metavar="[QUEUE|TASK]" if _VIEWS else "[QUEUE]", shell_complete=completion.queues
)
@click.option("--live", is_flag=True, help="Only values still in their queue.")
@click.option("--dead", is_flag=True, help="Only dead values: their queue allows no more deliveries.")
@click.option("--held", is_flag=True, help="Only values that running attempts hold.")
@click.option("--next", "next_", is_flag=True, help="Only the next value of each queue.")
@click.option("--at", metavar="MOMENT", shell_complete=completion.moments, help="Show the state at this moment.")
@click.option("--all", "every", is_flag=True, help="Show all values and attempts, not only the last ones.")
@click.option("--steps", is_flag=True, help="Show all steps of tasks that have more than 20.")
@click.option("--full", is_flag=True, help="As --all, and show each value in full.")
@click.option("--timeline", is_flag=True, help="Draw the attempts as bars over time; with --steps also the steps.")
@_view_options
@click.option("--watch", is_flag=True, help="Refresh the display until the session has ended.")
@format_option(
    choices=(*_FORMATS, *(view.format for view in _VIEWS)),
    help_text="table (plain text in a pipe), json, jsonl (one line each), value (the values alone)"
    + "".join(f", or {view.format} (of a {view.name})" for view in _VIEWS)
    + ".",
)
def show(
    session: str,
    queue: str | None,
    live: bool,
    dead: bool,
    held: bool,
    next_: bool,
    at: str | None,
    every: bool,
    steps: bool,
    full: bool,
    timeline: bool,
    watch: bool,
    output_format: str,
    **of_views: bool,
) -> None:
    only = _one_of({"live": live, "dead": dead, "held": held, "next": next_})
    is_table = output_format == "table"
    view = next((one for one in _VIEWS if of_views[one.name]), None)
    refuse_usage(
        (at and only in ("held", "next"), f"--{only} shows what is {only} now: leave out --at"),
        (watch and (at or not is_table), "--watch shows the table as it is now: leave out --at and --format"),
        (
            timeline and (queue is not None or only or not is_table),
            "--timeline draws the tasks: leave out QUEUE, --format and what chooses values",
        ),
        *(
            (
                one is view and (only or watch or timeline or steps or output_format == "value"),
                f"--{one.name} takes TASK, --at, --full and --format table, json, jsonl or {one.format}",
            )
            for one in _VIEWS
        ),
        *(
            (output_format == one.format and one is not view, f"--format {one.format} is for --{one.name}")
            for one in _VIEWS
        ),
    )
    task, queue = (queue, None) if view else (None, queue)
    look = Look(queue, only, at, every=every or full, full=full, steps=steps, timeline=timeline)
    last = _FEW_VALUES if is_table and not look.every else None
    asked: Only | None = "notable" if last and only is None and at is None else only
    with session_names.open_for_reading() as database:
        name = session_names.resolve(database, session).name
        open_document = functools.partial(
            open_session, database, name, queue, only=asked, at=at, last=last, whole_errors=full
        )
        if watch:
            _watch(open_document, look)
            return
        with noting_damage(), open_document() as document:
            if view:
                load(view.print)(document, task, output_format, full=full)
            else:
                _print(document, look, output_format)


def _one_of(options: Mapping[Only, bool]) -> Only | None:
    """Return the option that is given, of some that exclude each other."""
    given = [name for name, is_given in options.items() if is_given]
    if len(given) > 1:
        raise click.UsageError(f"--{given[0]} and --{given[1]} exclude each other")
    return given[0] if given else None


def _print(document: SessionDocument, look: Look, output_format: str) -> None:
    if output_format == "json":
        echo_json(document.to_json())
        return
    if output_format == "table":
        print_document(SessionPrinter(document, look).blocks(), full=look.full)
        return
    for queue in document.queues:
        if output_format == "jsonl":
            echo_records((value.to_json() for value in queue.values), output_format)
            continue
        is_live = look.only in (None, "live")
        for content in queue.live if is_live else (value.content for value in queue.values):
            echo_value(content)


def _watch(open_document: Callable[[], AbstractContextManager[SessionDocument]], look: Look) -> None:
    """Show the session until it has ended, or until the user has seen enough."""
    with display() as draw:
        while True:
            with open_document() as document:
                status = document.session.status
                # In a pipe it is printed again only when something happened, not because time goes by.
                blocks = SessionPrinter(document, look, with_elapsed=on_terminal()).blocks()
                lines = list(laid_out(blocks, fits=on_terminal(), full=look.full))
            draw(lines)
            if status in _ENDED:
                break
            sleep(_INTERVAL)
