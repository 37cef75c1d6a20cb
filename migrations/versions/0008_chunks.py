"""The text of a long value lies in chunks, in a table of its own. Values that are there already stay as they are."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "zrb_chunk",
        sa.Column("queue_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("data", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["queue_id", "seq"],
            ["zrb_value.queue_id", "zrb_value.seq"],
            name="fk_zrb_chunk_queue_id_seq",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("queue_id", "seq", "number", name="pk_zrb_chunk"),
    )
