"""Ticks, which order what happens without a clock; the error of a run; plain values.

The rows that are there keep the order of their times: a tick of theirs is the time itself.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

TICKS = {
    "zrb_session": ("created", "finished"),
    "zrb_run": ("started", "ended"),
    "zrb_attempt": ("started", "ended", "given_back"),
    "zrb_value": ("pushed", "ended"),
    "zrb_return": ("taken", "returned"),
}
ALWAYS = ("created", "started", "pushed", "taken", "returned")

CLOCK_ON_SQLITE = (
    "CREATE TABLE zrb_clock (tick BIGINT NOT NULL)",
    "INSERT INTO zrb_clock {}",
    "CREATE TRIGGER zrb_attempt_begins AFTER INSERT ON zrb_attempt BEGIN UPDATE zrb_clock SET tick = tick + 2; END",
    "CREATE TRIGGER zrb_attempt_changes AFTER UPDATE OF started_tick, ended_tick, given_back_tick ON zrb_attempt "
    "BEGIN UPDATE zrb_clock SET tick = tick + 2; END",
)


LATEST = 253_402_300_799_999_999  # the last microsecond of the year 9999


def sane(column: str, on_sqlite: bool) -> str:
    """Return the condition that a time is valid: the clock must not start behind a damaged row."""
    is_number = f"typeof({column}) = 'integer' AND " if on_sqlite else ""
    return f"{is_number}{column} BETWEEN 0 AND {LATEST}"


def upgrade() -> None:
    on_sqlite = op.get_context().dialect.name == "sqlite"
    for table, moments in TICKS.items():
        for moment in moments:
            always = moment in ALWAYS
            op.add_column(
                table,
                sa.Column(
                    f"{moment}_tick",
                    sa.BigInteger(),
                    nullable=not always,
                    server_default=sa.text("0") if always else None,
                ),
            )
    for name in ("error_type", "error_message", "error_traceback"):
        op.add_column("zrb_run", sa.Column(name, sa.Text()))
    op.add_column("zrb_value", sa.Column("plain", sa.Boolean(), nullable=False, server_default=sa.false()))
    for table, moments in TICKS.items():
        op.execute(f"UPDATE {table} SET " + ", ".join(f"{moment}_tick = {moment}_at" for moment in moments))
    latest = " UNION ALL ".join(
        f"SELECT max({moment}_tick) AS tick FROM {table} WHERE {sane(f'{moment}_tick', on_sqlite)}"
        for table, moments in TICKS.items()
        for moment in moments
    )
    latest = f"(SELECT coalesce(max(tick), 0) AS tick FROM ({latest}) AS ticks)"
    if on_sqlite:
        create, fill, *triggers = CLOCK_ON_SQLITE
        op.execute(create)
        op.execute(fill.format(f"SELECT tick + 2 - tick % 2 FROM {latest}"))
        for trigger in triggers:
            op.execute(trigger)
    else:
        op.execute("CREATE SEQUENCE zrb_tick AS BIGINT")
        op.execute(f"SELECT setval('zrb_tick', tick + 1) FROM {latest} AS latest")
    op.drop_index("ix_zrb_session_task_created_at", table_name="zrb_session")
    op.create_index("ix_zrb_session_task_id", "zrb_session", ["task", "id"])
    op.create_index("ix_zrb_session_task_finished_tick", "zrb_session", ["task", "finished_tick"])
    op.drop_index("ix_zrb_session_not_completed", table_name="zrb_session")
    not_completed = sa.text("status <> 'completed'")
    op.create_index(
        "ix_zrb_session_not_completed",
        "zrb_session",
        ["status", "id"],
        sqlite_where=not_completed,
        postgresql_where=not_completed,
    )
    op.drop_index("ix_zrb_attempt_completed", table_name="zrb_attempt")
    completed = sa.text("status = 'completed'")
    op.create_index(
        "ix_zrb_attempt_completed",
        "zrb_attempt",
        ["task", "ended_tick"],
        sqlite_where=completed,
        postgresql_where=completed,
    )
