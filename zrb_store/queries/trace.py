"""What `trace` reads besides the history of a value: the later values that continue it."""

from __future__ import annotations

from zrb_store.db.core import bindparam, sa, value
from zrb_store.db.transaction import Transaction

_CONTINUED_AS = (
    sa.select(value.c.seq)
    .where(value.c.queue_id == bindparam("queue_id"), value.c.moved_from == bindparam("seq", type_=sa.BigInteger))
    .order_by(value.c.pushed_tick, value.c.seq)
)


def continued_as(transaction: Transaction, queue_id: int, seq: int) -> list[int]:
    """Return the seqs of the values in the same queue that continue a value."""
    return [row[0] for row in transaction.execute(_CONTINUED_AS, {"queue_id": queue_id, "seq": seq})]
