"""An index of the ends of sessions, by which `list` finds the newest. Nothing uses that of their creation any more."""

from __future__ import annotations

from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.drop_index("ix_zrb_session_created_at", "zrb_session")
    op.create_index("ix_zrb_session_ended_tick", "zrb_session", ["ended_tick"])
