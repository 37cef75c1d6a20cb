"""`diff`: where the values of two sessions differ."""

from __future__ import annotations

from typing import Any

import click

from zrb_store.cli.command import command, format_option
from zrb_store.cli.output import Column, Facts, Lines, Table, echo, echo_json, show
from zrb_store.cli.words import NOTHING, preview
from zrb_store.printing import printable
from zrb_store.reading import stories
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
    with open_store(read_only=True) as store:
        told = stories.diff(store, resolve(store, a).name, resolve(store, b).name)
    found = told["differences"]
    if form == "json":
        echo_json(told)
    elif form == "jsonl":
        for difference in found:
            echo_json(difference, one_line=True)
    elif form == "value":
        for difference in found:
            echo(printable(difference["path"]))
    else:
        _print(told, full)
    return 1 if found else 0


def _print(told: dict[str, Any], full: bool) -> None:
    head = Facts([("A", told["a"]), ("B", told["b"])])
    if not told["differences"]:
        show([head, Lines(["Their values are equal."])])
        return
    columns = (Column("path", fold=True), Column("a", cut=True), Column("b", cut=True))
    rows = [
        [
            printable(one["path"]),
            NOTHING if one["kind"] == "only_b" else preview(one["a"], full=full),
            NOTHING if one["kind"] == "only_a" else preview(one["b"], full=full),
        ]
        for one in told["differences"]
    ]
    show([head, Table(columns, rows)], full=full)


COMMANDS = {"diff": diff}
