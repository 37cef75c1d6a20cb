"""The revision of the schema, and the table that holds it."""

from __future__ import annotations

from collections.abc import Collection

# The Alembic revision that this code reads and writes; a test compares it with the head of migrations/.
REVISION = "0009"

# The table in which Alembic keeps the revision. It has a name of its own, so that other programs that use Alembic can
# share a PostgreSQL schema with a store.
VERSION_TABLE = "zrb_version"
# The table that revision 0001 used, and in which a zrb-store of that revision still looks (migrations/versions/0002).
OLD_VERSION_TABLE = "alembic_version"

REVISION_SQL = f"SELECT version_num FROM {VERSION_TABLE}"


def version_table(tables: Collection[str]) -> str | None:
    """Return which of the existing tables holds the store's revision, or None if there is no store.

    `alembic_version` holds it only if our tables exist and `zrb_version` does not; otherwise it may belong to another
    program.
    """
    if VERSION_TABLE in tables:
        return VERSION_TABLE
    return OLD_VERSION_TABLE if "zrb_session" in tables and OLD_VERSION_TABLE in tables else None
