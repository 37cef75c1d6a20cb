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

# STRICT tables of SQLite know no other names of types. A column of the type INTEGER is also the row id.
BigInt = sa.BigInteger().with_variant(sa.Integer, "sqlite")
Flag = sa.Boolean().with_variant(sa.Integer, "sqlite")

# The limits of numbers.
COUNT = (0, 2**31 - 1)
NUMBER = (1, 2**31 - 1)
OFFSET = (0, 2**63 - 1)
SEQ = (-(10**17), 10**17)
TICK = (0, 2**60)
TIME = (0, 253_402_300_799_999_999)  # to the last microsecond of the year 9999

CLOCK_ON_SQLITE = (
    "CREATE TABLE zrb_clock (tick INTEGER NOT NULL) STRICT",
    "INSERT INTO zrb_clock VALUES (2)",
    "CREATE TRIGGER zrb_attempt_begins AFTER INSERT ON zrb_attempt BEGIN UPDATE zrb_clock SET tick = tick + 2; END",
    "CREATE TRIGGER zrb_attempt_changes AFTER UPDATE OF started_tick, ended_tick, given_back_tick ON zrb_attempt "
    "BEGIN UPDATE zrb_clock SET tick = tick + 2; END",
)


def on_sqlite() -> bool:
    return op.get_context().dialect.name == "sqlite"


def check(name: str, condition: str) -> sa.CheckConstraint:
    return sa.CheckConstraint(condition, name=op.f(f"ck_{name}"))


def words(table: str, column: str, *allowed: str) -> sa.CheckConstraint:
    return check(f"{table}_{column}", " OR ".join(f"{column} = '{word}'" for word in allowed))


def checks_on_sqlite(table: str, *checks: sa.CheckConstraint, **conditions: str) -> list[sa.CheckConstraint]:
    """Return the rules that PostgreSQL does not check, because they would cost too much there."""
    if not on_sqlite():
        return []
    return [*checks, *(check(f"{table}_{name}", condition) for name, condition in conditions.items())]


def numbers(table: str, **limits: tuple[int, int]) -> list[sa.CheckConstraint]:
    conditions = (f"{column} BETWEEN {least} AND {most}" for column, (least, most) in limits.items())
    return checks_on_sqlite(table, numbers=" AND ".join(conditions))


def flags(table: str, *columns: str) -> list[sa.CheckConstraint]:
    return checks_on_sqlite(table, flags=" AND ".join(f"{column} IN (0, 1)" for column in columns))


def json(table: str, **types: str) -> list[sa.CheckConstraint]:
    condition = "json_typeof({0}::json) = '{1}'"
    if on_sqlite():
        condition = "CASE WHEN json_valid({0}) THEN json_type({0}) = '{1}' ELSE {0} IS NULL END"
    return [check(f"{table}_{column}", condition.format(column, kind)) for column, kind in types.items()]


def partial_index(name: str, table: str, columns: list[str], where: str, *, unique: bool = False) -> None:
    condition = sa.text(where)
    op.create_index(name, table, columns, unique=unique, sqlite_where=condition, postgresql_where=condition)


def random_text() -> sa.TextClause:
    return sa.text("(lower(hex(randomblob(16))))" if on_sqlite() else "(gen_random_uuid())::text")


def upgrade() -> None:
    op.create_table(
        "zrb_change",
        sa.Column("id", BigInt, autoincrement=True, nullable=False),
        sa.Column("session", sa.Text),
        sa.Column("action", sa.Text, nullable=False),
        sa.Column("detail", sa.Text),
        sa.Column("reason", sa.Text),
        sa.Column("at", BigInt, nullable=False),
        sa.Column("user", sa.Text),
        sa.Column("host", sa.Text, nullable=False),
        sa.Column("pid", sa.Integer, nullable=False),
        *numbers("zrb_change", at=TIME, pid=COUNT),
        sa.PrimaryKeyConstraint("id", name="pk_zrb_change"),
        sqlite_autoincrement=True,
        sqlite_strict=True,
    )
    op.create_index("ix_zrb_change_session", "zrb_change", ["session"])
    op.create_table(
        "zrb_session",
        sa.Column("id", BigInt, autoincrement=True, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("project", sa.Text),
        sa.Column("task", sa.Text),
        sa.Column("path", sa.Text),
        sa.Column("parent", sa.Text),
        sa.Column("forked_from", sa.Text),
        sa.Column("pinned", Flag, nullable=False, server_default=sa.false()),
        sa.Column("fence", sa.Integer, nullable=False, server_default=sa.text("0")),
        sa.Column("created_at", BigInt, nullable=False),
        sa.Column("created_tick", BigInt, nullable=False),
        sa.Column("ended_at", BigInt),
        sa.Column("ended_tick", BigInt),
        sa.Column("tasks", sa.Text),
        sa.Column("inputs", sa.Text),
        sa.Column("identity", sa.Text, nullable=False, server_default=random_text()),
        sa.Column("traceparent", sa.Text),
        words("zrb_session", "status", "open", "running", "waiting", "completed", "failed", "interrupted"),
        *numbers("zrb_session", fence=COUNT, created_at=TIME, created_tick=TICK, ended_at=TIME, ended_tick=TICK),
        *flags("zrb_session", "pinned"),
        *json("zrb_session", path="array", tasks="object", inputs="object"),
        check(
            "zrb_session_ended",
            "(status IN ('open', 'running')) = (ended_at IS NULL) AND (ended_at IS NULL) = (ended_tick IS NULL)",
        ),
        check("zrb_session_order", "ended_tick >= created_tick"),
        sa.PrimaryKeyConstraint("id", name="pk_zrb_session"),
        sa.UniqueConstraint("name", name="uq_zrb_session_name"),
        sqlite_autoincrement=True,
        sqlite_strict=True,
    )
    op.create_index("ix_zrb_session_ended_tick", "zrb_session", ["ended_tick"])
    partial_index("ix_zrb_session_fork", "zrb_session", ["forked_from"], "forked_from IS NOT NULL")
    partial_index(
        "ix_zrb_session_not_completed",
        "zrb_session",
        ["status", "id", "task", "project", "parent", "ended_tick"],
        "status <> 'completed'",
    )
    op.create_index("ix_zrb_session_task_ended_tick", "zrb_session", ["task", "ended_tick"])
    op.create_index("ix_zrb_session_task_id", "zrb_session", ["task", "id"])
    op.create_table(
        "zrb_queue",
        sa.Column("id", BigInt, autoincrement=True, nullable=False),
        sa.Column("session_id", BigInt, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("high", BigInt, nullable=False, server_default=sa.text("0")),
        sa.Column("low", BigInt, nullable=False, server_default=sa.text("1")),
        sa.Column("max_deliveries", sa.Integer),
        sa.Column("retry_after", sa.Text),
        sa.Column("paused_at", BigInt),
        *numbers("zrb_queue", high=SEQ, low=SEQ, max_deliveries=NUMBER, paused_at=TIME),
        *checks_on_sqlite("zrb_queue", *json("zrb_queue", retry_after="array"), order="low <= high + 1"),
        sa.ForeignKeyConstraint(["session_id"], ["zrb_session.id"], name="fk_zrb_queue_session_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="pk_zrb_queue"),
        sa.UniqueConstraint("session_id", "name", name="uq_zrb_queue_session_id_name"),
        sqlite_autoincrement=True,
        sqlite_strict=True,
    )
    op.create_table(
        "zrb_run",
        sa.Column("id", BigInt, autoincrement=True, nullable=False),
        sa.Column("session_id", BigInt, nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("origin", sa.Text, nullable=False),
        sa.Column("status", sa.Text),
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
        sa.Column("started_at", BigInt, nullable=False),
        sa.Column("started_tick", BigInt, nullable=False),
        sa.Column("lease_expires_at", BigInt, nullable=False),
        sa.Column("suspected_at", BigInt),
        sa.Column("ended_at", BigInt),
        sa.Column("ended_tick", BigInt),
        sa.Column("stop_requested_at", BigInt),
        sa.Column("notified_at", BigInt),
        sa.Column("acknowledged_at", BigInt),
        sa.Column("error_type", sa.Text),
        sa.Column("error_message", sa.Text),
        sa.Column("error_traceback", sa.Text),
        sa.Column("inputs", sa.Text),
        words("zrb_run", "origin", "cli", "web", "library", "reclaim"),
        words("zrb_run", "status", "completed", "failed", "interrupted", "lost", "waiting"),
        *numbers(
            "zrb_run",
            number=NUMBER,
            pid=COUNT,
            started_at=TIME,
            started_tick=TICK,
            lease_expires_at=TIME,
            suspected_at=TIME,
            ended_at=TIME,
            ended_tick=TICK,
            stop_requested_at=TIME,
            notified_at=TIME,
            acknowledged_at=TIME,
        ),
        *json("zrb_run", command="array", inputs="object"),
        check("zrb_run_ended", "(status IS NULL) = (ended_at IS NULL) AND (ended_at IS NULL) = (ended_tick IS NULL)"),
        check("zrb_run_order", "ended_tick >= started_tick"),
        sa.ForeignKeyConstraint(["session_id"], ["zrb_session.id"], name="fk_zrb_run_session_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="pk_zrb_run"),
        sa.UniqueConstraint("session_id", "number", name="uq_zrb_run_session_id_number"),
        sqlite_autoincrement=True,
        sqlite_strict=True,
    )
    partial_index("ix_zrb_run_incomplete", "zrb_run", ["session_id"], "status = 'completed' AND error_type IS NOT NULL")
    op.create_table(
        "zrb_attempt",
        sa.Column("id", BigInt, autoincrement=True, nullable=False),
        sa.Column("session_id", BigInt, nullable=False),
        sa.Column("run_id", BigInt),
        sa.Column("fence", sa.Integer, nullable=False),
        sa.Column("task", sa.Text, nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("restorable", Flag, nullable=False, server_default=sa.true()),
        sa.Column("started_at", BigInt, nullable=False),
        sa.Column("started_tick", BigInt, nullable=False),
        sa.Column("ended_at", BigInt),
        sa.Column("ended_tick", BigInt),
        sa.Column("given_back_at", BigInt),
        sa.Column("given_back_tick", BigInt),
        sa.Column("command_pid", sa.Integer),
        sa.Column("command_started", sa.Text),
        sa.Column("result_queue_id", BigInt),
        sa.Column("result_seq", BigInt),
        sa.Column("parent_id", BigInt),
        sa.Column("used_by", BigInt),
        sa.Column("once", Flag, nullable=False, server_default=sa.false()),
        sa.Column("step_of", sa.Text),
        sa.Column("step", sa.Text),
        sa.Column("step_number", sa.Integer),
        sa.Column("attributes", sa.Text),
        sa.Column("awaited_queue", sa.Text),
        sa.Column("deadline_at", BigInt),
        sa.Column("say", sa.Text),
        sa.Column("say_digest", sa.Text),
        sa.Column("error_type", sa.Text),
        sa.Column("error_message", sa.Text),
        sa.Column("error_traceback", sa.Text),
        sa.Column("error_data", sa.Text),
        sa.Column("inputs_read", sa.Text),
        sa.Column("inputs_assigned", sa.Text),
        sa.Column("code", sa.Text),
        sa.Column("inside", sa.Text),
        sa.Column("arguments", sa.Text),
        sa.Column("result", sa.Text),
        *numbers(
            "zrb_attempt",
            fence=COUNT,
            number=NUMBER,
            started_at=TIME,
            started_tick=TICK,
            ended_at=TIME,
            ended_tick=TICK,
            given_back_at=TIME,
            given_back_tick=TICK,
            command_pid=NUMBER,
            result_seq=SEQ,
            step_number=NUMBER,
            deadline_at=TIME,
        ),
        *flags("zrb_attempt", "restorable", "once"),
        *checks_on_sqlite(
            "zrb_attempt",
            words("zrb_attempt", "status", "running", "completed", "failed", "interrupted", "lost", "waiting"),
            *json("zrb_attempt", attributes="object", inputs_read="array", inputs_assigned="object"),
            ended="(status = 'running') = (ended_at IS NULL) AND (ended_at IS NULL) = (ended_tick IS NULL)",
            order="ended_tick >= started_tick AND given_back_tick >= ended_tick",
            given_back="(given_back_at IS NULL OR ended_at IS NOT NULL) "
            "AND (given_back_at IS NULL) = (given_back_tick IS NULL)",
            result="(result_queue_id IS NULL) = (result_seq IS NULL) AND (result_seq IS NULL OR step_of IS NULL)",
            step="CASE WHEN step_of IS NULL "
            "THEN step IS NULL AND step_number IS NULL AND parent_id IS NULL AND NOT once "
            "ELSE step IS NOT NULL AND step_number IS NOT NULL AND task = step_of || '/' || step_number END",
            wait="CASE WHEN step_of IS NULL THEN awaited_queue IS NULL AND deadline_at IS NULL "
            "ELSE status <> 'waiting' OR awaited_queue IS NOT NULL OR deadline_at IS NOT NULL END",
        ),
        sa.ForeignKeyConstraint(
            ["session_id"], ["zrb_session.id"], name="fk_zrb_attempt_session_id", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["run_id"], ["zrb_run.id"], name="fk_zrb_attempt_run_id", ondelete="SET NULL"),
        sa.PrimaryKeyConstraint("id", name="pk_zrb_attempt"),
        sa.UniqueConstraint("session_id", "task", "number", name="uq_zrb_attempt_session_id_task_number"),
        sqlite_autoincrement=True,
        sqlite_strict=True,
    )
    partial_index("ix_zrb_attempt_completed", "zrb_attempt", ["task", "ended_tick"], "status = 'completed'")
    op.create_index("ix_zrb_attempt_run_id", "zrb_attempt", ["run_id"])
    partial_index("ix_zrb_attempt_running", "zrb_attempt", ["run_id"], "status = 'running'")
    partial_index("ix_zrb_attempt_step", "zrb_attempt", ["session_id", "step_of", "step"], "step_of IS NOT NULL")
    op.create_table(
        "zrb_output",
        sa.Column("attempt_id", BigInt, autoincrement=False, nullable=False),
        sa.Column("piece", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("start", BigInt, nullable=False),
        sa.Column("size", sa.Integer, nullable=False),
        sa.Column("data", sa.Text, nullable=False),
        *numbers("zrb_output", piece=NUMBER, start=OFFSET, size=NUMBER),
        sa.ForeignKeyConstraint(
            ["attempt_id"], ["zrb_attempt.id"], name="fk_zrb_output_attempt_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("attempt_id", "piece", name="pk_zrb_output"),
        sqlite_with_rowid=False,
        sqlite_strict=True,
    )
    op.create_table(
        "zrb_value",
        sa.Column("queue_id", BigInt, autoincrement=False, nullable=False),
        sa.Column("seq", BigInt, autoincrement=False, nullable=False),
        sa.Column("state", sa.Text, nullable=False, server_default=sa.text("'live'")),
        sa.Column("type", sa.Text, nullable=False),
        sa.Column("size", sa.Integer, nullable=False),
        sa.Column("pushed_by", BigInt),
        sa.Column("pushed_at", BigInt, nullable=False),
        sa.Column("pushed_tick", BigInt, nullable=False),
        sa.Column("taken_by", BigInt),
        sa.Column("ended_at", BigInt),
        sa.Column("ended_tick", BigInt),
        sa.Column("due_at", BigInt),
        sa.Column("failed_deliveries", sa.Integer, nullable=False, server_default=sa.text("0")),
        sa.Column("moved_from", BigInt),
        sa.Column("orphaned", Flag, nullable=False, server_default=sa.false()),
        sa.Column("plain", Flag, nullable=False, server_default=sa.false()),
        sa.Column("traceparent", sa.Text),
        sa.Column("data", sa.Text, nullable=False),
        *numbers(
            "zrb_value",
            seq=SEQ,
            size=NUMBER,
            pushed_at=TIME,
            pushed_tick=TICK,
            ended_at=TIME,
            ended_tick=TICK,
            due_at=TIME,
            failed_deliveries=COUNT,
            moved_from=SEQ,
        ),
        *flags("zrb_value", "orphaned", "plain"),
        *checks_on_sqlite(
            "zrb_value",
            words("zrb_value", "state", "live", "taken", "removed", "retracted", "dead"),
            ended="(state = 'live') = (ended_at IS NULL) AND (ended_at IS NULL) = (ended_tick IS NULL)",
            order="ended_tick >= pushed_tick",
            held="state IN ('taken', 'removed') OR (taken_by IS NULL AND NOT orphaned)",
            dead="state <> 'dead' OR failed_deliveries > 0",
        ),
        sa.ForeignKeyConstraint(["queue_id"], ["zrb_queue.id"], name="fk_zrb_value_queue_id", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["pushed_by"], ["zrb_attempt.id"], name="fk_zrb_value_pushed_by", ondelete="SET NULL"),
        sa.ForeignKeyConstraint(["taken_by"], ["zrb_attempt.id"], name="fk_zrb_value_taken_by", ondelete="SET NULL"),
        sa.PrimaryKeyConstraint("queue_id", "seq", name="pk_zrb_value"),
        sqlite_with_rowid=False,
        sqlite_strict=True,
    )
    partial_index("ix_zrb_value_dead", "zrb_value", ["queue_id", "seq"], "state = 'dead'")
    partial_index(
        "ix_zrb_value_delayed", "zrb_value", ["queue_id", "due_at"], "due_at IS NOT NULL AND ended_at IS NULL"
    )
    partial_index(
        "ix_zrb_value_live", "zrb_value", ["queue_id", "seq", "ended_at", "due_at"], "ended_at IS NULL", unique=True
    )
    partial_index("ix_zrb_value_pushed_by", "zrb_value", ["pushed_by", "queue_id"], "pushed_by IS NOT NULL")
    partial_index("ix_zrb_value_taken_by", "zrb_value", ["taken_by", "queue_id"], "taken_by IS NOT NULL")
    op.create_table(
        "zrb_chunk",
        sa.Column("queue_id", BigInt, autoincrement=False, nullable=False),
        sa.Column("seq", BigInt, autoincrement=False, nullable=False),
        sa.Column("number", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("data", sa.Text, nullable=False),
        *numbers("zrb_chunk", seq=SEQ, number=COUNT),
        sa.ForeignKeyConstraint(
            ["queue_id", "seq"],
            ["zrb_value.queue_id", "zrb_value.seq"],
            name="fk_zrb_chunk_queue_id_seq",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("queue_id", "seq", "number", name="pk_zrb_chunk"),
        sqlite_strict=True,
    )
    op.create_table(
        "zrb_replaced",
        sa.Column("id", BigInt, autoincrement=True, nullable=False),
        sa.Column("queue_id", BigInt, nullable=False),
        sa.Column("seq", BigInt, nullable=False),
        sa.Column("type", sa.Text, nullable=False),
        sa.Column("size", sa.Integer, nullable=False),
        sa.Column("failed_deliveries", sa.Integer, nullable=False),
        sa.Column("replaced_at", BigInt, nullable=False),
        sa.Column("replaced_tick", BigInt, nullable=False),
        sa.Column("data", sa.Text, nullable=False),
        *numbers("zrb_replaced", seq=SEQ, size=NUMBER, failed_deliveries=COUNT, replaced_at=TIME, replaced_tick=TICK),
        sa.ForeignKeyConstraint(
            ["queue_id", "seq"],
            ["zrb_value.queue_id", "zrb_value.seq"],
            name="fk_zrb_replaced_queue_id_seq",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name="pk_zrb_replaced"),
        sqlite_autoincrement=True,
        sqlite_strict=True,
    )
    op.create_index("ix_zrb_replaced_queue_id_seq", "zrb_replaced", ["queue_id", "seq"])
    op.create_table(
        "zrb_return",
        sa.Column("id", BigInt, autoincrement=True, nullable=False),
        sa.Column("queue_id", BigInt, nullable=False),
        sa.Column("seq", BigInt, nullable=False),
        sa.Column("taken_by", BigInt),
        sa.Column("taken_at", BigInt, nullable=False),
        sa.Column("taken_tick", BigInt, nullable=False),
        sa.Column("returned_at", BigInt, nullable=False),
        sa.Column("returned_tick", BigInt, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("failed_deliveries", sa.Integer),
        sa.Column("due_at", BigInt),
        *numbers(
            "zrb_return",
            seq=SEQ,
            taken_at=TIME,
            taken_tick=TICK,
            returned_at=TIME,
            returned_tick=TICK,
            failed_deliveries=COUNT,
            due_at=TIME,
        ),
        check("zrb_return_order", "returned_tick >= taken_tick"),
        sa.ForeignKeyConstraint(
            ["queue_id", "seq"],
            ["zrb_value.queue_id", "zrb_value.seq"],
            name="fk_zrb_return_queue_id_seq",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(["taken_by"], ["zrb_attempt.id"], name="fk_zrb_return_taken_by", ondelete="SET NULL"),
        sa.PrimaryKeyConstraint("id", name="pk_zrb_return"),
        sqlite_autoincrement=True,
        sqlite_strict=True,
    )
    op.create_index("ix_zrb_return_queue_id_seq", "zrb_return", ["queue_id", "seq"])
    op.create_index("ix_zrb_return_taken_by", "zrb_return", ["taken_by"])
    if on_sqlite():
        for statement in CLOCK_ON_SQLITE:
            op.execute(statement)
    else:
        op.execute("CREATE SEQUENCE zrb_tick AS BIGINT")
