"""`trace`: the history of one value."""

from __future__ import annotations

from collections.abc import Iterator

import click

from zrb_store.cli import completion
from zrb_store.cli.command import command, format_option
from zrb_store.inspect import session_names
from zrb_store.inspect.trace import Event, Trace
from zrb_store.inspect.trace import trace as read_trace
from zrb_store.names import split_id
from zrb_store.render.document import Block, Column, Fields, Table
from zrb_store.render.format import NOTHING, TimeFormat, preview, process, size
from zrb_store.render.printing import echo_json, echo_value, noting_damage, print_document
from zrb_store.render.values import fate
from zrb_store.safe_text import one_line
from zrb_store.store import open_store

_SHOWN_LENGTH = 240  # characters of the value, unless all of it is asked for


@command("trace", "{} 'etl-2026-11-24/load#1'", details="`show` prints the number of each value.")
@click.argument("value_id", metavar="SESSION/QUEUE#SEQ", shell_complete=completion.value_ids)
@click.option("--full", is_flag=True, help="Do not shorten the value.")
@format_option()
def trace(value_id: str, full: bool, output_format: str) -> None:
    session, queue, seq = split_id(value_id)
    with open_store(read_only=True) as store, noting_damage() as damage:
        name = session_names.resolve(store.database, session).name
        history = read_trace(store.database, name, queue, seq, damage)
    if output_format == "json":
        echo_json(history.to_json())
    elif output_format == "jsonl":
        for event in history.events:
            echo_json(event.to_json(), one_line=True)
    elif output_format == "value":
        echo_value(history.value.content)
    else:
        print_document(_blocks(history, full), full=full)


def _blocks(history: Trace, full: bool) -> Iterator[Block]:
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
