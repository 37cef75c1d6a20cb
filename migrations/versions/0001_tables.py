"""The tables of the first release. Until it is out, they are changed here.

There is no downgrade. The copy that is made before an upgrade is the way back.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# On SQLite only a column whose type is exactly INTEGER becomes the row id.
Id = sa.BigInteger().with_variant(sa.Integer, "sqlite")

CLOCK_ON_SQLITE = (
    "CREATE TABLE zrb_clock (tick BIGINT NOT NULL)",
    "INSERT INTO zrb_clock VALUES (0)",
    "CREATE TRIGGER zrb_attempt_begins AFTER INSERT ON zrb_attempt BEGIN UPDATE zrb_clock SET tick = tick + 2; END",
    "CREATE TRIGGER zrb_attempt_changes AFTER UPDATE OF started_tick, ended_tick, given_back_tick ON zrb_attempt "
    "BEGIN UPDATE zrb_clock SET tick = tick + 2; END",
)


def upgrade() -> None:
    op.create_table(
        "zrb_change",
        sa.Column("id", Id, autoincrement=True, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("action", sa.Text, nullable=False),
        sa.Column("session", sa.Text),
        sa.Column("detail", sa.Text),
        sa.Column("user", sa.Text),
        sa.Column("host", sa.Text, nullable=False),
        sa.Column("pid", sa.Integer, nullable=False),
        sa.Column("reason", sa.Text),
        sa.PrimaryKeyConstraint("id", name="pk_zrb_change"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_zrb_change_session", "zrb_change", ["session"])
    op.create_table(
        "zrb_session",
        sa.Column("id", Id, autoincrement=True, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("project", sa.Text),
        sa.Column("task", sa.Text),
        sa.Column("path", sa.Text),
        sa.Column("inputs", sa.Text),
        sa.Column("tasks", sa.Text),
        sa.Column("parent", sa.Text),
        sa.Column("forked_from", sa.Text),
        sa.Column("pinned", sa.Boolean, server_default=sa.false(), nullable=False),
        sa.Column("fence", sa.Integer, server_default=sa.text("0"), nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("ended_at", sa.BigInteger),
        sa.Column("created_tick", sa.BigInteger, server_default=sa.text("0"), nullable=False),
        sa.Column("ended_tick", sa.BigInteger),
        sa.PrimaryKeyConstraint("id", name="pk_zrb_session"),
        sa.UniqueConstraint("name", name="uq_zrb_session_name"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_zrb_session_ended_tick", "zrb_session", ["ended_tick"])
    op.create_index(
        "ix_zrb_session_not_completed",
        "zrb_session",
        ["status", "id"],
        sqlite_where=sa.text("status <> 'completed'"),
        postgresql_where=sa.text("status <> 'completed'"),
    )
    op.create_index("ix_zrb_session_task_ended_tick", "zrb_session", ["task", "ended_tick"])
    op.create_index("ix_zrb_session_task_id", "zrb_session", ["task", "id"])
    op.create_table(
        "zrb_queue",
        sa.Column("id", Id, autoincrement=True, nullable=False),
        sa.Column("session_id", Id, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("high", sa.BigInteger, server_default=sa.text("0"), nullable=False),
        sa.Column("low", sa.BigInteger, server_default=sa.text("1"), nullable=False),
        sa.Column("max_deliveries", sa.Integer),
        sa.Column("retry_after", sa.Text),
        sa.Column("paused_at", sa.BigInteger),
        sa.ForeignKeyConstraint(["session_id"], ["zrb_session.id"], name="fk_zrb_queue_session_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="pk_zrb_queue"),
        sa.UniqueConstraint("session_id", "name", name="uq_zrb_queue_session_id_name"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "zrb_run",
        sa.Column("id", Id, autoincrement=True, nullable=False),
        sa.Column("session_id", Id, nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("origin", sa.Text, nullable=False),
        sa.Column("host", sa.Text, nullable=False),
        sa.Column("boot_id", sa.Text),
        sa.Column("pid_namespace", sa.Text),
        sa.Column("pid", sa.Integer, nullable=False),
        sa.Column("process_started", sa.Text),
        sa.Column("user", sa.Text),
        sa.Column("command", sa.Text),
        sa.Column("folder", sa.Text),
        sa.Column("python_version", sa.Text),
        sa.Column("zrb_version", sa.Text),
        sa.Column("started_at", sa.BigInteger, nullable=False),
        sa.Column("lease_expires_at", sa.BigInteger, nullable=False),
        sa.Column("suspected_at", sa.BigInteger),
        sa.Column("ended_at", sa.BigInteger),
        sa.Column("status", sa.Text),
        sa.Column("told_at", sa.BigInteger),
        sa.Column("started_tick", sa.BigInteger, server_default=sa.text("0"), nullable=False),
        sa.Column("ended_tick", sa.BigInteger),
        sa.Column("error_type", sa.Text),
        sa.Column("error_message", sa.Text),
        sa.Column("error_traceback", sa.Text),
        sa.Column("stop_requested_at", sa.BigInteger),
        sa.Column("acknowledged_at", sa.BigInteger),
        sa.Column("inputs", sa.Text),
        sa.ForeignKeyConstraint(["session_id"], ["zrb_session.id"], name="fk_zrb_run_session_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="pk_zrb_run"),
        sa.UniqueConstraint("session_id", "number", name="uq_zrb_run_session_id_number"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "zrb_attempt",
        sa.Column("id", Id, autoincrement=True, nullable=False),
        sa.Column("session_id", Id, nullable=False),
        sa.Column("run_id", Id),
        sa.Column("fence", sa.Integer, nullable=False),
        sa.Column("task", sa.Text, nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("role", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("restorable", sa.Boolean, server_default=sa.true(), nullable=False),
        sa.Column("arguments", sa.Text),
        sa.Column("result_queue_id", Id),
        sa.Column("result_seq", sa.BigInteger),
        sa.Column("error_type", sa.Text),
        sa.Column("error_message", sa.Text),
        sa.Column("error_traceback", sa.Text),
        sa.Column("started_at", sa.BigInteger, nullable=False),
        sa.Column("ended_at", sa.BigInteger),
        sa.Column("given_back_at", sa.BigInteger),
        sa.Column("command_pid", sa.Integer),
        sa.Column("command_started", sa.Text),
        sa.Column("parent_id", Id),
        sa.Column("step_of", sa.Text),
        sa.Column("step", sa.Text),
        sa.Column("step_number", sa.Integer),
        sa.Column("once", sa.Boolean, server_default=sa.false(), nullable=False),
        sa.Column("result", sa.Text),
        sa.Column("started_tick", sa.BigInteger, server_default=sa.text("0"), nullable=False),
        sa.Column("ended_tick", sa.BigInteger),
        sa.Column("given_back_tick", sa.BigInteger),
        sa.Column("inputs_read", sa.Text),
        sa.Column("code", sa.Text),
        sa.ForeignKeyConstraint(["run_id"], ["zrb_run.id"], name="fk_zrb_attempt_run_id", ondelete="SET NULL"),
        sa.ForeignKeyConstraint(
            ["session_id"], ["zrb_session.id"], name="fk_zrb_attempt_session_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_zrb_attempt"),
        sa.UniqueConstraint("session_id", "task", "number", name="uq_zrb_attempt_session_id_task_number"),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "ix_zrb_attempt_completed",
        "zrb_attempt",
        ["task", "ended_tick"],
        sqlite_where=sa.text("status = 'completed'"),
        postgresql_where=sa.text("status = 'completed'"),
    )
    op.create_index("ix_zrb_attempt_run_id", "zrb_attempt", ["run_id"])
    op.create_index(
        "ix_zrb_attempt_running",
        "zrb_attempt",
        ["run_id"],
        sqlite_where=sa.text("status = 'running'"),
        postgresql_where=sa.text("status = 'running'"),
    )
    op.create_index(
        "ix_zrb_attempt_step",
        "zrb_attempt",
        ["session_id", "step_of", "step"],
        sqlite_where=sa.text("step_of IS NOT NULL"),
        postgresql_where=sa.text("step_of IS NOT NULL"),
    )
    op.create_table(
        "zrb_output",
        sa.Column("attempt_id", Id, autoincrement=False, nullable=False),
        sa.Column("piece", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("start", sa.BigInteger, nullable=False),
        sa.Column("size", sa.Integer, nullable=False),
        sa.Column("data", sa.Text, nullable=False),
        sa.ForeignKeyConstraint(
            ["attempt_id"], ["zrb_attempt.id"], name="fk_zrb_output_attempt_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("attempt_id", "piece", name="pk_zrb_output"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "zrb_value",
        sa.Column("queue_id", Id, autoincrement=False, nullable=False),
        sa.Column("seq", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("state", sa.Text, server_default=sa.text("'live'"), nullable=False),
        sa.Column("type", sa.Text, nullable=False),
        sa.Column("size", sa.Integer, nullable=False),
        sa.Column("pushed_at", sa.BigInteger, nullable=False),
        sa.Column("pushed_by", Id),
        sa.Column("ended_at", sa.BigInteger),
        sa.Column("taken_by", Id),
        sa.Column("moved_from", sa.BigInteger),
        sa.Column("orphaned", sa.Boolean, server_default=sa.false(), nullable=False),
        sa.Column("data", sa.Text, nullable=False),
        sa.Column("failed_deliveries", sa.Integer, server_default=sa.text("0"), nullable=False),
        sa.Column("pushed_tick", sa.BigInteger, server_default=sa.text("0"), nullable=False),
        sa.Column("ended_tick", sa.BigInteger),
        sa.Column("plain", sa.Boolean, server_default=sa.false(), nullable=False),
        sa.Column("due_at", sa.BigInteger),
        sa.ForeignKeyConstraint(["pushed_by"], ["zrb_attempt.id"], name="fk_zrb_value_pushed_by", ondelete="SET NULL"),
        sa.ForeignKeyConstraint(["queue_id"], ["zrb_queue.id"], name="fk_zrb_value_queue_id", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["taken_by"], ["zrb_attempt.id"], name="fk_zrb_value_taken_by", ondelete="SET NULL"),
        sa.PrimaryKeyConstraint("queue_id", "seq", name="pk_zrb_value"),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "ix_zrb_value_dead",
        "zrb_value",
        ["queue_id", "seq"],
        sqlite_where=sa.text("state = 'dead'"),
        postgresql_where=sa.text("state = 'dead'"),
    )
    op.create_index(
        "ix_zrb_value_delayed",
        "zrb_value",
        ["queue_id", "due_at"],
        sqlite_where=sa.text("due_at IS NOT NULL AND ended_at IS NULL"),
        postgresql_where=sa.text("due_at IS NOT NULL AND ended_at IS NULL"),
    )
    op.create_index(
        "ix_zrb_value_live",
        "zrb_value",
        ["queue_id", "seq", "ended_at", "due_at"],
        unique=True,
        sqlite_where=sa.text("ended_at IS NULL"),
        postgresql_where=sa.text("ended_at IS NULL"),
    )
    op.create_index(
        "ix_zrb_value_pushed_by",
        "zrb_value",
        ["pushed_by"],
        sqlite_where=sa.text("pushed_by IS NOT NULL"),
        postgresql_where=sa.text("pushed_by IS NOT NULL"),
    )
    op.create_index(
        "ix_zrb_value_taken_by",
        "zrb_value",
        ["taken_by", "queue_id"],
        sqlite_where=sa.text("taken_by IS NOT NULL"),
        postgresql_where=sa.text("taken_by IS NOT NULL"),
    )
    op.create_table(
        "zrb_chunk",
        sa.Column("queue_id", Id, autoincrement=False, nullable=False),
        sa.Column("seq", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("number", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("data", sa.Text, nullable=False),
        sa.ForeignKeyConstraint(
            ["queue_id", "seq"],
            ["zrb_value.queue_id", "zrb_value.seq"],
            name="fk_zrb_chunk_queue_id_seq",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("queue_id", "seq", "number", name="pk_zrb_chunk"),
    )
    op.create_table(
        "zrb_replaced",
        sa.Column("id", Id, autoincrement=True, nullable=False),
        sa.Column("queue_id", Id, nullable=False),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.Column("type", sa.Text, nullable=False),
        sa.Column("size", sa.Integer, nullable=False),
        sa.Column("data", sa.Text, nullable=False),
        sa.Column("failed_deliveries", sa.Integer, nullable=False),
        sa.Column("replaced_at", sa.BigInteger, nullable=False),
        sa.Column("replaced_tick", sa.BigInteger, nullable=False),
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
    op.create_table(
        "zrb_return",
        sa.Column("id", Id, autoincrement=True, nullable=False),
        sa.Column("queue_id", Id, nullable=False),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.Column("taken_by", Id),
        sa.Column("taken_at", sa.BigInteger, nullable=False),
        sa.Column("returned_at", sa.BigInteger, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("failed_deliveries", sa.Integer),
        sa.Column("taken_tick", sa.BigInteger, server_default=sa.text("0"), nullable=False),
        sa.Column("returned_tick", sa.BigInteger, server_default=sa.text("0"), nullable=False),
        sa.Column("due_at", sa.BigInteger),
        sa.ForeignKeyConstraint(
            ["queue_id", "seq"],
            ["zrb_value.queue_id", "zrb_value.seq"],
            name="fk_zrb_return_queue_id_seq",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(["taken_by"], ["zrb_attempt.id"], name="fk_zrb_return_taken_by", ondelete="SET NULL"),
        sa.PrimaryKeyConstraint("id", name="pk_zrb_return"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_zrb_return_queue_id_seq", "zrb_return", ["queue_id", "seq"])
    op.create_index("ix_zrb_return_taken_by", "zrb_return", ["taken_by"])

    if op.get_context().dialect.name == "sqlite":
        for statement in CLOCK_ON_SQLITE:
            op.execute(statement)
    else:
        op.execute("CREATE SEQUENCE zrb_tick AS BIGINT")
