"""The tables. Only migrations create them; a test checks that both definitions are equal.

Times are whole microseconds since 1970 UTC, read from the database's clock inside the transaction that writes them:
they are for people. Ticks decide what came before what (guarantees.md, promise 17). Each beginning or end is an
event and draws the next tick; a change of a queue has a tick between those of the events before and after it.

The databases refuse rows that break a rule of one row: the limits of columns that `db/columns.py` states, and the
rules that follow the columns of each table here. `doctor` checks the rules that need several rows, and those whose
price a benchmark can see (`python -m benchmarks constraints`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ColumnElement,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    Sequence,
    Table,
    TableClause,
    Text,
    TextClause,
    UniqueConstraint,
    column,
    false,
    text,
    true,
)

from zrb_store.db import VERSION_TABLE, columns
from zrb_store.db.dialect.compiling import Expression

version = TableClause(VERSION_TABLE, column("version_num"))
# Ticks come from this table on SQLite, which has one writer at a time, and from a sequence on PostgreSQL. An event has
# an odd tick; changes of queues share the even one that follows, until the next event.
clock = TableClause("zrb_clock", column("tick", BigInteger))

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# STRICT tables of SQLite know no other names of types. A column of the type INTEGER is also the row id.
BigInt = BigInteger().with_variant(Integer, "sqlite")
Flag = Boolean().with_variant(Integer, "sqlite")

_random = Expression(Text(), sqlite="(lower(hex(randomblob(16))))", postgresql="(gen_random_uuid())::text")

tick = Sequence("zrb_tick", data_type=BigInteger, metadata=metadata)


def _columns(
    rules: columns.Columns,
    *,
    key: Collection[str] = ("id",),
    refers: Mapping[str, ForeignKey] = {},
    defaults: Mapping[str, ColumnElement[Any] | TextClause] = {},
) -> Iterator[Column[Any]]:
    """Yield the columns of a table, of the types of their rules; a flag is false by default."""
    for name, rule in rules.items():
        # AUTOINCREMENT: the id of a deleted row must never be used again.
        is_key, is_id = name in key, name == "id"
        default = defaults.get(name, false() if rule.kind is bool else None)
        yield Column(
            name,
            Text if rule.kind is str else Flag if rule.kind is bool else BigInt if rule.is_big else Integer,
            *([refers[name]] if name in refers else ()),
            primary_key=is_key,
            autoincrement=is_id,
            nullable=rule.nullable,
            server_default=default,
        )


def _rule(name: str, condition: str) -> CheckConstraint:
    return CheckConstraint(condition, name=name)


def _dear_rule(name: str, condition: str) -> CheckConstraint:
    """Return a rule of a table that each push, pop or step writes: PostgreSQL leaves it to `doctor`.

    PostgreSQL would read the text of each rule again for each statement. All rules of these tables together would make
    a step a third slower, and a push a fifth.
    """
    return CheckConstraint(condition, name=name, info={"is_dear": True}).ddl_if(dialect="sqlite")


def dear_rules(table: Table) -> str:
    """Return the condition that a row meets the rules of its table that PostgreSQL does not check."""
    rules = sorted(str(rule.sqltext) for rule in table.constraints if isinstance(rule, CheckConstraint) and rule.info)
    return " AND ".join(f"({rule})" for rule in rules)


def _limits(rules: columns.Columns, *, dear: bool = False) -> Iterator[CheckConstraint]:
    """Yield the limits of the columns of a table: words, short JSON, and on SQLite numbers and flags.

    PostgreSQL checks words and JSON alone, and these only in tables that are seldom written (see `_dear_rule`): there,
    the limits of numbers alone make a push and a pop a fifth slower. Its types limit them, and `doctor` finds what
    lies beyond our limits.
    """
    for name, rule in rules.items():
        if rule.words:
            # SQLite makes a table of the words after each IN, for each statement, which makes a push 8 % slower.
            known = _rule(name, " OR ".join(f"{name} = '{word}'" for word in rule.words))
            yield known.ddl_if(dialect="sqlite") if dear else known
        if rule.json is not None:
            is_valid = f"CASE WHEN json_valid({name}) THEN json_type({name}) = '{rule.json}' ELSE {name} IS NULL END"
            yield _rule(name, is_valid).ddl_if(dialect="sqlite")
            if not dear:
                yield _rule(name, f"json_typeof({name}::json) = '{rule.json}'").ddl_if(dialect="postgresql")
    numbers = [name for name, rule in rules.items() if rule.kind is int and not rule.is_id]
    limits = " AND ".join(f"{name} BETWEEN {rules[name].least} AND {rules[name].most}" for name in numbers)
    yield _rule("numbers", limits).ddl_if(dialect="sqlite")
    flags = [name for name, rule in rules.items() if rule.kind is bool]
    if flags:
        yield _rule("flags", " AND ".join(f"{name} IN (0, 1)" for name in flags)).ddl_if(dialect="sqlite")


session = Table(
    "zrb_session",
    metadata,
    *_columns(columns.SESSION, defaults={"fence": text("0"), "identity": _random}),
    *_limits(columns.SESSION),
    _rule(
        "ended", "(status IN ('open', 'running')) = (ended_at IS NULL) AND (ended_at IS NULL) = (ended_tick IS NULL)"
    ),
    _rule("order", "ended_tick >= created_tick"),
    UniqueConstraint("name"),
    Index(None, "ended_tick"),
    Index(None, "task", "id"),
    Index(None, "task", "ended_tick"),
    # For whoever looks for what is not done. It leaves out most sessions, so it is short. With the other columns,
    # `check` leaves out what newer sessions have made up for without reading it.
    Index(
        "ix_zrb_session_not_completed",
        *("status", "id", "task", "project", "parent", "ended_tick"),
        sqlite_where=text("status <> 'completed'"),
    ),
    # For `trace`. Few sessions are forks.
    Index("ix_zrb_session_fork", "forked_from", sqlite_where=text("forked_from IS NOT NULL")),
    sqlite_autoincrement=True,
    sqlite_strict=True,
)

run = Table(
    "zrb_run",
    metadata,
    *_columns(columns.RUN, refers={"session_id": ForeignKey("zrb_session.id", ondelete="CASCADE")}),
    *_limits(columns.RUN),
    _rule("ended", "(status IS NULL) = (ended_at IS NULL) AND (ended_at IS NULL) = (ended_tick IS NULL)"),
    _rule("order", "ended_tick >= started_tick"),
    UniqueConstraint("session_id", "number"),
    # For `check`. Few runs complete although a step of their script failed.
    Index("ix_zrb_run_incomplete", "session_id", sqlite_where=text("status = 'completed' AND error_type IS NOT NULL")),
    sqlite_autoincrement=True,
    sqlite_strict=True,
)

attempt = Table(
    "zrb_attempt",
    metadata,
    *_columns(
        columns.ATTEMPT,
        refers={
            "session_id": ForeignKey("zrb_session.id", ondelete="CASCADE"),
            "run_id": ForeignKey("zrb_run.id", ondelete="SET NULL"),
        },
        defaults={"restorable": true()},
    ),
    *_limits(columns.ATTEMPT, dear=True),
    _dear_rule("ended", "(status = 'running') = (ended_at IS NULL) AND (ended_at IS NULL) = (ended_tick IS NULL)"),
    _dear_rule("order", "ended_tick >= started_tick AND given_back_tick >= ended_tick"),
    _dear_rule(
        "given_back",
        "(given_back_at IS NULL OR ended_at IS NOT NULL) AND (given_back_at IS NULL) = (given_back_tick IS NULL)",
    ),
    _dear_rule(
        "result", "(result_queue_id IS NULL) = (result_seq IS NULL) AND (result_seq IS NULL OR step_of IS NULL)"
    ),
    _dear_rule(
        "step",
        "CASE WHEN step_of IS NULL THEN step IS NULL AND step_number IS NULL AND parent_id IS NULL AND NOT once "
        "ELSE step IS NOT NULL AND step_number IS NOT NULL AND task = step_of || '/' || step_number END",
    ),
    _dear_rule(
        "wait",
        "CASE WHEN step_of IS NULL THEN awaited_queue IS NULL AND deadline_at IS NULL "
        "ELSE status <> 'waiting' OR awaited_queue IS NOT NULL OR deadline_at IS NOT NULL END",
    ),
    UniqueConstraint("session_id", "task", "number"),
    Index(None, "run_id"),
    # For takers, which look for dead holders of a queue.
    Index("ix_zrb_attempt_running", "run_id", sqlite_where=text("status = 'running'")),
    # For `last`, which looks for the newest result of a task.
    Index("ix_zrb_attempt_completed", "task", "ended_tick", sqlite_where=text("status = 'completed'")),
    # Only a few attempts are steps.
    Index("ix_zrb_attempt_step", "session_id", "step_of", "step", sqlite_where=text("step_of IS NOT NULL")),
    sqlite_autoincrement=True,
    sqlite_strict=True,
)

# The last part of what an attempt printed and logged, in pieces, so that storing more of it writes nothing again.
output = Table(
    "zrb_output",
    metadata,
    *_columns(
        columns.OUTPUT,
        key=("attempt_id", "piece"),
        refers={"attempt_id": ForeignKey("zrb_attempt.id", ondelete="CASCADE")},
    ),
    *_limits(columns.OUTPUT),
    # One page less to write for each piece.
    sqlite_with_rowid=False,
    sqlite_strict=True,
)

queue = Table(
    "zrb_queue",
    metadata,
    *_columns(
        columns.QUEUE,
        refers={"session_id": ForeignKey("zrb_session.id", ondelete="CASCADE")},
        defaults={"high": text("0"), "low": text("1")},
    ),
    *_limits(columns.QUEUE, dear=True),
    _dear_rule("order", "low <= high + 1"),
    UniqueConstraint("session_id", "name"),
    sqlite_autoincrement=True,
    sqlite_strict=True,
)

value = Table(
    "zrb_value",
    metadata,
    *_columns(
        columns.VALUE,
        key=("queue_id", "seq"),
        refers={
            "queue_id": ForeignKey("zrb_queue.id", ondelete="CASCADE"),
            "pushed_by": ForeignKey("zrb_attempt.id", ondelete="SET NULL"),
            "taken_by": ForeignKey("zrb_attempt.id", ondelete="SET NULL"),
        },
        defaults={"state": text("'live'"), "failed_deliveries": text("0")},
    ),
    *_limits(columns.VALUE, dear=True),
    _dear_rule("ended", "(state = 'live') = (ended_at IS NULL) AND (ended_at IS NULL) = (ended_tick IS NULL)"),
    _dear_rule("order", "ended_tick >= pushed_tick"),
    _dear_rule("held", "state IN ('taken', 'removed') OR (taken_by IS NULL AND NOT orphaned)"),
    _dear_rule("dead", "state <> 'dead' OR failed_deliveries > 0"),
    # With ended_at and due_at, the index covers len(), and SQLite's planner chooses it without ANALYZE.
    Index(
        "ix_zrb_value_live", "queue_id", "seq", "ended_at", "due_at", unique=True, sqlite_where=text("ended_at IS NULL")
    ),
    Index("ix_zrb_value_delayed", "queue_id", "due_at", sqlite_where=text("due_at IS NOT NULL AND ended_at IS NULL")),
    Index("ix_zrb_value_pushed_by", "pushed_by", "queue_id", sqlite_where=text("pushed_by IS NOT NULL")),
    Index("ix_zrb_value_taken_by", "taken_by", "queue_id", sqlite_where=text("taken_by IS NOT NULL")),
    Index("ix_zrb_value_dead", "queue_id", "seq", sqlite_where=text("state = 'dead'")),
    # Rows are stored in queue order, so that a push writes one page less (benchmarks/, docs/adr).
    sqlite_with_rowid=False,
    sqlite_strict=True,
)

# The text of a long value. A change of its state does not write the text again (docs/adr/0020-large-values.md).
chunk = Table(
    "zrb_chunk",
    metadata,
    *_columns(columns.CHUNK, key=("queue_id", "seq", "number")),
    *_limits(columns.CHUNK),
    ForeignKeyConstraint(["queue_id", "seq"], ["zrb_value.queue_id", "zrb_value.seq"], ondelete="CASCADE"),
    # With a row id, since SQLite reads a long row whole when it only compares its key without one.
    sqlite_strict=True,
)

returned = Table(
    "zrb_return",
    metadata,
    *_columns(columns.RETURN, refers={"taken_by": ForeignKey("zrb_attempt.id", ondelete="SET NULL")}),
    *_limits(columns.RETURN),
    _rule("order", "returned_tick >= taken_tick"),
    ForeignKeyConstraint(["queue_id", "seq"], ["zrb_value.queue_id", "zrb_value.seq"], ondelete="CASCADE"),
    Index(None, "queue_id", "seq"),
    Index(None, "taken_by"),
    sqlite_autoincrement=True,
    sqlite_strict=True,
)

# What a value was before `replace` put another content in its place. The change by hand tells who did it, and why.
replaced = Table(
    "zrb_replaced",
    metadata,
    *_columns(columns.REPLACED),
    *_limits(columns.REPLACED),
    ForeignKeyConstraint(["queue_id", "seq"], ["zrb_value.queue_id", "zrb_value.seq"], ondelete="CASCADE"),
    Index(None, "queue_id", "seq"),
    sqlite_autoincrement=True,
    sqlite_strict=True,
)

# What people do by hand. `rm` and `prune` leave a trace here too.
change = Table(
    "zrb_change",
    metadata,
    *_columns(columns.CHANGE),
    *_limits(columns.CHANGE),
    Index(None, "session"),
    sqlite_autoincrement=True,
    sqlite_strict=True,
)


def add_postgresql_options() -> None:
    """Set the conditions of partial indexes for PostgreSQL, which makes SQLAlchemy import its dialects, for 50 ms."""
    for table in metadata.tables.values():
        for index in table.indexes:
            index.dialect_options["postgresql"]["where"] = index.dialect_options["sqlite"]["where"]
