"""`diff`: where the values of two sessions differ."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence

import click

from zrb_store.cli import completion
from zrb_store.cli.arguments import format_option
from zrb_store.cli.command import command
from zrb_store.codec.compare import Difference
from zrb_store.inspect import session_names
from zrb_store.inspect.diff import comparison
from zrb_store.inspect.diff import diff as compare_sessions
from zrb_store.masking import printable
from zrb_store.render.document import Block, Column, Fields, Table
from zrb_store.render.format import NOTHING, preview
from zrb_store.render.printing import echo, echo_json, noting_damage, print_document
from zrb_store.wings import views


@command(
    "diff",
    "{} etl-2026-11-23 etl-2026-11-24",
    details="Compares the live and taken values of each queue, in order: $.load[0].total is a part of the first value "
    "of queue load. Also compares the results of completed steps, by name: $.load.steps.fetch.total"
    + "".join(f"; and {view.compared}" for view in views())
    + ". Exits 1 if the sessions differ.",
)
@click.argument("a", metavar="SESSION_A", shell_complete=completion.sessions)
@click.argument("b", metavar="SESSION_B", shell_complete=completion.sessions)
@click.option("--full", is_flag=True, help="Do not shorten values.")
@format_option()
def diff(a: str, b: str, full: bool, output_format: str) -> int:
    with session_names.open_for_reading() as database:
        names = [session_names.resolve(database, text).name for text in (a, b)]
        with noting_damage() as damage, compare_sessions(database, *names) as differences:
            code = print_differences(names, differences, output_format, full=full)
        return 1 if damage else code


def print_differences(
    names: Sequence[str], differences: Iterator[Difference], output_format: str, *, full: bool
) -> int:
    """Print where two things of these names differ, and return the exit code: 0 if they do not, otherwise 1."""
    first = next(differences, None)
    found = differences if first is None else itertools.chain([first], differences)
    if output_format == "json":
        echo_json(comparison(names, found))
    elif output_format == "table":
        print_document(_blocks(names, found, full), full=full)
    for difference in found:
        if output_format == "jsonl":
            echo_json(difference._asdict(), one_line=True)
        elif output_format == "value":
            echo(printable(difference.path))
    return 0 if first is None else 1


def _blocks(names: Sequence[str], differences: Iterable[Difference], full: bool) -> Iterator[Block]:
    yield Fields([*zip("AB", names, strict=True)])
    columns = (Column("path", fold=True), Column("a", cut=True), Column("b", cut=True))
    rows = (
        [
            printable(difference.path),
            NOTHING if difference.kind == "only_b" else preview(difference.a, full=full),
            NOTHING if difference.kind == "only_a" else preview(difference.b, full=full),
        ]
        for difference in differences
    )
    yield Table(columns, rows, otherwise="Their values are equal.")
