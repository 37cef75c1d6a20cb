"""The invariants of single columns (`db/columns.py`), as statements that find the rows that violate them."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import sqlalchemy as sa
from sqlalchemy import literal_column

from zrb_store.db import columns
from zrb_store.db.columns import Columns
from zrb_store.db.dialect import now
from zrb_store.db.tables import attempt, change, chunk, output, queue, returned, run, session, value
from zrb_store.queries.doctor.invariants import ATTEMPTS, REPORT, RESTORE, RESTORE_VALUE, SESSIONS, VALUES, Invariant

# Invariants of their own find invalid words in these columns, and contradictions between them and other columns.
_STATES = frozenset({"state", "status"})
_TYPES = {int: "integer", str: "text", bool: "integer"}


def _broken(table: sa.Table, rules: Columns, dialect: str, without: Collection[str] = ()) -> sa.ColumnElement[bool]:
    """Return the condition that a row has an invalid number, time or word; on SQLite also a value of another type."""
    conditions: list[Any] = []
    for name, rule in rules.items():
        column = table.c[name]
        if rule.kind is int:
            conditions += [column < literal_column(str(rule.least)), column > literal_column(str(rule.most))]
        if rule.words and name not in without:
            conditions.append(column.not_in([literal_column(f"'{word}'") for word in rule.words]))
        if dialect == "sqlite":
            kind = sa.func.typeof(column)
            conditions.append(kind.not_in([literal_column(f"'{each}'") for each in (_TYPES[rule.kind], "null")]))
            if rule.kind is bool:
                conditions.append(sa.cast(column, sa.Integer).not_in([literal_column("0"), literal_column("1")]))
            if not rule.nullable:
                conditions.append(column.is_(None))
    return sa.or_(*conditions)


def _invariants(name: str, wrong: str, statement: sa.Select[Any], table: sa.Table, rules: Columns) -> list[Invariant]:
    return [
        Invariant(name, wrong, RESTORE, statement.where(_broken(table, rules, dialect, _STATES)), dialect=dialect)
        for dialect in ("sqlite", "postgresql")
    ]


_RETURNS = sa.select(session.c.name, queue.c.name.label("queue"), returned.c.seq).select_from(
    returned.join(queue, queue.c.id == returned.c.queue_id).join(session, session.c.id == queue.c.session_id)
)
_RUNS = SESSIONS.join(run, run.c.session_id == session.c.id)
_CHANGES = sa.select(sa.func.coalesce(change.c.session, literal_column("'-'")))

_CHUNKS = VALUES.join(chunk, sa.and_(chunk.c.queue_id == value.c.queue_id, chunk.c.seq == value.c.seq))
_previous = chunk.alias("previous")


def _has_chunk(number: Any) -> Any:
    of_value = sa.and_(_previous.c.queue_id == value.c.queue_id, _previous.c.seq == value.c.seq)
    return sa.exists(sa.select(literal_column("1")).where(of_value, _previous.c.number == number))


VALUE_COLUMNS = [
    *_invariants("value-columns", "have a column with an invalid number, time or word", VALUES, value, columns.VALUE),
    *_invariants(
        "chunk-columns", "have a chunk with an invalid number, or without text", _CHUNKS, chunk, columns.CHUNK
    ),
    Invariant(
        "value-text",
        "have no text, or two",
        RESTORE_VALUE,
        VALUES.where((value.c.data == literal_column("''")) != _has_chunk(literal_column("0"))),
    ),
    Invariant(
        "value-chunks",
        "have a text of which a chunk is missing",
        RESTORE_VALUE,
        _CHUNKS.where(chunk.c.number > literal_column("0"), ~_has_chunk(chunk.c.number - literal_column("1"))),
    ),
    *_invariants("return-columns", "have a return with an invalid number or time", _RETURNS, returned, columns.RETURN),
]
_OUTPUT = ATTEMPTS.join(output, output.c.attempt_id == attempt.c.id)
_before, _earlier = output.alias("before"), output.alias("earlier")
ATTEMPT_COLUMNS = [
    *_invariants(
        "attempt-columns", "have a column with an invalid number, time or word", ATTEMPTS, attempt, columns.ATTEMPT
    ),
    *_invariants("output-columns", "have a piece of output with an invalid number", _OUTPUT, output, columns.OUTPUT),
    Invariant(
        "output-pieces",
        "have output in which a piece is missing",
        REPORT,
        _OUTPUT.join(_before, _before.c.attempt_id == output.c.attempt_id).where(
            # Of the pieces before it, the last one.
            _before.c.piece
            == sa.select(sa.func.max(_earlier.c.piece))
            .where(_earlier.c.attempt_id == output.c.attempt_id, _earlier.c.piece < output.c.piece)
            .scalar_subquery(),
            sa.or_(
                output.c.piece != _before.c.piece + literal_column("1"),
                output.c.start != _before.c.start + _before.c.size,
            ),
        ),
    ),
]
SESSION_COLUMNS = [
    *_invariants(
        "session-columns", "have a column with an invalid number, time or word", SESSIONS, session, columns.SESSION
    ),
    *_invariants("run-columns", "have a run with an invalid number, time or word", _RUNS, run, columns.RUN),
    *_invariants(
        "queue-columns",
        "have a queue whose counters are out of range",
        SESSIONS.join(queue, queue.c.session_id == session.c.id),
        queue,
        columns.QUEUE,
    ),
    *_invariants(
        "change-columns",
        "have an unreadable record of a change by hand",
        _CHANGES,
        change,
        columns.CHANGE,
    ),
    Invariant(
        "lease-end",
        "have a lease that ends more than a day from now, so that nobody else can run them",
        "end the process that runs them; if there is none, set lease_expires_at in zrb_run to 0 with SQL",
        _RUNS.where(
            run.c.ended_at.is_(None), run.c.lease_expires_at > now() + literal_column(str(columns.LONGEST_LEASE))
        ),
    ),
]
