"""`mark`: a task that was completed by hand."""

from __future__ import annotations

import click

from zrb_store import codec
from zrb_store.cli import completion
from zrb_store.cli.command import command
from zrb_store.cli.json_argument import parse_json
from zrb_store.inspect import session_names
from zrb_store.names import nearest
from zrb_store.operations.mark import mark as mark_completed
from zrb_store.operations.mark import mark_step
from zrb_store.render import printing
from zrb_store.render.messages import program_name
from zrb_store.safe_text import printable
from zrb_store.store import open_store


@command(
    "mark",
    "{} etl-2026-11-24 load completed",
    "{} etl-2026-11-24 load completed --result '{\"rows\": 12}'",
    "{} etl-2026-11-24 pay --step charge completed --result '\"receipt 7\"'",
    "{} etl-2026-11-24 pay --step charge failed",
    details="No run starts TASK again. It is recorded as a manual attempt, with user and host; what its unfinished "
    "attempts did to queues is given back. Refused while the session is being run. Prints the attempt.\n\n"
    "With --step, a step of TASK has completed and is not run again, or has failed and runs again, also if it was "
    "declared `once` and its end was unknown.",
)
@click.argument("session", shell_complete=completion.sessions_to_change)
@click.argument("task", shell_complete=completion.tasks)
@click.argument("status", type=click.Choice(["completed", "failed"]))
@click.option(
    "--step", metavar="STEP", shell_complete=completion.steps, help="Name of a step of TASK, or its id, TASK/NUMBER."
)
@click.option("--new", is_flag=True, help="TASK of a Python program, whose tasks are not listed, has not begun yet.")
@click.option(
    "--result",
    metavar="JSON",
    help="Pushed to the queue of the task's name, as its return value, or the step's result.",
)
def mark(session: str, task: str, status: str, step: str | None, new: bool, result: str | None) -> None:
    if status == "failed" and step is None:
        raise click.UsageError("only a step can be marked as failed: add --step STEP")
    if status == "failed" and result is not None:
        raise click.UsageError("a step that failed has no result: leave --result out")
    if new and step is not None:
        raise click.UsageError("--new is for tasks: a new step is marked without it")
    value = None if result is None else parse_json(result, "--result")
    with open_store() as store:
        encoded = None if result is None else codec.encode(value, limit=store.max_value)
        name = session_names.resolve(store.database, session, exact=True).name
        if step is None:
            manual = mark_completed(store.database, name, task, encoded, new=new)
        else:
            done = status == "completed"
            manual = mark_step(store.database, name, task, step, completed=done, result=encoded)
    printing.echo(f"{name}/{manual.attempt}")
    if step is not None and manual.others is not None:
        what = f"task {task} of session {name} had no step {step} until now{nearest(step, manual.others)}"
        click.echo(printable(f"{program_name()}: {what}"), err=True)
