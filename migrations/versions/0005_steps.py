"""Steps: the attempt and the task that a step is of, its name and number, whether it may be repeated, its result."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("zrb_attempt", sa.Column("parent_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite")))
    op.add_column("zrb_attempt", sa.Column("step_of", sa.Text()))
    op.add_column("zrb_attempt", sa.Column("step", sa.Text()))
    op.add_column("zrb_attempt", sa.Column("step_number", sa.Integer()))
    op.add_column("zrb_attempt", sa.Column("once", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column("zrb_attempt", sa.Column("result", sa.Text()))
    op.create_index(
        "ix_zrb_attempt_step",
        "zrb_attempt",
        ["session_id", "step_of", "step"],
        sqlite_where=sa.text("step_of IS NOT NULL"),
        postgresql_where=sa.text("step_of IS NOT NULL"),
    )
