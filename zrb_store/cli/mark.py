"""`mark`: a step mended by hand."""

from __future__ import annotations

import click

from zrb_store import codec
from zrb_store.cli import output
from zrb_store.cli.command import command, program
from zrb_store.cli.queues import parse_json
from zrb_store.names import nearest
from zrb_store.operations.mark import mark_completed
from zrb_store.printing import printable
from zrb_store.reading import names
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
        item = None if result is None else codec.encode(value, limit=store.max_value)
        name = names.resolve(store, session, exact=True).name
        marked = mark_completed(store.database, name, task, item)
    output.echo(f"{name}/{marked.attempt}")
    if marked.others:
        hint = nearest(task, marked.others)
        click.echo(printable(f"{program()}: session {name} had no task {task} until now{hint}"), err=True)


COMMANDS = {"mark": mark}
