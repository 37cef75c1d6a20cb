"""The revision is kept in `zrb_version`: other programs that use Alembic may share a PostgreSQL schema.

In a store that is at 0001 it is moved from `alembic_version` before Alembic looks for it (`migrate.move_revision`).
The programs of revision 0001 look into `alembic_version` alone. Where they find nothing they take the database for an
empty one, and begin to make their tables. On SQLite, where the file is ours alone, every store says to them what it is.
On PostgreSQL only one that they made does, because in others that table may be another program's.
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
