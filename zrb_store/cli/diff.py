"""`diff`: where the values of two sessions differ."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import click

from zrb_store.cli.command import command, format_option
from zrb_store.cli.output import Block, Column, Facts, Lines, Table, echo, echo_json, show
from zrb_store.cli.words import NOTHING, beginning, preview
from zrb_store.printing import printable
from zrb_store.reading import stories
from zrb_store.reading.lazy import Lazy
from zrb_store.reading.names import resolve
from zrb_store.store import open_store


@command(
    "diff",
    "{} etl-2026-11-23 etl-2026-11-24",
    details="Compared are the values that stand, live or taken, in the order of each queue: $.load[0].total is a part "
    "of the first value of queue load. Exit 1 if the sessions differ.",
)
@click.argument("a", metavar="SESSION_A")
@click.argument("b", metavar="SESSION_B")
@click.option("--full", is_flag=True, help="Values whole, not cut to the width.")
@format_option()
def diff(a: str, b: str, full: bool, form: str) -> int:
    with (
        open_store(read_only=True) as store,
        stories.diff(store, resolve(store, a).name, resolve(store, b).name) as told,
    ):
        found = _Counted(told["differences"])
        if form == "json":
            echo_json({**told, "differences": found})
        elif form == "table":
            show(_blocks(told, found, full), full=full)
        for difference in found:
            if form == "jsonl":
                echo_json(difference, one_line=True)
            elif form == "value":
                echo(printable(difference["path"]))
    return 1 if found.count else 0


class _Counted(Iterator[dict[str, Any]]):
    """Counts what it gives."""

    def __init__(self, items: Iterator[dict[str, Any]]) -> None:
        self._items = items
        self.count = 0

    def __next__(self) -> dict[str, Any]:
        item = next(self._items)
        self.count += 1
        return item


def _blocks(told: dict[str, Any], found: Iterator[dict[str, Any]], full: bool) -> Iterator[Block]:
    yield Facts([("A", told["a"]), ("B", told["b"])])
    first = next(found, None)
    if first is None:
        yield Lines(["Their values are equal."])
        return
    columns = (Column("path", fold=True), Column("a", cut=True), Column("b", cut=True))
    rows = (
        [
            printable(one["path"]),
            NOTHING if one["kind"] == "only_b" else _cell(one["a"], full),
            NOTHING if one["kind"] == "only_a" else _cell(one["b"], full),
        ]
        for one in itertools.chain([first], found)
    )
    yield Table(columns, rows)


def _cell(part: Any, full: bool) -> str:
    """A part of a value; of a queue that only one session has, as much as may be shown."""
    if isinstance(part, Lazy):
        part = list(part) if full else beginning(part)
    return preview(part, full=full)


COMMANDS = {"diff": diff}
