"""`db status` and `db upgrade`: the database itself."""

from __future__ import annotations

import contextlib
from typing import Any

import click

from zrb_store.cli import output
from zrb_store.cli.command import Command, format_option
from zrb_store.cli.table import COMMANDS as PURPOSES
from zrb_store.operations import status as facade


@click.group("db", help=PURPOSES["db"][1], short_help=PURPOSES["db"][1])
def db() -> None:
    pass


@db.command("status", cls=Command, help="Tell where the store is, its revision and its size.")
@format_option()
def status(form: str) -> None:
    with contextlib.closing(facade.open_unchecked()) as database:
        found = facade.status(database)
    if form in ("json", "jsonl"):
        output.echo_json(_as_json(found), one_line=form == "jsonl")
        return
    if form == "value":
        output.echo(found.revision)
        return
    state = "up to date" if found.revision == found.wanted else f"this version needs {found.wanted}"
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
    output.show([output.Facts(pairs)])


def _as_json(found: facade.Status) -> dict[str, Any]:
    return {
        "url": found.url,
        "database": found.database,
        "revision": found.revision,
        "wanted": found.wanted,
        "size": found.size,
        "wal_size": found.wal_size,
        "rows": {name.replace(" ", "_"): count for name, count in found.rows.items()},
    }


@db.command(
    "upgrade",
    cls=Command,
    help="Bring the store to the revision of this version, or make it.\n\n"
    "A SQLite store is copied to FILE.REVISION.bak first. It happens whole or not at all.",
)
@click.option("--sql", is_flag=True, help="Change nothing, print the statements.")
def upgrade(sql: bool) -> None:
    with contextlib.closing(facade.open_unchecked(read_only=sql)) as database:
        if sql:
            for line in facade.upgrade_statements(database).splitlines():
                output.echo_bare(line)
            return
        before, now = facade.upgrade(database)
    if before is None:
        output.echo(f"made, at revision {now}")
    else:
        output.echo(f"at revision {now}" + ("" if before == now else f", was {before}"))


status.examples = ("{}", "{} --format json")  # type: ignore[attr-defined]
upgrade.examples = ("{}", "{} --sql")  # type: ignore[attr-defined]

COMMANDS = {"db": db}
