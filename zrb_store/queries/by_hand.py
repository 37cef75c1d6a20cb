"""Who pushed or took values from a shell, outside any attempt: a change, whose detail is QUEUE#SEQ, records it."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, NamedTuple

from zrb_store.db.columns import CHANGE, readable
from zrb_store.db.core import bindparam, change, literal_column, queue, sa
from zrb_store.db.transaction import Executor, Transaction
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


_of_session = sa.and_(change.c.session == bindparam("session"), is_push_or_pop)
_COLUMNS = tuple(change.c[name] for name in CHANGE)

_ONE: sa.ColumnClause[Any] = literal_column("1")
_before_seq = sa.func.rtrim(change.c.detail, literal_column("'-0123456789'"))  # QUEUE#
_name_length = sa.func.length(_before_seq) - _ONE
_name = sa.func.substr(change.c.detail, _ONE, sa.func.abs(_name_length))  # PostgreSQL refuses a negative length
_digits = sa.func.substr(change.c.detail, sa.func.length(_before_seq) + _ONE)
_is_number = sa.and_(
    sa.func.rtrim(_digits, literal_column("'0123456789'")).in_([literal_column("''"), literal_column("'-'")]),
    _digits.not_in([literal_column("''"), literal_column("'-'")]),
    sa.func.length(_digits) <= literal_column("18"),
)
# The detail may be damaged, and then PostgreSQL refuses to cast it.
_seq = sa.case((_is_number, sa.cast(_digits, sa.BigInteger)))
_first_queue, _first_seq = (bindparam(name, type_=sa.BigInteger) for name in ("first_queue", "first_seq"))
_FROM = (
    sa.select(queue.c.id, _seq, *_COLUMNS)
    .join_from(
        change,
        queue,
        sa.and_(
            queue.c.session_id == bindparam("session_id"),
            queue.c.name == _name,
            queue.c.name + literal_column("'#'") == _before_seq,
        ),
    )
    .where(_of_session, sa.or_(queue.c.id > _first_queue, sa.and_(queue.c.id == _first_queue, _seq >= _first_seq)))
    .order_by(queue.c.id, _seq, change.c.id)
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
    for queue_id, seq, *columns in transaction.stream(_FROM, params):
        yield _act((queue_id, seq), columns)


_ON_VALUE = sa.select(*_COLUMNS).where(_of_session, change.c.detail == bindparam("detail")).order_by(change.c.id)


def acts_on(executor: Executor, session: str, queue_name: str, place: tuple[int, int]) -> list[Act]:
    """Return what was done to one value from a shell.

    Args:
        executor: The database, or the open transaction.
        session: Name of its session.
        queue_name: Name of its queue.
        place: The queue's id, and the value's seq.
    """
    rows = executor.execute(_ON_VALUE, {"session": session, "detail": f"{queue_name}#{place[1]}"})
    return [_act(place, row) for row in rows]


def _act(place: tuple[int, int], columns: Any) -> Act:
    named, damage = readable(CHANGE, columns)
    return Act(place, Change(**{name: named[name] for name in Change._fields}), damage)
