"""What `diff` reads: the values of a queue that stand, that is, are live or taken."""

from __future__ import annotations

from collections.abc import Iterator

import sqlalchemy as sa
from sqlalchemy import bindparam, literal_column

from zrb_store.db.tables import value
from zrb_store.db.transaction import Transaction

_of_queue = value.c.queue_id == bindparam("queue_id")
_stands = value.c.state.in_([literal_column("'live'"), literal_column("'taken'")])
_STANDING = sa.select(value.c.data).where(_of_queue, _stands).order_by(value.c.seq)
_COUNT_STANDING = sa.select(sa.func.count()).where(_of_queue, _stands)


def standing_data(transaction: Transaction, queue_id: int) -> Iterator[str]:
    """Yield the encoded values of a queue that are live or taken, in the order of the queue."""
    return (row[0] for row in transaction.stream(_STANDING, {"queue_id": queue_id}))


def count_standing(transaction: Transaction, queue_id: int) -> int:
    """Count the values that `standing_data` reads."""
    number: int = transaction.execute(_COUNT_STANDING, {"queue_id": queue_id})[0][0]
    return number
