"""`mark`: a task that was completed by hand."""

from __future__ import annotations

import click

from zrb_store import codec
from zrb_store.cli.command import command
from zrb_store.cli.json_argument import parse_json
from zrb_store.cli.program_name import program_name
from zrb_store.cli.render import output
from zrb_store.inspect import session_names
from zrb_store.names import nearest
from zrb_store.operations.mark import mark as mark_completed
from zrb_store.safe_text import printable
from zrb_store.store import open_store


@command(
    "mark",
    "{} etl-2026-11-24 load completed",
    "{} etl-2026-11-24 load completed --result '{\"rows\": 12}'",
    details="No run starts TASK again. It is recorded as a manual attempt, with user and host; what its unfinished "
    "attempts did to queues is given back. Refused while the session is being run. Prints the attempt.",
)
@click.argument("session")
@click.argument("task")
@click.argument("status", type=click.Choice(["completed"]))
@click.option("--result", metavar="JSON", help="Pushed to the queue of the task's name, as its return value.")
def mark(session: str, task: str, status: str, result: str | None) -> None:
    value = None if result is None else parse_json(result, "--result")
    with open_store() as store:
        encoded = None if result is None else codec.encode(value, limit=store.max_value)
        name = session_names.resolve(store.database, session, exact=True).name
        manual = mark_completed(store.database, name, task, encoded)
    output.echo(f"{name}/{manual.attempt}")
    if manual.others:
        hint = nearest(task, manual.others)
        click.echo(printable(f"{program_name()}: session {name} had no task {task} until now{hint}"), err=True)
