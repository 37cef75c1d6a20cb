"""`export`, `import`, `copy`: sessions on the move."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import click

from zrb_store.cli import output
from zrb_store.cli.command import command, stdin
from zrb_store.cli.notes import noting
from zrb_store.operations import transfer
from zrb_store.reading import names as session_names
from zrb_store.store import Store, open_store


@command(
    "export",
    "{} > sessions.jsonl",
    "{} etl-2026-11-24 | ssh there zrb-store import",
    details="All sessions, or those named, as of one moment: everything that the store knows of them. Each line has a "
    "hash over itself and the lines before it. A damaged session, which `import` would refuse, is left out and named "
    "on stderr; then the command exits 1.",
)
@click.argument("sessions", metavar="[SESSION]...", nargs=-1)
def export(sessions: tuple[str, ...]) -> int:
    with open_store(read_only=True) as store, noting("left out, since they are damaged") as damage:
        for line in transfer.export_lines(store.database, _chosen(store, sessions), damage):
            output.echo(line)
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
    details="FILE is what `export` wrote, stdin by default. Nothing is written if a line of it is damaged, "
    "missing, or says what cannot be (docs/schema/export.json), or if there is a session of such a name already.",
)
@click.argument("file", default="-", type=click.Path(path_type=str))
@click.option("--rename", metavar="OLD=NEW", multiple=True, callback=_renames, help="Give a session another name.")
def import_(file: str, rename: dict[str, str]) -> None:
    with contextlib.ExitStack() as stack:
        try:
            source = stdin() if file == "-" else stack.enter_context(Path(file).open("rb"))
        except OSError as error:
            raise click.UsageError(f"{file} cannot be read: {error.strerror}") from None
        store = stack.enter_context(open_store())
        count = transfer.import_lines(store.database, source, "stdin" if file == "-" else file, rename)
    output.echo(_number(count))


@command(
    "copy",
    "{} ~/.zrb/xcom.db postgresql+psycopg://zrb@db.example/jobs",
    "{} xcom.db backup.db etl-2026-11-24",
    details="FROM and TO are file paths or URLs; TO is made if it is not there. All sessions, or those named, as of "
    "one moment. Nothing is written if there is a session of such a name in TO already. A damaged session is left out "
    "and named on stderr; then the command exits 1.",
)
@click.argument("source", metavar="FROM")
@click.argument("target", metavar="TO")
@click.argument("sessions", metavar="[SESSION]...", nargs=-1)
def copy(source: str, target: str, sessions: tuple[str, ...]) -> int:
    with open_store(source, read_only=True) as old, noting("left out, since they are damaged") as damage:
        chosen = _chosen(old, sessions)
        with open_store(target) as new, _progress() as progress:
            count = transfer.copy(old.database, new.database, chosen, progress, damage)
    output.echo(_number(count))
    return 1 if damage else 0


def _chosen(store: Store, sessions: tuple[str, ...]) -> list[str] | None:
    return [session_names.resolve(store, text).name for text in sessions] or None


def _number(count: int) -> str:
    return f"{count} session" + ("" if count == 1 else "s")


@contextlib.contextmanager
def _progress() -> Iterator[Callable[[int, int], None]]:
    """A bar on stderr, if that is a terminal."""
    if not sys.stderr.isatty():
        yield lambda done, total: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("copying", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


COMMANDS = {"export": export, "import": import_, "copy": copy}
