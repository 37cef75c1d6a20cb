"""`rm`: delete sessions."""

from __future__ import annotations

from collections import deque

import click

from zrb_store.cli import completion
from zrb_store.cli.command import command
from zrb_store.cli.session_arguments import sessions_to_change
from zrb_store.name_pattern import NamePattern
from zrb_store.operations.rm import check_removable, remove_matching, remove_sessions
from zrb_store.render.printing import echo
from zrb_store.store import open_store


@command(
    "rm",
    "{} etl-2026-11-24",
    "{} test-1 test-2",
    "{} --match 'test-*' --dry-run",
    details="What unfinished attempts and steps of a session took from queues of other sessions is given back first. "
    "If one of the sessions is being run or is pinned, none is deleted.\n"
    "\n"
    "--match takes every session whose name matches, and prints each name as it deletes it, after it has found that "
    "none is being run or is pinned. PATTERN is one of a shell, so put it in quotes: * stands for any text, ? for one "
    "character, [abc] for one of these, [!abc] for one of all others. Nothing asks whether you are sure: --dry-run "
    "prints the same names, or the same refusal, and deletes nothing.",
)
@click.argument("sessions", metavar="SESSION...", nargs=-1, shell_complete=completion.sessions_to_change)
@click.option("--match", "pattern", metavar="PATTERN", help="Every session whose name matches, e.g. 'test-*'.")
@click.option("--dry-run", is_flag=True, help="Delete nothing, print what would be deleted.")
def rm(sessions: tuple[str, ...], pattern: str | None, dry_run: bool) -> None:
    if bool(sessions) == (pattern is not None):
        raise click.UsageError("name the sessions, or give --match PATTERN, but not both")
    with open_store(read_only=dry_run) as store:
        if pattern is not None:
            names = remove_matching(store.database, NamePattern(pattern), dry_run=dry_run)
            try:
                for name in names:
                    echo(name)
            except click.exceptions.Exit:  # the reader has seen enough, but the rest is deleted all the same
                deque(names, maxlen=0)
            return
        chosen = sessions_to_change(store.database, sessions)
        if not dry_run:
            remove_sessions(store.database, *chosen)
            return
        check_removable(store.database, chosen)
        for name in chosen:
            echo(name)
