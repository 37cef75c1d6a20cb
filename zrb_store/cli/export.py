"""`export`: sessions to JSON Lines."""

from __future__ import annotations

import click

from zrb_store.cli import completion
from zrb_store.cli.command import command
from zrb_store.cli.session_arguments import chosen_sessions
from zrb_store.operations.export import export as export_lines
from zrb_store.render import printing
from zrb_store.render.printing import noting_damage
from zrb_store.store import open_store


@command(
    "export",
    "{} > sessions.jsonl",
    "{} etl-2026-11-24 | ssh there zrb-store import",
    details="Writes all sessions, or those named, as they were at one moment: everything that the store knows of them. "
    "Each line has a hash over itself and the lines before it. A damaged session, which `import` would refuse, is left "
    "out and named on stderr; then the command exits 1.",
)
@click.argument("sessions", metavar="[SESSION]...", nargs=-1, shell_complete=completion.sessions)
def export(sessions: tuple[str, ...]) -> int:
    with open_store(read_only=True) as store, noting_damage("left out, since they are damaged") as damage:
        for line in export_lines(store.database, chosen_sessions(store.database, sessions), damage):
            printing.echo(line)
    return 1 if damage else 0
