"""Which schema a store has: made by its first writer, upgraded when it is older, refused when it is not ours."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, NoReturn

import sqlalchemy as sa

from zrb_store.db.tables import OLD_VERSION_TABLE, REVISION, run, version, version_table
from zrb_store.errors import SchemaAhead, SchemaBehind, StoreMissing

if TYPE_CHECKING:
    from zrb_store.db.engine import Database

_VERSIONS: dict[str, sa.Select[Any]] = {
    version.name: sa.select(version.c.version_num),
    OLD_VERSION_TABLE: sa.select(sa.column("version_num")).select_from(sa.table(OLD_VERSION_TABLE)),
}


def revision(database: Database) -> str | None:
    """The revision of the schema that is there, or None if there is no schema.

    Raises:
        StoreMissing: There is no SQLite file.
    """
    table = version_table([row[0] for row in database.execute(database.dialect.has_versions)])
    if table is None:
        return None
    rows = database.execute(_VERSIONS[table])
    return rows[0][0] if rows else None


def check(database: Database) -> None:
    """See to it that the store can be used: make or upgrade it, where that may be done.

    Raises:
        StoreMissing: There is none, and it is opened for reading.
        SchemaBehind: It is older, and must be upgraded by hand.
        SchemaAhead: It was made by a newer zrb-store, or the database is another program's.
        StoreUnavailable: The database could not be used.
    """
    try:
        found = revision(database)
    except StoreMissing:
        if database.read_only:
            raise
        found = None
    if found == REVISION:
        return
    if found is None and database.read_only:
        refuse_missing(database)
    refuse_foreign(database, found)
    if found is not None and (database.read_only or not database.dialect.backs_up or _has_live_lease(database)):
        raise SchemaBehind(f"the store {database.shown_url} has the older revision {found}: run `zrb-store db upgrade`")
    upgrade(database)


def upgrade(database: Database) -> None:
    """Bring the schema to the newest revision, and make it if there is none. A SQLite store is backed up first.

    Raises:
        StoreUnavailable: The database could not be used.
    """
    from zrb_store.db import migrate  # only now: Alembic takes longer to import than a command may take

    with database.migrating() as engine:
        migrate.upgrade(engine, back_up=True)


def refuse_foreign(database: Database, found: str | None) -> None:
    """Raise unless the database is ours, or nobody's yet.

    Args:
        database: Which.
        found: The revision of the schema that is there, None if there is none.

    Raises:
        SchemaAhead: It is another program's, or was made by a newer zrb-store.
    """
    if found is None:
        with contextlib.suppress(StoreMissing):
            if database.execute(database.dialect.has_foreign):
                raise SchemaAhead(
                    f"{database.shown_url} is another program's database: name another file in ZRB_STORE_URL"
                )
        return
    from zrb_store.db import migrate

    if found != REVISION and not migrate.is_known(found):
        raise SchemaAhead(
            f"the store {database.shown_url} has revision {found}, unknown to this version: upgrade zrb-store; "
            "or, if it is another program's, name another file or schema in ZRB_STORE_URL"
        )


def refuse_missing(database: Database) -> NoReturn:
    """Say that there is no store, and what is there instead.

    Raises:
        SchemaAhead: Another program's tables.
        StoreMissing: Nothing.
    """
    refuse_foreign(database, None)
    raise StoreMissing(f"there is no store in {database.shown_url}; the first run or push makes it")


def _has_live_lease(database: Database) -> bool:
    # Only columns of the first revision: the store is older than this code.
    from zrb_store.db.dialect import now

    live: sa.Select[Any] = (
        sa.select(sa.literal_column("1")).where(run.c.ended_at.is_(None), run.c.lease_expires_at > now()).limit(1)
    )
    return bool(database.execute(live))
