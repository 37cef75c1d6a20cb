"""`import`: sessions from JSON Lines."""

from __future__ import annotations

import contextlib
from pathlib import Path

import click

from zrb_store.cli.command import command
from zrb_store.cli.standard_input import binary_stdin
from zrb_store.operations.transfer import import_sessions
from zrb_store.render import printing
from zrb_store.render.format import counted
from zrb_store.store import open_store


def _renames(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    pairs = [value.partition("=") for value in values]
    for old, equals, new in pairs:
        if not (old and equals and new):
            raise click.BadParameter("give it as OLD=NEW")
    return {old: new for old, _, new in pairs}


@command(
    "import",
    "{} sessions.jsonl",
    "{} sessions.jsonl --rename etl=etl-restored",
    details="FILE is what `export` wrote, stdin by default. Nothing is written if a line is damaged, missing "
    "or invalid (docs/schema/export.json), or if a session with one of these names exists already.",
)
@click.argument("file", default="-", type=click.Path(path_type=str))
@click.option("--rename", metavar="OLD=NEW", multiple=True, callback=_renames, help="Give a session another name.")
def import_(file: str, rename: dict[str, str]) -> None:
    with contextlib.ExitStack() as stack:
        try:
            source = binary_stdin() if file == "-" else stack.enter_context(Path(file).open("rb"))
        except OSError as error:
            raise click.UsageError(f"{file} cannot be read: {error.strerror}") from None
        store = stack.enter_context(open_store())
        count = import_sessions(store.database, source, "stdin" if file == "-" else file, rename)
    printing.echo(counted(count, "session"))
