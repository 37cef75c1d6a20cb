"""`db status` and `db upgrade`: the database itself.

`doctor`: whether the store is healthy.

`prune`: delete what is old.

`export`: sessions to JSON Lines.

`import`: sessions from JSON Lines.

`copy`: sessions from one store to another.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import sys
from collections import deque
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import click

from zrb_store import settings
from zrb_store.cli import completion
from zrb_store.cli.arguments import binary_stdin, chosen_sessions
from zrb_store.cli.command import Command, Group, command, format_option, parse_duration, whole_number
from zrb_store.cli.command_table import COMMANDS
from zrb_store.inspect.doctor import examine
from zrb_store.masking import printable
from zrb_store.operations import db as operations
from zrb_store.operations.db import open_unchecked
from zrb_store.operations.export import export as export_lines
from zrb_store.operations.prune import Deletion, Policy
from zrb_store.operations.prune import prune as prune_store
from zrb_store.operations.transfer import copy as copy_sessions
from zrb_store.operations.transfer import import_sessions
from zrb_store.render import printing
from zrb_store.render.document import Column, Fields, Lines, Table
from zrb_store.render.format import as_typed, counted, print_line, program_name
from zrb_store.render.printing import noting_damage
from zrb_store.store import open_store

_PURPOSE = COMMANDS["db"][1]
_SETTINGS = (Column("setting"), Column("value", fold=True), Column("from"))


class _DatabaseGroup(Group):
    reading = ("status",)


@click.group("db", cls=_DatabaseGroup, help=_PURPOSE, short_help=_PURPOSE)
def db() -> None:
    pass


@db.command(
    "status",
    cls=Command,
    help="Show where the store is, its revision and its size, and each setting with its value and where that "
    "came from: the environment, or the default. Passwords are masked. A value that cannot be used is named on stderr.",
    examples=("{}", "{} --format json"),
)
@format_option()
def status(output_format: str) -> None:
    with contextlib.closing(operations.open_unchecked()) as database:
        found = operations.status(database)
    for line in settings.unusable():
        click.echo(printable(f"{program_name()}: {line}"), err=True)
    if output_format in ("json", "jsonl"):
        printing.echo_json(_as_json(found), one_line=output_format == "jsonl")
        return
    if output_format == "value":
        printing.echo(found.revision)
        return
    state = "up to date" if found.revision == found.needed else f"this version needs {found.needed}"
    size = f"{found.size:,} bytes"
    if found.wal_size:
        size += f" and {found.wal_size:,} in -wal"
    pairs = [
        ("Store", found.url),
        ("Database", found.database),
        ("Revision", f"{found.revision} ({state})"),
        ("Size", size),
        *((name.capitalize(), f"{count:,}") for name, count in found.rows.items()),
    ]
    rows = [(one.name, one.shown, one.origin) for one in found.settings]
    printing.print_document([Fields(pairs), Table(_SETTINGS, rows)])


def _as_json(status: operations.DatabaseStatus) -> dict[str, Any]:
    return {
        "url": status.url,
        "database": status.database,
        "revision": status.revision,
        "wanted": status.needed,
        "size": status.size,
        "wal_size": status.wal_size,
        "rows": {name.replace(" ", "_"): count for name, count in status.rows.items()},
        "settings": {one.name: {"value": one.value, "from": one.origin} for one in status.settings},
    }


@db.command(
    "upgrade",
    cls=Command,
    help="Bring the store to the revision of this version, or create it.\n\n"
    "A SQLite store is copied to FILE.REVISION.bak first. It is upgraded completely or not at all. It is refused while "
    "a session runs, and on SQLite while another program has the store open. On PostgreSQL that cannot be seen: end "
    "every older zrb-store first.",
    examples=("{}", "{} --sql"),
)
@click.option("--sql", is_flag=True, help="Change nothing, print the statements.")
def upgrade(sql: bool) -> None:
    with contextlib.closing(operations.open_unchecked(read_only=sql)) as database:
        if sql:
            for line in operations.upgrade_statements(database).splitlines():
                printing.echo_raw(line)
            return
        before, now = operations.upgrade(database)
        others = operations.unseen(database) if before not in (None, now) else None
    if before is None:
        printing.echo(f"created at revision {now}")
    elif before == now:
        printing.echo(f"already at revision {now}")
    else:
        printing.echo(f"upgraded from {before} to {now}")
    if others is not None:
        print_line(
            f"end every older zrb-store that has this store open: none can be told from other programs "
            f"({others} other connections to this database)",
            program_name(),
        )


@command(
    "doctor",
    "{}",
    "{} --format json",
    details="Prints one line for each finding, with its remedy. Exits 1 if a finding is an error. It "
    "only reads, and can be run while others write.",
)
@format_option()
def doctor(output_format: str) -> int:
    with contextlib.closing(open_unchecked()) as database:
        program = program_name()
        found = examine(database)
        findings = [dataclasses.replace(one, remedy=as_typed(one.remedy, program)) for one in found]
    if output_format == "json":
        printing.echo_json([dataclasses.asdict(finding) for finding in findings])
    elif output_format == "jsonl":
        for finding in findings:
            printing.echo_json(dataclasses.asdict(finding), one_line=True)
    elif output_format == "value":
        for finding in findings:
            printing.echo(finding.check)
    elif findings:
        printing.print_document([Lines([str(finding) for finding in findings])])
    else:
        printing.echo("healthy")
    return 1 if any(finding.level == "error" for finding in findings) else 0


_STATUSES = ("open", "stale", "completed", "failed", "interrupted")


@command(
    "prune",
    "{} --older-than 30d --keep-last 20 --dry-run",
    "{} --older-than 1w --status completed",
    details="Deletes the sessions that meet every given condition, and prints the rule by which each is deleted. A "
    "session that is being run or is pinned is never deleted. An open one, without a run, is never deleted as a whole: "
    "it loses the values that left its queues longer ago than --older-than. ZRB_STORE_RETENTION=30d,keep=20 does the "
    "same after a run, once a day.\n"
    "\n"
    "--keep-last 20 keeps, of each task in each project, the last 20 sessions and also the last 20 that completed, so "
    "that no number of failures displaces the last results. Sessions of a Python program are of the task that "
    "session.run(task=...) names, else of the script, module or installed program that is run. The last ones are those "
    "that ended last. A session whose main task was skipped left no result, and does not count as completed.",
)
@click.option(
    "--older-than", type=parse_duration, metavar="LENGTH", help="Only what ended longer ago than this, e.g. 30d."
)
@click.option(
    "--keep-last",
    metavar="N",
    type=whole_number(0, 10**9),
    help="Keep the last N sessions of each task, and the last N that completed.",
)
@click.option("--status", "statuses", multiple=True, type=click.Choice(_STATUSES), help="Only sessions of this status.")
@click.option("--dry-run", is_flag=True, help="Delete nothing, print what would be deleted.")
@format_option(choices=("table", "json"))
def prune(
    older_than: timedelta | None, keep_last: int | None, statuses: tuple[str, ...], dry_run: bool, output_format: str
) -> None:
    policy = Policy(older_than, keep_last, statuses)
    with open_store(read_only=dry_run) as store, noting_damage("left alone, since they are damaged") as damage:
        deletions = prune_store(store.database, policy, dry_run=dry_run, damage=damage)
        try:
            _print_deletions(deletions, output_format, dry_run)
        except click.exceptions.Exit:  # the reader has seen enough, but the rest is deleted all the same
            deque(deletions, maxlen=0)


def _print_deletions(deletions: Iterator[Deletion], output_format: str, dry_run: bool) -> None:
    """Print each deletion as it happens: there may be a million."""
    if output_format == "json":
        printing.echo_json(
            {"session": deletion.session, "values": deletion.values, "rule": deletion.rule} for deletion in deletions
        )
        return
    columns = [Column("session"), Column("would delete" if dry_run else "deleted"), Column("rule")]
    rows = ((deletion.session, _what(deletion), deletion.rule) for deletion in deletions)
    if first := next(rows, None):
        printing.print_document([Table(columns, itertools.chain([first], rows))])
    elif dry_run:
        printing.print_document([Lines(["nothing to delete"])])


def _what(deletion: Deletion) -> str:
    return "all" if deletion.values is None else counted(deletion.values, "value")


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
    details="FILE is what `export` wrote, stdin by default. Nothing is written if a line is damaged, missing "
    "or invalid (docs/schema/export.json), or if a session with one of these names exists already.",
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
        count = import_sessions(store.database, source, "stdin" if file == "-" else file, rename)
    printing.echo(counted(count, "session"))


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
