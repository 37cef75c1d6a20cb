"""How often a value was delivered in vain, how often its queue allows that, and the command of a delivery."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("zrb_queue", sa.Column("max_deliveries", sa.Integer()))
    op.add_column("zrb_value", sa.Column("deliveries", sa.Integer(), nullable=False, server_default=sa.text("0")))
    op.add_column("zrb_return", sa.Column("deliveries", sa.Integer()))
    op.add_column("zrb_attempt", sa.Column("command_pid", sa.Integer()))
    op.add_column("zrb_attempt", sa.Column("command_started", sa.Text()))
    op.create_index(
        "ix_zrb_value_dead",
        "zrb_value",
        ["queue_id", "seq"],
        sqlite_where=sa.text("state = 'dead'"),
        postgresql_where=sa.text("state = 'dead'"),
    )
