"""What the store knows of an execution: the parts of its key, and where it was committed."""

from __future__ import annotations

import json
from typing import Final, NamedTuple, Protocol

from zrb_store.db.core import bindparam, literal, sa, statement, t
from zrb_store.db.transaction import Executor, Row
from zrb_store.queries.attempts import attempt_as
from zrb_store.queries.values import is_same_value

KIND: Final = "transaction"
"""The kind of a step that is a transaction of another database."""


class Execution(NamedTuple):
    """An execution of a step that is about to begin, and what is around it."""

    identity: str  # of its session
    cycle: int  # how often the step was given back after it had completed
    kind: str  # of the attempt around it
    elsewhere: str | None  # the session of a value that this attempt holds outside of steps, if that is another one


@statement
def _execution() -> sa.Select[*Row]:
    home, step = t.session.alias("home"), attempt_as("other")
    elsewhere = (
        sa.select(home.c.name)
        .select_from(t.value.join(t.queue).join(home, home.c.id == t.queue.c.session_id))
        .where(t.value.c.taken_by == bindparam("attempt_id"), t.queue.c.session_id != t.attempt.c.session_id)
        .limit(literal(1))
    )
    given_back = sa.select(sa.func.count()).where(
        step.c.session_id == t.attempt.c.session_id,
        step.c.step_of == t.attempt.c.task,
        step.c.step == bindparam("step"),
        step.c.kind == literal(KIND),
        step.c.status == literal("completed"),
        step.c.given_back_at.is_not(None),
    )
    return (
        sa.select(
            t.session.c.identity,
            given_back.correlate(t.attempt).scalar_subquery(),
            t.attempt.c.kind,
            elsewhere.correlate(t.attempt).scalar_subquery(),
        )
        .select_from(t.attempt.join(t.session))
        .where(t.attempt.c.id == bindparam("attempt_id"))
    )


def execution(executor: Executor, attempt_id: int, step: str) -> Execution | None:
    """Return the execution of a step that an attempt is about to begin; None if the attempt was removed."""
    rows = executor.execute(_execution(), {"attempt_id": attempt_id, "step": step})
    return Execution(*rows[0]) if rows else None


class TakenValue(NamedTuple):
    """What the key of a value needs."""

    identity: str  # of the session that its queue is of
    cycle: int  # how often it was requeued, or replaced


@statement
def _taken_value() -> sa.Select[*Row]:
    again = sa.select(sa.func.count()).where(
        is_same_value(t.returned, t.value), t.returned.c.failed_deliveries == literal(0)
    )
    replaced = sa.select(sa.func.count()).where(is_same_value(t.replaced, t.value))
    return (
        sa.select(t.session.c.identity, again.scalar_subquery() + replaced.scalar_subquery())
        .select_from(t.value.join(t.queue).join(t.session, t.session.c.id == t.queue.c.session_id))
        .where(
            t.session.c.name == bindparam("session"),
            t.queue.c.name == bindparam("queue"),
            t.value.c.seq == bindparam("seq", type_=sa.BigInteger),
        )
    )


def taken_value(executor: Executor, session: str, queue: str, seq: int) -> TakenValue | None:
    """Return what the key of a value needs; None if it was removed."""
    rows = executor.execute(_taken_value(), {"session": session, "queue": queue, "seq": seq})
    return TakenValue(*rows[0]) if rows else None


class Attributes(NamedTuple):
    """What is stored of a step that is a transaction, besides what every step has."""

    database: str  # its name, for people
    identity: str  # of the session that the step began in: an import has another one, and cannot find the row

    @classmethod
    def of(cls, text: str | None) -> Attributes:
        """Return what the stored text says."""
        found = json.loads(text or "{}")
        return cls(*(str(found.get(name, "")) for name in cls._fields))

    def encoded(self) -> str:
        """Return the text to store."""
        return json.dumps(self._asdict())


class _Attempt(Protocol):
    @property
    def status(self) -> str: ...

    @property
    def attributes(self) -> str | None: ...


def fact(attempt: _Attempt) -> str | None:
    """Return in which database a step was committed; None if it has not completed."""
    database = Attributes.of(attempt.attributes).database
    return f"committed in {database}" if database and attempt.status == "completed" else None
