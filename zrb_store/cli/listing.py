"""`list`: sessions at a glance."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from datetime import timedelta
from pathlib import PurePath
from typing import Any

import click

from zrb_store.cli.command import command, duration_text, format_option, whole_number
from zrb_store.cli.notes import noting
from zrb_store.cli.output import Block, Column, Lines, Table, echo, echo_json, show
from zrb_store.cli.words import NOTHING, Clock, iso_of, took
from zrb_store.printing import one_line
from zrb_store.reading.damage import Damage
from zrb_store.reading.listing import STATUSES, Listed, look
from zrb_store.reading.shapes import header
from zrb_store.store import open_store

_COLUMNS = (
    Column("name", fold=True),
    Column("project", fold=True),
    Column("task", fold=True),
    Column("status", status=True),
    Column("started"),
    Column("took", right=True),
    Column("tasks", right=True),
    Column("owner"),
)


def _count(text: str) -> int:
    count = whole_number(text)
    if count < 0:
        raise click.BadParameter(f"{count} is less than 0")
    return count


@command("list", "{} --status failed --since 2d", "{} --task load --format value | head -n 1")
@click.option("--status", type=click.Choice(STATUSES), help="Only sessions of this status.")
@click.option("--task", metavar="NAME", help="Only sessions of this main task.")
@click.option("--since", type=duration_text, metavar="LENGTH", help="Created at most so long ago, e.g. 90m, 26h, 2d.")
@click.option("--limit", type=_count, default="50", metavar="N", show_default=True, help="How many at most; 0 for all.")
@format_option()
def list_(status: str | None, task: str | None, since: timedelta | None, limit: int, form: str) -> None:
    conditions: dict[str, Any] = {"statuses": None if status is None else [status], "task": task, "since": since}
    with (
        open_store(read_only=True) as store,
        noting() as damage,
        look(store, **conditions, limit=limit + 1 if limit else None) as found,
    ):
        shown = itertools.islice(found, limit or None)
        if form == "json":
            echo_json(header(one.session, damage) for one in shown)
        elif form == "table":
            nothing = "no sessions" if status or task or since else "no sessions yet"
            show(_blocks(shown, nothing, damage))
            if limit and next(found, None) is not None:
                show([Lines(["", f"There are older ones: --limit {limit * 10}, or --limit 0 for all."])])
        for one in shown:
            if form == "jsonl":
                echo_json(header(one.session, damage), one_line=True)
            elif form == "value":
                echo(one_line(one.session.name))


def _blocks(shown: Iterator[Listed], nothing: str, damage: Damage) -> Iterator[Block]:
    clock = Clock()
    first = next(shown, None)
    if first is None:
        yield Lines([nothing])
    else:
        yield Table(_COLUMNS, (_row(one, clock, damage) for one in itertools.chain([first], shown)))


def _row(one: Listed, clock: Clock, damage: Damage) -> list[str]:
    session, owner = one.session, one.owner
    damage.note(f"session {session.name}", session.damage)
    for run in one.runs:
        damage.note(f"run {run.number} of session {session.name}", run.damage)
    started = one.runs[0].started_at if one.runs else session.created_at
    return [
        one_line(session.name),
        one_line(PurePath(session.project).name or session.project) if session.project else NOTHING,
        one_line(session.task) if session.task else NOTHING,
        session.status,
        clock.short(iso_of(started)),
        took(one.took if session.status != "stale" else None),
        f"{one.completed}/{one.tasks}" if one.tasks else NOTHING,
        one_line(f"{owner.pid}@{owner.host}") if owner else NOTHING,
    ]


COMMANDS = {"list": list_}
