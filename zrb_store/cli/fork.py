"""`fork`: a copy of a session, to be run from a task on."""

from __future__ import annotations

import click

from zrb_store.cli.command import command
from zrb_store.cli.render import output
from zrb_store.inspect import session_names
from zrb_store.operations.fork import fork as fork_session
from zrb_store.store import open_store


@command(
    "fork",
    "{} etl-2026-11-24 --from load",
    "{} etl-2026-11-24 --from load --name try-again",
    details="The new session has the task and inputs of SESSION, the tasks that had completed before TASK first "
    "started, with their results, and the queues of that moment. It stands alone; `resume` runs it. Prints its name.",
)
@click.argument("session")
@click.option("--from", "from_task", metavar="TASK", required=True, help="The first task to run again.")
@click.option("--name", help="Name of the new session.  [default: SESSION-fork, or the next free number]")
def fork(session: str, from_task: str, name: str | None) -> None:
    with open_store() as store:
        source = session_names.resolve(store.database, session, exact=True)
        output.echo(fork_session(store.database, source.name, from_task, name))
