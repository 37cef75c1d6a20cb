"""The revision moves to the table `zrb_version`, so that other programs with Alembic can share a PostgreSQL schema.

In a store at revision 0001 it moves from `alembic_version` before Alembic looks for it (`migrate.move_revision`).

A zrb-store of revision 0001 looks only into `alembic_version`. If it finds no revision there, it takes the database for
an empty one and begins to create its tables. On SQLite, where the file belongs to us alone, this migration therefore
leaves a revision that it does not know in every store. On PostgreSQL only a store that it has created has one, because
in other stores that table may belong to another program.
"""

from __future__ import annotations

from alembic import op

from zrb_store.db.migrate import CREATE_VERSION_TABLE, UNKNOWN_TO_0001

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    if op.get_context().dialect.name == "sqlite":
        op.execute("DROP TABLE IF EXISTS alembic_version")
        op.execute(CREATE_VERSION_TABLE.format("alembic_version"))
        op.execute(f"INSERT INTO alembic_version VALUES ('{UNKNOWN_TO_0001}')")
