"""Who pushed or took values from a shell, outside any attempt: a change, whose detail is QUEUE#SEQ, records it."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, NamedTuple

from zrb_store.db.columns import CHANGE, readable
from zrb_store.db.core import bindparam, literal_column, sa, statement, t
from zrb_store.db.transaction import Executor, Row, Transaction
from zrb_store.queries.changes import Change, is_push_or_pop


class Act(NamedTuple):
    """The push or the pop of a value from a shell.

    Attributes:
        place: The id of its queue, and its seq.
        change: Which of both it was, who did it, and when.
        damage: The damaged columns of that record.
    """

    place: tuple[int, int]
    change: Change
    damage: tuple[str, ...]


@statement
def _from() -> sa.Select[*Row]:
    first_queue = bindparam("first_queue", type_=sa.BigInteger)
    before_seq = sa.func.rtrim(t.change.c.detail, literal_column("'-0123456789'"))  # QUEUE#
    name_length = sa.func.length(before_seq) - literal_column("1")
    name = sa.func.substr(
        t.change.c.detail, literal_column("1"), sa.func.abs(name_length)
    )  # PostgreSQL refuses a negative length
    digits = sa.func.substr(t.change.c.detail, sa.func.length(before_seq) + literal_column("1"))
    is_number = sa.and_(
        sa.func.rtrim(digits, literal_column("'0123456789'")).in_([literal_column("''"), literal_column("'-'")]),
        digits.not_in([literal_column("''"), literal_column("'-'")]),
        sa.func.length(digits) <= literal_column("18"),
    )
    # The detail may be damaged, and then PostgreSQL refuses to cast it.
    seq = sa.case((is_number, sa.cast(digits, sa.BigInteger)))
    return (
        sa.select(t.queue.c.id, seq, *(t.change.c[name] for name in CHANGE))
        .join_from(
            t.change,
            t.queue,
            sa.and_(
                t.queue.c.session_id == bindparam("session_id"),
                t.queue.c.name == name,
                t.queue.c.name + literal_column("'#'") == before_seq,
            ),
        )
        .where(
            sa.and_(t.change.c.session == bindparam("session"), is_push_or_pop()),
            sa.or_(
                t.queue.c.id > first_queue,
                sa.and_(t.queue.c.id == first_queue, seq >= bindparam("first_seq", type_=sa.BigInteger)),
            ),
        )
        .order_by(t.queue.c.id, seq, t.change.c.id)
    )


def acts_from(
    transaction: Transaction, session: str, session_id: int, first: tuple[int, int]
) -> Generator[Act, None, None]:
    """Yield what was done from a shell to the values of a session, by queue id and seq.

    Args:
        transaction: A snapshot.
        session: Name of the session.
        session_id: Its id.
        first: The queue id and the seq to begin at.
    """
    params = {"session": session, "session_id": session_id, "first_queue": first[0], "first_seq": first[1]}
    for queue_id, seq, *columns in transaction.stream(_from(), params):
        yield _act((queue_id, seq), columns)


@statement
def _on_value() -> sa.Select[*Row]:
    return (
        sa.select(*(t.change.c[name] for name in CHANGE))
        .where(
            sa.and_(t.change.c.session == bindparam("session"), is_push_or_pop()),
            t.change.c.detail == bindparam("detail"),
        )
        .order_by(t.change.c.id)
    )


def acts_on(executor: Executor, session: str, queue_name: str, place: tuple[int, int]) -> list[Act]:
    """Return what was done to one value from a shell.

    Args:
        executor: The database, or the open transaction.
        session: Name of its session.
        queue_name: Name of its queue.
        place: The queue's id, and the value's seq.
    """
    rows = executor.execute(_on_value(), {"session": session, "detail": f"{queue_name}#{place[1]}"})
    return [_act(place, row) for row in rows]


def _act(place: tuple[int, int], columns: Any) -> Act:
    named, damage = readable(CHANGE, columns)
    return Act(place, Change(**{name: named[name] for name in Change._fields}), damage)
