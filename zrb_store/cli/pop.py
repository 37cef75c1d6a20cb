"""`pop`: a value from a queue to a shell script."""

from __future__ import annotations

import shlex

import click

from zrb_store import codec
from zrb_store.cli import completion
from zrb_store.cli.command import command, format_option, parse_seconds
from zrb_store.errors import ZrbStoreError
from zrb_store.inspect import session_names
from zrb_store.names import full_name
from zrb_store.operations.pop import pop as pop_value
from zrb_store.render import printing
from zrb_store.render.format import as_json
from zrb_store.render.messages import program_name
from zrb_store.store import open_store


@command(
    "pop",
    "{} inbox files",
    "file=$({} inbox files --wait 60)",
    details="Text is printed as it is, anything else as JSON, or on a terminal as `show` has it. If there is no value "
    "it exits 3, and says if there is no such session or queue; --wait waits for these too, since somebody may yet "
    "create them. A damaged value is refused with exit code 1, and stays where it is. Inside a CmdTask the value "
    "belongs to the running attempt: it is given back if that one fails. @this names the attempt's session.",
)
@click.argument("session", shell_complete=completion.sessions_to_change)
@click.argument("queue", shell_complete=completion.queues)
@click.option("--wait", metavar="SECONDS", type=parse_seconds, help="How long to wait for a value.")
@format_option("value", choices=("value", "json"))
def pop(session: str, queue: str, wait: float | None, output_format: str) -> None:
    with open_store() as store:
        name = session_names.session_name(session)
        check = None if output_format == "json" else lambda data: printing.refuse_inexpressible(codec.to_json(data))
        seq, data = pop_value(store.database, name, queue, store.parent_attempt, wait or 0.0, check)
    value = codec.to_json(data)
    try:
        if output_format == "json":
            printing.echo_json(as_json(value))
        else:
            printing.echo_value(value)
        printing.flush()
    except (ZrbStoreError, click.exceptions.Exit):
        what_happened = f"{full_name(name, queue, seq)} was taken, but its reader did not get it"
        get_it = f"{program_name()} get {name} {shlex.quote(queue)} --seq {seq}"
        raise ZrbStoreError(f"{what_happened}: `{get_it}` prints it") from None
