"""`rm`: delete sessions."""

from __future__ import annotations

import click

from zrb_store.cli.command import command
from zrb_store.cli.session_arguments import sessions_to_change
from zrb_store.operations.rm import remove_sessions
from zrb_store.store import open_store


@command(
    "rm",
    "{} etl-2026-11-24",
    "{} test-1 test-2",
    details="What unfinished attempts and steps of a session took from queues of other sessions is given back first. "
    "If one of the sessions is being run or is pinned, none is deleted.",
)
@click.argument("sessions", metavar="SESSION...", nargs=-1, required=True)
def rm(sessions: tuple[str, ...]) -> None:
    with open_store() as store:
        remove_sessions(store.database, *sessions_to_change(store.database, sessions))
