"""The schema of a store: the first writer creates it, an older one is upgraded, and a foreign one is refused.

At the end: what a database reports about itself, its product, its size, and damage to a SQLite file.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import NoReturn

from zrb_store.db import IS_STORE_SQL, REVISION, REVISION_SQL, VERSION_TABLE
from zrb_store.db.core import sa, t
from zrb_store.db.dialect import now
from zrb_store.db.dialect.sqlite import sqlite_path, sqlite_schema, stamp, wal
from zrb_store.db.engine import Database
from zrb_store.db.location import missing, store_url
from zrb_store.db.transaction import Row, Transaction, first_column
from zrb_store.errors import SchemaAhead, SchemaBehind, StoreMissing


def revision(database: Database) -> str | None:
    """Return the revision of the schema in the database, or None if there is no schema."""
    if is_file(database):
        _refuse(database, database.operate(Transaction.ask, _VIEWS))
    is_store = database.operate(Transaction.ask, IS_STORE_SQL[database.dialect_name])
    rows = database.operate(Transaction.ask, REVISION_SQL) if is_store else []
    return rows[0][0] if rows else None


def open_database(url: sa.URL, *, read_only: bool, durability: str) -> Database:
    """Open a store, and create or upgrade its schema if necessary; `durability` is `normal` or `full`."""
    database = Database(url, read_only=read_only, durability=durability)
    try:
        _make_usable(database)
    except BaseException:
        database.close()
        raise
    database.revision_due = 0.0
    return database


@contextlib.contextmanager
def scratch_database() -> Iterator[Database]:
    """Yield a temporary SQLite store, in which rows can be checked."""
    import tempfile

    with tempfile.TemporaryDirectory(prefix="zrb-store-") as folder:
        url = store_url(Path(folder) / "scratch.db")
        with contextlib.closing(open_database(url, read_only=False, durability="normal")) as database:
            # It takes any row, so that the invariants can say what is wrong with it.
            database.operate(Transaction.ask, "PRAGMA ignore_check_constraints=ON")
            yield database


def _make_usable(database: Database) -> None:
    try:
        found = revision(database)
    except StoreMissing:
        if database.read_only:
            raise
        found = None
    if found == REVISION:
        if is_file(database) and not database.read_only:
            _refuse_triggers(database)
        statement = database.dialect.make_usable
        if statement is not None and not database.read_only:
            database.operate(Transaction.ask, statement)
        return
    if found is None and database.read_only:
        refuse_missing(database)
    refuse_foreign(database, found)
    if found is None and database.make_tables():
        return
    if found is not None and (database.read_only or not database.dialect.backs_up or live_leases(database)):
        raise SchemaBehind(f"the store {database.shown_url} has the older revision {found}: run `zrb-store db upgrade`")
    upgrade(database, found)


def upgrade(database: Database, found: str | None) -> None:
    """Upgrade the schema from the revision `found`, or create it. A SQLite store is backed up before an upgrade."""
    from zrb_store.db import migrate

    if found is not None and is_file(database):
        _refuse_triggers(database)
    with database.migrating() as engine:
        migrate.upgrade(engine, back_up=True, notice=database.notice)


# A file may come from anybody. A view in the place of a table runs when we read, and may never end.
_VIEWS = "SELECT type, name FROM sqlite_master WHERE type = 'view' AND name GLOB 'zrb_*' AND name NOT GLOB 'zrb_xcom_*'"
# A trigger runs when we write. The revision is of the same moment: another process may be upgrading the store.
_TRIGGERS = (
    f"SELECT type, name, sql, ({REVISION_SQL}) FROM sqlite_master WHERE type = 'trigger' AND tbl_name GLOB 'zrb_*'"
)


def _refuse_triggers(database: Database) -> None:
    """Raise an error if a SQLite file has triggers on our tables that are not those of its revision."""
    found = database.operate(Transaction.ask, _TRIGGERS)
    if found and (ours := _triggers_of(found[0][3])):
        _refuse(database, [row for row in found if row[2] not in ours])


def _triggers_of(revision: str) -> Collection[str]:
    """Return statements that include those of the triggers of a revision; none if they are not known."""
    if revision == REVISION:
        return sqlite_schema()
    from zrb_store.db import migrate

    return migrate.triggers(revision) if migrate.is_known(revision) else []


def _refuse(database: Database, found: Sequence[Row]) -> None:
    if found:
        kind, name, *_ = found[0]
        raise SchemaAhead(
            f"the store {database.shown_url} has the {kind} {name}, which is not of zrb-store: "
            f"remove it (DROP {kind.upper()}), or name another file in ZRB_STORE_URL"
        )


# Only on SQLite: programs may share a PostgreSQL database, where the prefix of our tables keeps them apart. Another
# process may have made the store since no revision was found.
_FOREIGN_TABLE = (
    "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name NOT GLOB 'zrb_*' AND name NOT GLOB 'sqlite_*' "
    f"AND NOT EXISTS (SELECT 1 FROM sqlite_master WHERE name = '{VERSION_TABLE}') LIMIT 1"
)


def refuse_foreign(database: Database, found: str | None) -> None:
    """Raise SchemaAhead unless this version can use the database, which has no tables yet if no revision was found."""
    if found is None:
        with contextlib.suppress(StoreMissing):
            if is_file(database) and database.operate(Transaction.ask, _FOREIGN_TABLE):
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
    """Raise the error for a database without a store: it has other tables, is empty, or does not exist."""
    refuse_foreign(database, None)
    raise StoreMissing(missing(f"in {database.shown_url}", database.url.database))


def live_leases(database: Database) -> list[Row]:
    """Return the runs whose lease has not expired: session, host, and the process as `process.is_running` takes it."""
    # This reads an older store, so it may use only columns of the first revision.
    process = (t.run.c[name] for name in ("host", "boot_id", "pid_namespace", "pid", "process_started"))
    live: sa.Select[*Row] = sa.select(t.session.c.name, *process).select_from(t.run.join(t.session))
    live = live.where(t.run.c.ended_at.is_(None), t.run.c.lease_expires_at > now())
    return database.execute(live.order_by(t.run.c.id))


_PRODUCT = {
    "sqlite": "SELECT 'SQLite ' || sqlite_version()",
    "postgresql": "SELECT 'PostgreSQL ' || current_setting('server_version')",
}
_SIZE = {
    "sqlite": "SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()",
    "postgresql": (
        "SELECT coalesce(sum(pg_catalog.pg_total_relation_size(c.oid)), 0)::bigint FROM pg_catalog.pg_class c "
        "WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind = 'r' AND c.relname LIKE 'zrb\\_%'"
    ),
}
_OTHERS = (
    "SELECT count(*) FROM pg_catalog.pg_stat_activity "
    "WHERE datname = current_database() AND pid <> pg_catalog.pg_backend_pid()"
)


def product(database: Database) -> str:
    """Return name and version of the database product."""
    return str(database.operate(Transaction.ask, _PRODUCT[database.dialect_name])[0][0])


def other_connections(database: Database) -> int:
    """Count the other connections to the same PostgreSQL database, of whatever program."""
    return int(database.operate(Transaction.ask, _OTHERS)[0][0])


def size(database: Database) -> int:
    """Return how many bytes the store occupies, without SQLite's `-wal` file."""
    return int(database.operate(Transaction.ask, _SIZE[database.dialect_name])[0][0])


def is_file(database: Database) -> bool:
    """Whether the store is a SQLite file."""
    return database.dialect_name == "sqlite"


def file_of(database: Database) -> Path:
    """Return the path of a SQLite store."""
    return sqlite_path(database.url)


def wal_size(database: Database) -> int | None:
    """Return the size of the `-wal` file in bytes, or None on PostgreSQL."""
    if not is_file(database):
        return None
    found = stamp(wal(file_of(database)))
    return found[1] if found else 0


def journal_mode(database: Database) -> str:
    """Return SQLite's journal mode, which should be `wal`."""
    return str(database.operate(Transaction.ask, "PRAGMA journal_mode")[0][0])


def damage(database: Database) -> list[str]:
    """Return the problems that SQLite finds in its file, an empty list if there are none."""
    found = [row[0].splitlines()[-1] for row in database.operate(Transaction.ask, "PRAGMA integrity_check")]
    # Rows that break a rule of their table are named by the checks of rows.
    breaks_a_rule = ("CHECK constraint failed", "NULL value in", "non-")
    return [each for each in found if each != "ok" and not each.startswith(breaks_a_rule)]


def dangling(database: Database) -> dict[str, int]:
    """Count, for each SQLite table that has such rows, the rows that refer to missing rows."""
    return dict(Counter(map(first_column, database.operate(Transaction.ask, "PRAGMA foreign_key_check"))))
