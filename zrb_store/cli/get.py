"""`get`: one value alone."""

from __future__ import annotations

import click

from zrb_store.cli import completion
from zrb_store.cli.command import command, format_option, parse_whole_number
from zrb_store.inspect import session_names
from zrb_store.inspect.get import get_result, get_value
from zrb_store.render.values import print_value
from zrb_store.store import open_store


@command(
    "get",
    "total=$({} etl-2026-11-24 load --path '$.total')",
    "{} @last load --result --format json",
    "{} etl-2026-11-24 load/3 --result",
    "{} etl-2026-11-24 report --raw > report.pdf",
    details="Prints the newest live value of QUEUE, or exits 3 if there is none. A text, a path, a date or a command's "
    "output is printed as it is, any other value as JSON, or on a terminal as `show` has it. With --raw, the bytes of "
    "a bytes value are written as they are, and text without the newline at its end; what would be JSON has no raw "
    "form, and is refused.",
)
@click.argument("session", shell_complete=completion.sessions)
@click.argument("queue", metavar="QUEUE|TASK", shell_complete=completion.queues)
@click.option(
    "--seq",
    type=parse_whole_number,
    metavar="N",
    shell_complete=completion.seqs,
    help="The value of this number, live or not.",
)
@click.option("--result", is_flag=True, help="The stored result of TASK, taken or not, or of a step TASK/NUMBER.")
@click.option("--path", metavar="PATH", help="Only a part of it, e.g. $.rows[0].name.")
@click.option("--raw", is_flag=True, help="Write exactly the bytes, or the text in UTF-8, and nothing else.")
@format_option("value")
def get(
    session: str, queue: str, seq: int | None, result: bool, path: str | None, raw: bool, output_format: str
) -> None:
    if result and seq is not None:
        raise click.UsageError("--seq and --result exclude each other")
    if raw and output_format != "value":
        raise click.UsageError(f"--raw and --format {output_format} exclude each other")
    with open_store(read_only=True) as store:
        name = session_names.resolve(store.database, session).name
        stored = get_result(store.database, name, queue) if result else get_value(store.database, name, queue, seq)
    print_value(stored, "raw" if raw else output_format, path)
