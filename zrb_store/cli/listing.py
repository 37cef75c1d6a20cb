"""`list`: sessions at a glance."""

from __future__ import annotations

from datetime import timedelta
from pathlib import PurePath

import click

from zrb_store.cli.command import command, duration_text, format_option, whole_number
from zrb_store.cli.output import Column, Lines, Table, echo, echo_json, show
from zrb_store.cli.words import NOTHING, Clock, iso_of, took
from zrb_store.printing import one_line
from zrb_store.reading.history import header
from zrb_store.reading.listing import STATUSES, Listed, listed
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
    with open_store(read_only=True) as store:
        found = listed(
            store,
            statuses=None if status is None else [status],
            task=task,
            since=since,
            limit=limit + 1 if limit else None,
        )
    more, found = (len(found) > limit, found[:limit]) if limit else (False, found)
    if form == "json":
        echo_json([header(one.session) for one in found])
    elif form == "jsonl":
        for one in found:
            echo_json(header(one.session), one_line=True)
    elif form == "value":
        for one in found:
            echo(one.session.name)
    elif not found:
        show([Lines(["no sessions" if status or task or since else "no sessions yet"])])
    else:
        clock = Clock()
        table = Table(_COLUMNS, [_row(one, clock) for one in found])
        hint = [Lines([f"There are older ones: --limit {limit * 10}, or --limit 0 for all."])] if more else []
        show([table, *hint])


def _row(one: Listed, clock: Clock) -> list[str]:
    session, owner = one.session, one.owner
    started = one.runs[0].started_at if one.runs else session.created_at
    return [
        session.name,
        one_line(PurePath(session.project).name or session.project) if session.project else NOTHING,
        one_line(session.task) if session.task else NOTHING,
        session.status,
        clock.short(iso_of(started)),
        took(one.took if session.status != "stale" else None),
        f"{one.completed}/{one.tasks}" if one.tasks else NOTHING,
        one_line(f"{owner.pid}@{owner.host}") if owner else NOTHING,
    ]


COMMANDS = {"list": list_}
