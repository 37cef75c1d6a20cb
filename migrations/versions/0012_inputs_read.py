"""Which inputs an attempt has read and a run had, and a digest of what a task ran."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("zrb_attempt", sa.Column("inputs_read", sa.Text()))
    op.add_column("zrb_attempt", sa.Column("code", sa.Text()))
    op.add_column("zrb_run", sa.Column("inputs", sa.Text()))
