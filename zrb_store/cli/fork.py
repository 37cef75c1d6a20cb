"""`fork`: a copy of a session, to be run from a task or a step on."""

from __future__ import annotations

import click

from zrb_store.cli import completion
from zrb_store.cli.command import command
from zrb_store.inspect import session_names
from zrb_store.operations.fork import fork as fork_session
from zrb_store.render import printing
from zrb_store.store import open_store


@command(
    "fork",
    "{} etl-2026-11-24 --from load",
    "{} etl-2026-11-24 --from load --name try-again",
    "{} etl-2026-11-24 --from load --step 'page 57'",
    details="The new session has the task and inputs of SESSION, the tasks that had completed before TASK first "
    "started, with their results, and the queues of that moment. It stands alone; `resume` runs it. Prints its name."
    "\n\nWith --step, that is the moment before STEP first started, and the steps of TASK that had completed by then "
    "are copied too. What is not copied is done again, steps that were declared `once` too.",
)
@click.argument("session", shell_complete=completion.sessions_to_change)
@click.option(
    "--from",
    "from_task",
    metavar="TASK",
    required=True,
    shell_complete=completion.tasks,
    help="The first task to run again.",
)
@click.option(
    "--step",
    "from_step",
    metavar="STEP",
    shell_complete=completion.steps,
    help="The first step of TASK to run again: its name, or TASK/NUMBER.",
)
@click.option("--name", help="Name of the new session.  [default: SESSION-fork, or the next free number]")
def fork(session: str, from_task: str, from_step: str | None, name: str | None) -> None:
    with open_store() as store:
        source = session_names.resolve(store.database, session, exact=True)
        printing.echo(fork_session(store.database, source.name, from_task, name, from_step=from_step))
