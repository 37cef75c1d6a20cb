"""`copy`: sessions from one store to another."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator

import click

from zrb_store.cli import completion
from zrb_store.cli.command import command
from zrb_store.cli.session_arguments import chosen_sessions
from zrb_store.operations.transfer import copy as copy_sessions
from zrb_store.render import printing
from zrb_store.render.format import counted
from zrb_store.render.printing import noting_damage
from zrb_store.store import open_store


@command(
    "copy",
    "{} ~/.zrb/xcom.db postgresql+psycopg://zrb@db.example/jobs",
    "{} xcom.db backup.db etl-2026-11-24",
    details="Copies all sessions, or those named, as they were at one moment. FROM and TO are file paths or URLs; TO "
    "is created if it does not exist. Nothing is written if TO already has a session with one of these names. A "
    "damaged session is left out and named on stderr; then the command exits 1.",
)
@click.argument("source", metavar="FROM", shell_complete=completion.files)
@click.argument("target", metavar="TO", shell_complete=completion.files)
@click.argument("sessions", metavar="[SESSION]...", nargs=-1, shell_complete=completion.sessions)
def copy(source: str, target: str, sessions: tuple[str, ...]) -> int:
    with open_store(source, read_only=True) as old, noting_damage("left out, since they are damaged") as damage:
        names = chosen_sessions(old.database, sessions)
        with open_store(target) as new, _progress_bar() as show_progress:
            count = copy_sessions(old.database, new.database, names, show_progress, damage)
    printing.echo(counted(count, "session"))
    return 1 if damage else 0


@contextlib.contextmanager
def _progress_bar() -> Iterator[Callable[[int, int], None]]:
    """Show a progress bar on stderr if that is a terminal, and yield what moves it."""
    if not sys.stderr.isatty():
        yield lambda done, total: None
        return
    from rich.console import Console  # late: rich takes long to import
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("copying", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
