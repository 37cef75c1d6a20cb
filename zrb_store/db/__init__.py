"""The revision of the schema, and the table that holds it."""

from __future__ import annotations

from collections.abc import Collection

# The Alembic revision that this code reads and writes; a test compares it with the head of migrations/.
REVISION = "0013"

# The table in which Alembic keeps the revision. It has a name of its own, so that other programs that use Alembic can
# share a PostgreSQL schema with a store.
VERSION_TABLE = "zrb_version"
# The table that revision 0001 used, and in which a zrb-store of that revision still looks (migrations/versions/0002).
OLD_VERSION_TABLE = "alembic_version"

REVISION_SQL = f"SELECT version_num FROM {VERSION_TABLE}"
_NAMES = f"('{VERSION_TABLE}', 'zrb_session', '{OLD_VERSION_TABLE}')"
# What asks which of the tables exist that `version_table` needs to know about. On PostgreSQL only in the schema of our
# tables: a table in other schemas of the search_path may belong to another program.
TABLES_SQL = {
    "sqlite": f"SELECT name FROM sqlite_master WHERE name IN {_NAMES}",
    "postgresql": (
        f"SELECT tablename FROM pg_catalog.pg_tables WHERE schemaname = current_schema() AND tablename IN {_NAMES}"
    ),
}


def version_table(tables: Collection[str]) -> str | None:
    """Return which of the existing tables holds the store's revision, or None if there is no store.

    Without our tables, or beside `zrb_version`, `alembic_version` may belong to another program.
    """
    if VERSION_TABLE in tables:
        return VERSION_TABLE
    return OLD_VERSION_TABLE if "zrb_session" in tables and OLD_VERSION_TABLE in tables else None
