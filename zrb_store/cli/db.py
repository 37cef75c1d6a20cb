"""`db status` and `db upgrade`: the database itself."""

from __future__ import annotations

import contextlib
from typing import Any

import click

from zrb_store import settings
from zrb_store.cli.command import Command, Group, format_option
from zrb_store.cli.command_table import COMMANDS
from zrb_store.operations import db as operations
from zrb_store.render import printing
from zrb_store.render.document import Column, Fields, Table
from zrb_store.render.messages import print_line, program_name
from zrb_store.safe_text import printable

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
