"""`db status` and `db upgrade`: the database itself. `doctor`: whether what it holds is healthy."""

from __future__ import annotations

import contextlib
import dataclasses

import click

from zrb_store import settings
from zrb_store.cli.arguments import format_option
from zrb_store.cli.command import CliGroup, command
from zrb_store.cli.command_table import COMMANDS
from zrb_store.inspect.doctor import examine
from zrb_store.operations import db as operations
from zrb_store.records import JsonObject, pick
from zrb_store.render.document import Column, Fields, Lines, Table
from zrb_store.render.format import program_name
from zrb_store.render.printing import echo, echo_json, echo_raw, echo_records, print_document
from zrb_store.render.stderr import as_typed, print_line
from zrb_store.render.terminal import progress
from zrb_store.wings import installed, load

_PURPOSE = COMMANDS["db"].purpose
_SETTINGS = (Column("setting"), Column("value", fold=True), Column("from"))


@click.group("db", cls=CliGroup, help=_PURPOSE, short_help=_PURPOSE)
def db() -> None:
    pass


db.reading = ("status",)


@command(
    "status",
    "{}",
    purpose="Show the place, revision and size of the store, and the value of each setting with its source: the "
    "environment or the default. Passwords are masked. Unusable values are named on stderr.",
)
@format_option()
def status(output_format: str) -> None:
    with contextlib.closing(operations.open_unchecked()) as database:
        found = operations.status(database)
    for line in settings.unusable():
        print_line(line, program_name())
    if output_format in ("json", "jsonl"):
        shown: JsonObject = {
            **pick(found, "url", "database", "revision"),
            "wanted": found.needed,
            **pick(found, "size", "wal_size"),
            "rows": {name.replace(" ", "_"): count for name, count in found.rows.items()},
            "settings": {one.name: {"value": one.value, "from": one.origin} for one in found.settings},
        }
        echo_json(shown, one_line=output_format == "jsonl")
        return
    if output_format == "value":
        echo(found.revision)
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
    print_document([Fields(pairs), Table(_SETTINGS, rows)])


@command(
    "upgrade",
    "{}",
    "{} --sql",
    purpose="Upgrade the store to the revision of this version, or create it.\n\n"
    "A SQLite store is first copied to FILE.REVISION.bak. The upgrade is complete, or changes nothing. It is refused "
    "while a session runs, and on SQLite while another program has the store open. PostgreSQL does not show which "
    "programs these are: end every older zrb-store first.",
)
@click.option("--sql", is_flag=True, help="Print the statements, and change nothing.")
def upgrade(sql: bool) -> None:
    with contextlib.closing(operations.open_unchecked(read_only=sql)) as database:
        if sql:
            for line in operations.upgrade_statements(database).splitlines():
                echo_raw(line)
            return
        with progress("upgrading"):
            before, now = operations.upgrade(database)
        others = operations.other_connections(database) if before not in (None, now) else None
    if before is None:
        echo(f"created at revision {now}")
    elif before == now:
        echo(f"already at revision {now}")
    else:
        echo(f"upgraded from {before} to {now}")
    if others is not None:
        print_line(
            f"end every older zrb-store that has this store open: it cannot be distinguished from other programs "
            f"({others} other connections to this database)",
            program_name(),
        )


db.add_command(status)
db.add_command(upgrade)
for wing in installed():
    for place in wing.db_commands:
        db.add_command(load(place))


@command(
    "doctor",
    "{}",
    details="Prints one line for each finding, with its remedy. Exits 1 if a finding is an error. It only reads, and "
    "can run while others write.",
)
@format_option()
def doctor(output_format: str) -> int:
    with contextlib.closing(operations.open_unchecked()) as database:
        program = program_name()
        findings = [dataclasses.replace(one, remedy=as_typed(one.remedy, program)) for one in examine(database)]
    if output_format in ("json", "jsonl"):
        echo_records(map(dataclasses.asdict, findings), output_format)
    elif output_format == "value":
        for finding in findings:
            echo(finding.check)
    elif findings:
        print_document([Lines([str(finding) for finding in findings])])
    else:
        echo("healthy")
    return 1 if any(finding.level == "error" for finding in findings) else 0
