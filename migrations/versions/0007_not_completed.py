"""An index of the sessions that have not completed. With this revision the SQL views come (db/views.py)."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    not_completed = sa.text("status <> 'completed'")
    op.create_index(
        "ix_zrb_session_not_completed",
        "zrb_session",
        ["status", "created_at"],
        sqlite_where=not_completed,
        postgresql_where=not_completed,
    )
