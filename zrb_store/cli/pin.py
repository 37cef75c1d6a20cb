"""`pin` and `unpin`: sessions that are not deleted."""

from __future__ import annotations

import click

from zrb_store.cli import completion
from zrb_store.cli.command import command
from zrb_store.cli.session_arguments import sessions_to_change
from zrb_store.operations.pin import pin as pin_sessions
from zrb_store.store import open_store


@command("pin", "{} etl-2026-11-24")
@click.argument("sessions", metavar="SESSION...", nargs=-1, required=True, shell_complete=completion.sessions_to_change)
def pin(sessions: tuple[str, ...]) -> None:
    _set_pinned(sessions, True)


@command("unpin", "{} etl-2026-11-24")
@click.argument("sessions", metavar="SESSION...", nargs=-1, required=True, shell_complete=completion.sessions_to_change)
def unpin(sessions: tuple[str, ...]) -> None:
    _set_pinned(sessions, False)


def _set_pinned(sessions: tuple[str, ...], pinned: bool) -> None:
    with open_store() as store:
        pin_sessions(store.database, *sessions_to_change(store.database, sessions), pinned=pinned)
