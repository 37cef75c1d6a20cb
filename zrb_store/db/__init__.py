"""The revision of the schema, and the table that holds it."""

from __future__ import annotations

# The Alembic revision that this code reads and writes; a test compares it with the head of migrations/.
REVISION = "0001"

# The table in which Alembic keeps the revision. It has a name of its own, so that other programs that use Alembic can
# share a PostgreSQL schema with a store.
VERSION_TABLE = "zrb_version"

REVISION_SQL = f"SELECT version_num FROM {VERSION_TABLE}"
# What asks whether there is a store. On PostgreSQL only in the schema in which we would make it: a table in other
# schemas of the search_path may belong to another store.
IS_STORE_SQL = {
    "sqlite": f"SELECT 1 FROM sqlite_master WHERE name = '{VERSION_TABLE}'",
    "postgresql": (
        f"SELECT 1 FROM pg_catalog.pg_tables WHERE schemaname = current_schema() AND tablename = '{VERSION_TABLE}'"
    ),
}
