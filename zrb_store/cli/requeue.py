"""`requeue`: make dead values live again."""

from __future__ import annotations

import click

from zrb_store.cli import completion
from zrb_store.cli.command import command
from zrb_store.inspect import session_names
from zrb_store.names import full_name, split_id
from zrb_store.operations.requeue import requeue as requeue_values
from zrb_store.operations.requeue import requeue_all
from zrb_store.render.format import counted
from zrb_store.render.messages import program_name
from zrb_store.safe_text import printable
from zrb_store.store import open_store


@command(
    "requeue",
    "{} 'inbox/files#7' 'inbox/files#9'",
    "{} inbox files --all-dead",
    details="Each value returns to its old place in the queue, and its deliveries count anew. If one of them is not "
    "dead, none is requeued. User and host are recorded. `doctor` tells which queues have dead values, "
    "`show SESSION QUEUE --dead` shows them.",
)
@click.argument(
    "values", metavar="VALUE...|SESSION QUEUE", nargs=-1, required=True, shell_complete=completion.dead_values
)
@click.option("--all-dead", is_flag=True, help="All dead values of QUEUE.")
def requeue(values: tuple[str, ...], all_dead: bool) -> None:
    if all_dead and len(values) != 2:
        raise click.UsageError("--all-dead takes SESSION and QUEUE")
    if not all_dead and not all("#" in value for value in values):
        raise click.UsageError("name values as SESSION/QUEUE#SEQ, or add --all-dead to SESSION and QUEUE")
    # Checked before the store is opened, which would create a missing one.
    ids = [] if all_dead else [split_id(value) for value in values]
    with open_store() as store:
        if all_dead:
            session, queue = values
            name = session_names.resolve(store.database, session, exact=True).name
            count = requeue_all(store.database, name, queue)
        else:
            names = {full_name(session_names.session_name(session), queue, seq) for session, queue, seq in ids}
            requeue_values(store.database, sorted(names))
            count = len(names)
    click.echo(printable(f"{program_name()}: requeued {counted(count, 'value')}"), err=True)
