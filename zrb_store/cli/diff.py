"""`diff`: where the values of two sessions differ."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace

import click

from zrb_store.cli import completion
from zrb_store.cli.arguments import format_option
from zrb_store.cli.command import command
from zrb_store.inspect import session_names
from zrb_store.inspect.diff import Comparison
from zrb_store.inspect.diff import diff as compare_sessions
from zrb_store.masking import printable
from zrb_store.render.document import Block, Column, Fields, Table
from zrb_store.render.format import NOTHING, preview
from zrb_store.render.printing import echo, echo_json, print_document


@command(
    "diff",
    "{} etl-2026-11-23 etl-2026-11-24",
    details="Compares the live and taken values of each queue, in order: $.load[0].total is a part of the first value "
    "of queue load. Also compares the results of completed steps, by name: $.load.steps.fetch.total; and what agents "
    "said: $.triage.conversation[3].text. Exits 1 if the sessions differ.",
)
@click.argument("a", metavar="SESSION_A", shell_complete=completion.sessions)
@click.argument("b", metavar="SESSION_B", shell_complete=completion.sessions)
@click.option("--full", is_flag=True, help="Do not shorten values.")
@format_option()
def diff(a: str, b: str, full: bool, output_format: str) -> int:
    with session_names.open_for_reading() as database:
        names = [session_names.resolve(database, text).name for text in (a, b)]
        with compare_sessions(database, *names) as comparison:
            first = next(comparison.differences, None)
            differences = comparison.differences if first is None else itertools.chain([first], comparison.differences)
            comparison = replace(comparison, differences=differences)
            if output_format == "json":
                echo_json(comparison.to_json())
            elif output_format == "table":
                print_document(_blocks(comparison, full), full=full)
            for difference in differences:
                if output_format == "jsonl":
                    echo_json(difference._asdict(), one_line=True)
                elif output_format == "value":
                    echo(printable(difference.path))
    return 0 if first is None else 1


def _blocks(comparison: Comparison, full: bool) -> Iterator[Block]:
    yield Fields([("A", comparison.a), ("B", comparison.b)])
    columns = (Column("path", fold=True), Column("a", cut=True), Column("b", cut=True))
    rows = (
        [
            printable(difference.path),
            NOTHING if difference.kind == "only_b" else preview(difference.a, full=full),
            NOTHING if difference.kind == "only_a" else preview(difference.b, full=full),
        ]
        for difference in comparison.differences
    )
    yield Table(columns, rows, otherwise="Their values are equal.")
