"""What `trace` reads besides the history of a value: the later values that continue it."""

from __future__ import annotations

from zrb_store.db.core import bindparam, sa, statement, t
from zrb_store.db.transaction import Transaction


@statement
def _continued_as() -> sa.Select[int]:
    return (
        sa.select(t.value.c.seq)
        .where(
            t.value.c.queue_id == bindparam("queue_id"), t.value.c.moved_from == bindparam("seq", type_=sa.BigInteger)
        )
        .order_by(t.value.c.pushed_tick, t.value.c.seq)
    )


def continued_as(transaction: Transaction, queue_id: int, seq: int) -> list[int]:
    """Return the seqs of the values in the same queue that continue a value."""
    return [row[0] for row in transaction.execute(_continued_as(), {"queue_id": queue_id, "seq": seq})]
