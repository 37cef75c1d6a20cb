"""`trace`: the life of one value."""

from __future__ import annotations

from typing import Any

import click

from zrb_store.cli.command import command, format_option
from zrb_store.cli.notes import noting
from zrb_store.cli.one_value import fate
from zrb_store.cli.output import Column, Facts, Table, bare, echo_bare, echo_json, show
from zrb_store.cli.words import NOTHING, Clock, preview, size
from zrb_store.names import split_id
from zrb_store.printing import one_line
from zrb_store.reading import stories
from zrb_store.reading.names import resolve
from zrb_store.store import open_store


@command("trace", "{} 'etl-2026-11-24/load#1'", details="`show` prints the number of each value.")
@click.argument("value", metavar="SESSION/QUEUE#SEQ")
@click.option("--full", is_flag=True, help="The value whole.")
@format_option()
def trace(value: str, full: bool, form: str) -> None:
    session, queue, seq = split_id(value)
    with open_store(read_only=True) as store, noting() as damage:
        told = stories.trace(store, resolve(store, session).name, queue, seq, damage)
    if form == "json":
        echo_json(told)
    elif form == "jsonl":
        for event in told["events"]:
            echo_json(event, one_line=True)
    elif form == "value":
        echo_bare(bare(told["value"]["value"]))
    else:
        _print(told, full)


def _print(told: dict[str, Any], full: bool) -> None:
    value, clock = told["value"], Clock()
    columns = (Column("at"), Column("event", status=True), Column("by", fold=True), Column("note"))
    rows = [
        [clock.exact(event["at"]), event["event"], one_line(event["by"] or NOTHING), _note(event)]
        for event in told["events"]
    ]
    shown = preview(value["value"], full=full)
    show(
        [
            Facts(
                [
                    ("Value", one_line(value["id"])),
                    ("State", fate(value)),
                    ("Type", f"{one_line(value['type'])}, {size(value['size'])}"),
                    ("Holds", shown if full or len(shown) <= _HOLDS else f"{shown[:_HOLDS]}..."),
                ],
                frozenset({"State"}),
            ),
            Table(columns, rows),
        ],
        full=full,
    )


_HOLDS = 240


def _note(event: dict[str, Any]) -> str:
    verb = {"pushed": "continues ", "moved": "goes on as "}.get(event["event"], "")
    other = None if event["value"] is None else f"{verb}{event['value']}"
    return one_line(", ".join(part for part in (other, event["reason"]) if part))


COMMANDS = {"trace": trace}
