"""What `doctor` reads of the texts that must be JSON."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from sqlalchemy import bindparam

from zrb_store.db.dialect import whole_text
from zrb_store.db.tables import attempt, output, queue, run, session, value
from zrb_store.db.transaction import Executor, Transaction

_SESSIONS = sa.select(session.c.name, session.c.path, session.c.inputs, session.c.tasks)
_RUNS = sa.select(session.c.name, run.c.command).join(run, run.c.session_id == session.c.id)
_RESULTS = (
    sa.select(session.c.name, attempt.c.task, attempt.c.number, attempt.c.result)
    .join(attempt, attempt.c.session_id == session.c.id)
    .where(attempt.c.step_of.is_not(None), attempt.c.result.is_not(None))
)
_OUTPUT = (
    sa.select(session.c.name, attempt.c.task, attempt.c.number, output.c.size, output.c.data)
    .join(attempt, attempt.c.session_id == session.c.id)
    .join(output, output.c.attempt_id == attempt.c.id)
)
_VALUES = sa.select(value.c.queue_id, value.c.seq, whole_text())
_LABEL = (
    sa.select(session.c.name, queue.c.name.label("queue"))
    .join(queue, queue.c.session_id == session.c.id)
    .where(queue.c.id == bindparam("queue_id"))
)


def of_sessions(transaction: Transaction) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the texts of each session by column, and then those of each run, with the session's name."""
    for name, path, inputs, tasks in transaction.stream(_SESSIONS):
        yield name, {"path": path, "inputs": inputs, "tasks": tasks}
    for name, command in transaction.stream(_RUNS):
        yield name, {"command": command}


def of_results(transaction: Transaction) -> Iterator[tuple[tuple[str, str, int], Any]]:
    """Yield the result of each step, with its session, task and number."""
    for *label, result in transaction.stream(_RESULTS):
        yield (label[0], label[1], label[2]), result


def of_output(transaction: Transaction) -> Iterator[tuple[tuple[str, str, int], Any, Any]]:
    """Yield the size and the text of each piece of output, after the session, task and number of its attempt."""
    for *label, size, data in transaction.stream(_OUTPUT):
        yield (label[0], label[1], label[2]), size, data


def of_values(transaction: Transaction) -> Iterator[tuple[int, int, Any]]:
    """Yield queue id, seq and text of each value."""
    return ((queue_id, seq, data) for queue_id, seq, data in transaction.stream(_VALUES))


def queue_of(executor: Executor, queue_id: int) -> tuple[str, str]:
    """Return the names of the queue with this id and of its session, the session's first."""
    rows = executor.execute(_LABEL, {"queue_id": queue_id})
    return (rows[0][0], rows[0][1]) if rows else ("-", "-")
