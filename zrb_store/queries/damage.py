"""Finding damaged rows: those that violate an invariant, and the texts that only Python can check."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import sqlalchemy as sa

from zrb_store.db.dialect import whole_text
from zrb_store.db.tables import attempt, output, queue, run, session, value
from zrb_store.db.transaction import Executor, Transaction
from zrb_store.queries.invariants import INVARIANTS, Invariant

SHOWN = 3
"""How many of the rows that violate an invariant are named."""
_BATCH = 200


def label(row: Sequence[Any]) -> str:
    """Return the name of a row for people."""
    return row[0] or "-" if len(row) == 1 else f"{row[0]}/{row[1]}#{row[2]}"


def say(noun: str, wrong: str, count: int, labels: list[str]) -> str:
    """Return the message that so many rows are wrong, of which it names the first ones."""
    more = ", ..." if count > SHOWN else ""
    return f"{noun}s that {wrong}: {count} ({', '.join(labels[:SHOWN])}{more})"


def violations(executor: Executor, invariants: Sequence[Invariant]) -> Iterator[tuple[Invariant, str]]:
    """Yield each of the invariants that rows violate, with the message about them."""
    for each in invariants:
        rows = executor.execute(_first(each))
        count = len(rows)
        if count == SHOWN:
            count = executor.execute(sa.select(sa.func.count()).select_from(each.statement.subquery()))[0][0]
        if count:
            yield each, say(each.noun, each.wrong, count, [label(row) for row in rows])


@functools.cache  # of the same object, compiled once, although the tests check the rows a thousand times in a process
def _first(invariant: Invariant) -> sa.Select[Any]:
    return invariant.statement.limit(SHOWN)


def of_database(dialect_name: str) -> list[Invariant]:
    """Return the invariants that apply to this kind of database."""
    return [each for each in INVARIANTS if each.dialect in (None, dialect_name)]


def damaged_sessions(transaction: Transaction, names: Sequence[str] | None = None) -> dict[str, str]:
    """Return the sessions that violate an invariant, each with what is wrong with it.

    Args:
        transaction: An open transaction or snapshot.
        names: Names of the sessions that are looked at; by default all.
    """
    batches = [None] if names is None else [names[at : at + _BATCH] for at in range(0, len(names), _BATCH)]
    damaged: dict[str, str] = {}
    for each in of_database(transaction.dialect_name):
        if each.level == "warning":
            continue
        name = each.rows.selected_columns[0]
        found = each.statement.with_only_columns(name).distinct()
        for batch in batches:
            chosen = found if batch is None else found.where(sa.or_(*(name == each_name for each_name in batch)))
            for (session_name,) in transaction.execute(chosen):
                damaged.setdefault(session_name, f"{each.noun}s that {each.wrong}")
    return damaged


_TEXTS = {
    "session": sa.select(session.c.name, session.c.path, session.c.inputs, session.c.tasks),
    "run": sa.select(session.c.name, run.c.command).join(run, run.c.session_id == session.c.id),
    "result": sa.select(session.c.name, attempt.c.task, attempt.c.number, attempt.c.result)
    .join(attempt, attempt.c.session_id == session.c.id)
    .where(attempt.c.step_of.is_not(None), attempt.c.result.is_not(None)),
    "output": sa.select(session.c.name, attempt.c.task, attempt.c.number, output.c.size, output.c.data)
    .join(attempt, attempt.c.session_id == session.c.id)
    .join(output, output.c.attempt_id == attempt.c.id),
    "value": sa.select(session.c.name, queue.c.name.label("queue"), value.c.seq, whole_text()).select_from(
        value.join(queue, queue.c.id == value.c.queue_id).join(session, session.c.id == queue.c.session_id)
    ),
}


def texts(transaction: Transaction, kind: Literal["session", "run", "result", "output", "value"]) -> Iterator[Any]:
    """Yield the texts of all rows of a kind, each after the row's label; the text of output after its size."""
    return transaction.stream(_TEXTS[kind])
