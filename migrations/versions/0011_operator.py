"""Delayed values, paused queues, replaced contents, acknowledged runs, requests to stop, and reasons of changes."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
IS_LIVE = sa.text("ended_at IS NULL")
IS_DELAYED = sa.text("due_at IS NOT NULL AND ended_at IS NULL")


def upgrade() -> None:
    op.add_column("zrb_run", sa.Column("stop_requested_at", sa.BigInteger()))
    op.add_column("zrb_run", sa.Column("acknowledged_at", sa.BigInteger()))
    op.add_column("zrb_queue", sa.Column("retry_after", sa.Text()))
    op.add_column("zrb_queue", sa.Column("paused_at", sa.BigInteger()))
    op.add_column("zrb_value", sa.Column("due_at", sa.BigInteger()))
    op.add_column("zrb_return", sa.Column("due_at", sa.BigInteger()))
    op.add_column("zrb_change", sa.Column("reason", sa.Text()))
    op.drop_index("ix_zrb_value_live", table_name="zrb_value")
    op.create_index(
        "ix_zrb_value_live",
        "zrb_value",
        ["queue_id", "seq", "ended_at", "due_at"],
        unique=True,
        sqlite_where=IS_LIVE,
        postgresql_where=IS_LIVE,
    )
    op.create_index(
        "ix_zrb_value_delayed",
        "zrb_value",
        ["queue_id", "due_at"],
        sqlite_where=IS_DELAYED,
        postgresql_where=IS_DELAYED,
    )
    op.create_table(
        "zrb_replaced",
        sa.Column("id", ID, nullable=False),
        sa.Column("queue_id", ID, nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("data", sa.Text(), nullable=False),
        sa.Column("failed_deliveries", sa.Integer(), nullable=False),
        sa.Column("replaced_at", sa.BigInteger(), nullable=False),
        sa.Column("replaced_tick", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["queue_id", "seq"],
            ["zrb_value.queue_id", "zrb_value.seq"],
            name="fk_zrb_replaced_queue_id_seq",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name="pk_zrb_replaced"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_zrb_replaced_queue_id_seq", "zrb_replaced", ["queue_id", "seq"])
