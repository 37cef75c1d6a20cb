"""Write and read the texts of long values, chunk by chunk (docs/adr/0020-large-values.md).

The `data` of such a row is empty. (The text of a value never is: even an empty string has its quotes.) How a text is
read by SQL is in `db/dialect`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from zrb_store.db.core import bindparam, literal, sa, statement, t
from zrb_store.db.transaction import Executor, Row, Transaction

LONGEST = 256 * 1024
"""The most characters of a chunk. That much is sent and copied at once, however long a value is."""

LONG_FROM = {"sqlite": 4_000, "postgresql": LONGEST + 1}  # PostgreSQL itself keeps long texts apart from their rows
"""How many bytes the shortest text has that is stored in chunks."""


@statement
def _insert() -> sa.Insert:
    return sa.insert(t.chunk)


def add(transaction: Transaction, queue_id: int, seq: int, text: str) -> None:
    """Write the text of a value, whose row is there already, without a text of its own."""
    for number, start in enumerate(range(0, len(text), LONGEST)):
        row = {"queue_id": queue_id, "seq": seq, "number": number, "data": text[start : start + LONGEST]}
        transaction.execute(_insert(), row)


@statement
def _of_value() -> sa.Select[int, str]:
    return (
        # A value that was replaced meanwhile may be short now, without chunks.
        sa.select(sa.func.coalesce(t.chunk.c.number, literal(0)), sa.func.coalesce(t.chunk.c.data, t.value.c.data))
        .select_from(
            t.value.outerjoin(
                t.chunk, sa.and_(t.chunk.c.queue_id == t.value.c.queue_id, t.chunk.c.seq == t.value.c.seq)
            )
        )
        .where(t.value.c.queue_id == bindparam("queue_id"), t.value.c.seq == bindparam("seq"))
        .order_by(t.chunk.c.number)
    )


def whole(executor: Executor, queue_id: int, seq: int, text: str) -> str | None:
    """Return the text of a value with this `short_text`, up to a damaged chunk; None if it was deleted meanwhile."""
    if text:
        return text
    text, exists, following = "", False, 0
    with executor.snapshot() as transaction:
        for number, data in transaction.stream(_of_value(), {"queue_id": queue_id, "seq": seq}):
            exists = True
            if number == following and type(data) is str:  # else a row is damaged or missing, and the text ends there
                text += data  # CPython does this in place, while joining a list would hold everything twice
                following += 1
    return text if exists else None


def whole_rows(executor: Executor, queue_id: int, rows: Iterable[tuple[int, str]]) -> Iterator[tuple[int, str]]:
    """Yield seq and text of values, given by seq and `short_text`, without those that were deleted meanwhile."""
    for seq, text in rows:
        found = whole(executor, queue_id, seq, text)
        if found is not None:
            yield seq, found


def first_whole(executor: Executor, queue_id: int, rows: Sequence[Row]) -> tuple[int, str] | None:
    """Return the seq and the text of the first of these values; None if there is none, or it was deleted meanwhile."""
    if not rows:
        return None
    seq, text = rows[0]
    text = text or whole(executor, queue_id, seq, text)  # every pop comes here: a short text needs no call
    return None if text is None else (seq, text)
