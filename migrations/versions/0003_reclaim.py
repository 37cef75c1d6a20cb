"""What takers need in order to reclaim values from dead attempts: the time of a suspicion, and indexes."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("zrb_run", sa.Column("suspected_at", sa.BigInteger()))
    op.create_index(
        "ix_zrb_attempt_running",
        "zrb_attempt",
        ["run_id"],
        sqlite_where=sa.text("status = 'running'"),
        postgresql_where=sa.text("status = 'running'"),
    )
    op.drop_index("ix_zrb_value_taken_by", "zrb_value")
    op.create_index(
        "ix_zrb_value_taken_by",
        "zrb_value",
        ["taken_by", "queue_id"],
        sqlite_where=sa.text("taken_by IS NOT NULL"),
        postgresql_where=sa.text("taken_by IS NOT NULL"),
    )
