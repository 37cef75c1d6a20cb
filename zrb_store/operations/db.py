"""`db status` and `db upgrade`: where a store is, which revision its schema has, and how large it is."""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass

from zrb_store import settings
from zrb_store.db import REVISION, migrate, schema
from zrb_store.db.dialect.sqlite import is_open_elsewhere
from zrb_store.db.engine import Database
from zrb_store.db.location import store_url
from zrb_store.errors import SchemaBehind, StoreMissing
from zrb_store.masking import mask_command, mask_word
from zrb_store.process import is_running
from zrb_store.queries.counts import rows


@dataclass(frozen=True)
class ShownSetting:
    """A setting of this process."""

    name: str
    value: str | None  # with passwords masked; None if it is unset and has no default
    origin: str  # `environment` or `default`
    shown: str  # the value for people, or what the default means


@dataclass(frozen=True)
class DatabaseStatus:
    """What `db status` shows."""

    url: str  # where the store is, with passwords masked
    database: str  # name and version of the database
    revision: str
    needed: str  # the revision that this version of zrb-store works with
    size: int  # in bytes, without SQLite's `-wal` file
    wal_size: int | None  # of the `-wal` file in bytes; None on PostgreSQL
    rows: dict[str, int]  # how many rows there are of each kind; empty if the revision is another
    settings: list[ShownSetting]


def open_unchecked(*, read_only: bool = True) -> Database:
    """Open the database of the store that the settings name, whatever revision its schema has."""
    return Database(store_url(), read_only=read_only, durability=settings.choice("ZRB_STORE_DURABILITY"))


def status(database: Database) -> DatabaseStatus:
    """Return what `db status` shows; raise `SchemaAhead` if the database belongs to another program."""
    revision = schema.revision(database)
    if revision is None:
        schema.refuse_missing(database)
    return DatabaseStatus(
        url=database.shown_url,
        database=schema.product(database),
        revision=revision,
        needed=REVISION,
        size=schema.size(database),
        wal_size=schema.wal_size(database),
        rows=rows(database) if revision == REVISION else {},
        settings=shown_settings(),
    )


def shown_settings() -> list[ShownSetting]:
    """Return each setting of this process as it may be shown."""
    found = []
    for one in settings.SETTINGS:
        given = _masked(os.environ.get(one.name) or "")
        origin = "environment" if given else "default"
        found.append(ShownSetting(one.name, given or one.default, origin, given or one.shown_default))
    return found


def _masked(value: str) -> str:
    """Mask the secrets in the value of a setting: a URL, a word, or a command line."""
    try:
        words = shlex.split(value)
    except ValueError:  # a quotation mark is open
        words = value.split()
    masked = mask_command(words)
    if len(words) > 1 and masked != words:
        return shlex.join(masked)
    return mask_word(value)


def upgrade(database: Database) -> tuple[str | None, str]:
    """Bring a store to the newest revision, or create it; return the old and the new one. SQLite is backed up."""
    try:
        found = schema.revision(database)
    except StoreMissing:
        found = None
    schema.refuse_foreign(database, found)
    if found != REVISION:
        if found is not None:
            _refuse_in_use(database)
        schema.upgrade(database, found)
    return found, REVISION


def _refuse_in_use(database: Database) -> None:
    """Raise `SchemaBehind` if somebody has the store open: it would not learn that values are kept in a new way."""
    refused = f"the store {database.shown_url} cannot be upgraded while"
    for session, host, *process in schema.live_leases(database):
        if is_running(*process) is not False:
            what = f"session {session} is run by pid {process[2]} on {host}"
            raise SchemaBehind(f"{refused} {what}: wait for it, or end it")
    if schema.is_file(database):
        with database.migrating():  # it ends without the connection of this process
            pass
        if is_open_elsewhere(schema.file_of(database)):
            raise SchemaBehind(
                f"{refused} another program has it open: end it; `fuser {schema.file_of(database)}` names it"
            )


def other_connections(database: Database) -> int | None:
    """Count the other connections to a PostgreSQL database, which may or may not use the store. None on SQLite."""
    return None if schema.is_file(database) else schema.other_connections(database)


def upgrade_statements(database: Database) -> str:
    """Return the SQL that `upgrade` would run; it is empty if there is nothing to do."""
    found = schema.revision(database)
    schema.refuse_foreign(database, found)
    return "" if found == REVISION else migrate.statements(database.engine)
