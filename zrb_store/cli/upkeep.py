"""`rm`, `pin`, `unpin`, `prune`: what is kept and what goes."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterator
from datetime import timedelta

import click

from zrb_store.cli import output
from zrb_store.cli.command import command, duration_text, format_option
from zrb_store.cli.notes import noting
from zrb_store.operations import removal
from zrb_store.operations.prune import Policy, Removal
from zrb_store.operations.prune import prune as prune_store
from zrb_store.reading import names
from zrb_store.store import Store, open_store

_STATUSES = ("open", "stale", "completed", "failed", "interrupted")


@command(
    "rm",
    "{} etl-2026-11-24",
    "{} test-1 test-2",
    details="What unfinished attempts of a session took from queues of other sessions is given back first. "
    "If one of them is being run or is pinned, none is deleted.",
)
@click.argument("sessions", metavar="SESSION...", nargs=-1, required=True)
def rm(sessions: tuple[str, ...]) -> None:
    with open_store() as store:
        removal.remove(store.database, *_named(store, sessions))


@command("pin", "{} etl-2026-11-24", details="`rm` and `prune` leave a pinned session alone.")
@click.argument("sessions", metavar="SESSION...", nargs=-1, required=True)
def pin(sessions: tuple[str, ...]) -> None:
    _pin(sessions, True)


@command("unpin", "{} etl-2026-11-24")
@click.argument("sessions", metavar="SESSION...", nargs=-1, required=True)
def unpin(sessions: tuple[str, ...]) -> None:
    _pin(sessions, False)


def _pin(sessions: tuple[str, ...], pinned: bool) -> None:
    with open_store() as store:
        removal.pin(store.database, *_named(store, sessions), pinned=pinned)


def _named(store: Store, sessions: tuple[str, ...]) -> list[str]:
    return list(dict.fromkeys(names.resolve(store, text, exact=True).name for text in sessions))


@command(
    "prune",
    "{} --older-than 30d --keep-last 20 --dry-run",
    "{} --older-than 1w --status completed",
    details="Deletes the sessions to which every given condition applies, and says by which rule each goes. One that "
    "is being run or is pinned never goes. An open one, without a run, never goes whole: it loses the values that left "
    "its queues longer ago than --older-than. ZRB_STORE_RETENTION=30d,keep=20 does the same after a run, once a day.\n"
    "\n"
    "--keep-last 20 keeps, of each task in each project, the last 20 sessions and also the last 20 that completed: no "
    "number of failures drives out the last results. The last ones are those that ended last. One whose main task was "
    "skipped left no result, and does not count as completed.",
)
@click.option("--older-than", type=duration_text, metavar="LENGTH", help="Only what ended so long ago, e.g. 30d.")
@click.option(
    "--keep-last",
    metavar="N",
    type=click.IntRange(0, 10**9),
    help="Keep the last N sessions of each task, and the last N that completed.",
)
@click.option("--status", "statuses", multiple=True, type=click.Choice(_STATUSES), help="Only sessions of this status.")
@click.option("--dry-run", is_flag=True, help="Delete nothing, say what would go.")
@format_option(choices=("table", "json"))
def prune(
    older_than: timedelta | None, keep_last: int | None, statuses: tuple[str, ...], dry_run: bool, form: str
) -> None:
    policy = Policy(older_than, keep_last, statuses)
    with open_store(read_only=dry_run) as store, noting("left alone, since they are damaged") as damage:
        gone = prune_store(store.database, policy, dry_run=dry_run, damage=damage)
        try:
            _tell(gone, form, "Would go" if dry_run else "Gone")
        except click.exceptions.Exit:  # the reader has seen enough; the rest goes all the same
            deque(gone, maxlen=0)


def _tell(gone: Iterator[Removal], form: str, title: str) -> None:
    """Print as it goes: there may be a million."""
    if form == "json":
        output.echo_json({"session": item.session, "values": item.values, "rule": item.rule} for item in gone)
        return
    columns = [output.Column(heading) for heading in ("Session", title, "Rule")]
    rows = ((item.session, _what(item), item.rule) for item in gone)
    if first := next(rows, None):
        output.show([output.Table(columns, itertools.chain([first], rows))])


def _what(item: Removal) -> str:
    if item.values is None:
        return "all"
    return f"{item.values} value" + ("" if item.values == 1 else "s")


COMMANDS = {"rm": rm, "pin": pin, "unpin": unpin, "prune": prune}
