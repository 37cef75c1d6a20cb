"""`export` and `import`: sessions as JSON Lines. `copy`: from one store to another."""

from __future__ import annotations

import contextlib
from pathlib import Path

import click

from zrb_store.cli import completion
from zrb_store.cli.arguments import binary_stdin, chosen_sessions, output_option
from zrb_store.cli.command import command
from zrb_store.operations.copy import copy as copy_sessions
from zrb_store.render.document import on_terminal
from zrb_store.render.format import counted
from zrb_store.render.printing import echo, noting_damage, whole_file
from zrb_store.render.terminal import progress
from zrb_store.store import open_store
from zrb_store.transfer.export import export as export_lines
from zrb_store.transfer.importing import import_sessions

_sessions_argument = click.argument("sessions", metavar="[SESSION]...", nargs=-1, shell_complete=completion.sessions)


@command(
    "export",
    "{} -o sessions.jsonl",
    "{} etl-2026-11-24 | ssh there zrb-store import",
    details="Writes all sessions, or the named ones, as they were at one moment, with everything stored about them. "
    "Each line has a hash over itself and the lines before it. A damaged session, which `import` would refuse, is "
    "left out and named on stderr; the command then exits 1.",
)
@_sessions_argument
@output_option
def export(sessions: tuple[str, ...], file: str | None) -> int:
    with (
        open_store(read_only=True) as store,
        noting_damage("left out, because they are damaged") as damage,
        contextlib.ExitStack() as stack,
    ):
        lines = export_lines(store.database, chosen_sessions(store.database, sessions))
        write = None if file is None else stack.enter_context(whole_file(Path(file)))
        if file is not None or not on_terminal():
            stack.enter_context(progress("exporting"))
        for line in lines:
            if write is None:
                echo(line)
            else:
                write(f"{line}\n".encode())
    return 1 if damage else 0


def _renames(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    pairs = [value.partition("=") for value in values]
    for old, equals, new in pairs:
        if not (old and equals and new):
            raise click.BadParameter("give it as OLD=NEW")
    return {old: new for old, _, new in pairs}


@command(
    "import",
    "{} sessions.jsonl",
    "{} sessions.jsonl --rename etl=etl-restored",
    details="FILE is the output of `export`, by default from stdin. Nothing is written if a line is damaged, missing "
    "or invalid (docs/schema/export.json), or if a session with one of these names already exists.",
)
@click.argument("file", default="-", type=click.Path(path_type=str))
@click.option("--rename", metavar="OLD=NEW", multiple=True, callback=_renames, help="Give a session another name.")
def import_(file: str, rename: dict[str, str]) -> None:
    with contextlib.ExitStack() as stack:
        try:
            source = binary_stdin() if file == "-" else stack.enter_context(Path(file).open("rb"))
        except OSError as error:
            raise click.UsageError(f"{file} cannot be read: {error.strerror}") from None
        store = stack.enter_context(open_store())
        show_progress = stack.enter_context(progress("importing"))
        count = import_sessions(store.database, source, "stdin" if file == "-" else file, rename, show_progress)
    echo(counted(count, "session"))


@command(
    "copy",
    "{} ~/.zrb/xcom.db postgresql://zrb@db.example/jobs",
    "{} xcom.db backup.db etl-2026-11-24",
    details="Copies all sessions, or the named ones, as they were at one moment. FROM and TO are file paths or URLs; "
    "TO is created if it does not exist. Nothing is written if TO already has a session with one of these names. A "
    "damaged session is left out and named on stderr; the command then exits 1.",
)
@click.argument("source", metavar="FROM", shell_complete=completion.files)
@click.argument("target", metavar="TO", shell_complete=completion.files)
@_sessions_argument
def copy(source: str, target: str, sessions: tuple[str, ...]) -> int:
    with open_store(source, read_only=True) as old, noting_damage("left out, because they are damaged") as damage:
        names = chosen_sessions(old.database, sessions)
        with open_store(target) as new, progress("copying") as show_progress:
            count = copy_sessions(old.database, new.database, names, show_progress)
    echo(counted(count, "session"))
    return 1 if damage else 0
