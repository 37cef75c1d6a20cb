"""Store what an attempt prints and logs, a piece at a time, and read it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy import bindparam, literal_column

from zrb_store import output_text
from zrb_store.db.tables import output
from zrb_store.db.transaction import Transaction
from zrb_store.output_text import OutputLine
from zrb_store.queries.attempts import attempt_may_write

_ATTEMPT = bindparam("attempt_id", type_=output.c.attempt_id.type)
_BIG = output.c.start.type
_earlier = output.alias("earlier")
_of_attempt = _earlier.c.attempt_id == _ATTEMPT
_zero: sa.ColumnClause[int] = literal_column("0")
_number = sa.select(sa.func.coalesce(sa.func.max(_earlier.c.piece), _zero) + literal_column("1")).where(_of_attempt)
_end = (
    sa.select(_earlier.c.start + _earlier.c.size)
    .where(_of_attempt)
    .order_by(_earlier.c.piece.desc())
    .limit(literal_column("1"))
)
_ADD = (
    sa.insert(output)
    .from_select(
        ["attempt_id", "piece", "start", "size", "data"],
        sa.select(
            _ATTEMPT,
            _number.scalar_subquery(),
            sa.func.coalesce(_end.scalar_subquery(), _zero) + bindparam("skipped", type_=_BIG),
            bindparam("size", type_=sa.Integer),
            bindparam("data", type_=sa.Text),
        ).where(attempt_may_write),
    )
    .returning(output.c.piece, output.c.start)
)
_DROP_ENDED = sa.delete(output).where(
    output.c.attempt_id == _ATTEMPT, output.c.start + output.c.size <= bindparam("until", type_=_BIG)
)
_DROP_BEFORE = sa.delete(output).where(
    output.c.attempt_id == _ATTEMPT, output.c.piece < bindparam("piece", type_=sa.Integer)
)


def add(transaction: Transaction, attempt_id: int, lines: Sequence[OutputLine], limit: int, skipped: int = 0) -> bool:
    """Store the next piece of an attempt's output, and delete the pieces that end before the last `limit` bytes.

    Args:
        transaction: The open transaction.
        attempt_id: The attempt.
        lines: What it printed since the piece before.
        limit: How many bytes of output are kept.
        skipped: Bytes that it printed between that piece and these lines, and that are not stored.

    Returns:
        False if the attempt may no longer write.
    """
    size = sum(line.size for line in lines)
    params = {"attempt_id": attempt_id, "skipped": skipped, "size": size, "data": output_text.encode(lines)}
    rows = transaction.execute(_ADD, params)
    if not rows:
        return False
    piece, start = rows[0]
    if skipped:
        transaction.execute(_DROP_BEFORE, {"attempt_id": attempt_id, "piece": piece})
    elif start + size > limit:
        transaction.execute(_DROP_ENDED, {"attempt_id": attempt_id, "until": start + size - limit})
    return True


class StoredOutput(NamedTuple):
    """How much an attempt printed.

    Attributes:
        bytes: All of it, also what is no longer stored.
        truncated: Whether its beginning is no longer stored.
    """

    bytes: int
    truncated: bool
