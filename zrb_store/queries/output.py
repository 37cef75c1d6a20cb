"""Store what an attempt prints and logs, a piece at a time, and read it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from zrb_store import output_text
from zrb_store.db.columns import OUTPUT
from zrb_store.db.core import attempt, bindparam, literal_column, output, sa
from zrb_store.db.transaction import Executor, Row, Transaction
from zrb_store.output_text import OutputLine
from zrb_store.queries.attempts import attempt_may_write

_PIECES = 4  # what is kept is at most this part longer than its limit, since pieces are deleted whole

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
    """Store more of an attempt's output, and delete the pieces that end before the last `limit` bytes.

    Args:
        transaction: The open transaction.
        attempt_id: The attempt.
        lines: What it printed since the last time, at least one line.
        limit: How many bytes of output are kept.
        skipped: Bytes that it printed between that time and these lines, and that are not stored.

    Returns:
        False if the attempt may no longer write.
    """
    end = None
    for piece in _pieces(lines, limit // _PIECES):
        size = sum(line.size for line in piece)
        params = {"attempt_id": attempt_id, "skipped": skipped, "size": size, "data": output_text.encode(piece)}
        rows = transaction.execute(_ADD, params)
        if not rows:
            return False
        number, start = rows[0]
        if skipped:
            transaction.execute(_DROP_BEFORE, {"attempt_id": attempt_id, "piece": number})
        skipped = 0
        end = start + size
    if end is not None and end > limit:
        transaction.execute(_DROP_ENDED, {"attempt_id": attempt_id, "until": end - limit})
    return True


def _pieces(lines: Sequence[OutputLine], most: int) -> Iterator[list[OutputLine]]:
    """Divide lines into pieces of at most `most` bytes, as far as lines are not longer."""
    piece: list[OutputLine] = []
    size = 0
    for line in lines:
        if piece and size + line.size > most:
            yield piece
            piece, size = [], 0
        piece.append(line)
        size += line.size
    yield piece


class StoredOutput(NamedTuple):
    """How much an attempt printed.

    Attributes:
        bytes: All of it, also what is no longer stored.
        truncated: Whether its beginning is no longer stored.
    """

    bytes: int
    truncated: bool


_first, _last = sa.func.min(output.c.start), sa.func.max(output.c.start + output.c.size)
_SUMS = (
    sa.select(output.c.attempt_id, _last, _first)
    .select_from(attempt.join(output, output.c.attempt_id == attempt.c.id))
    .where(attempt.c.session_id == bindparam("session_id"))
    .group_by(output.c.attempt_id)
)
_SUM = (
    sa.select(output.c.attempt_id, _last, _first).where(output.c.attempt_id == _ATTEMPT).group_by(output.c.attempt_id)
)


def of_attempts(executor: Executor, session_id: int) -> dict[int, StoredOutput]:
    """Return how much each attempt of a session printed, by its id; those that printed nothing are left out."""
    return dict(map(_sum, executor.execute(_SUMS, {"session_id": session_id})))


def of_attempt(executor: Executor, attempt_id: int) -> StoredOutput | None:
    """Return how much an attempt printed, or None."""
    return dict(map(_sum, executor.execute(_SUM, {"attempt_id": attempt_id}))).get(attempt_id)


def _sum(row: Row) -> tuple[int, StoredOutput]:
    attempt_id, end, start = row
    return attempt_id, StoredOutput(_PIECE_END.readable(end), bool(start))


_PIECE_END = OUTPUT["start"]
_any_of_attempt: sa.Select[Any] = sa.select(literal_column("1")).where(output.c.attempt_id == attempt.c.id)
has_output = sa.exists(_any_of_attempt)
"""The condition that an attempt has printed something."""

_DATA = (
    sa.select(output.c.piece, output.c.data)
    .where(output.c.attempt_id == _ATTEMPT, output.c.piece > bindparam("after", type_=sa.Integer))
    .order_by(output.c.piece)
)


def pieces(executor: Executor, attempt_id: int, after: int = 0) -> list[tuple[int, Any]]:
    """Return the pieces of an attempt's output, each with its number, the oldest first.

    Args:
        executor: The database, or a snapshot.
        attempt_id: The attempt.
        after: Only pieces with a higher number.
    """
    rows = executor.execute(_DATA, {"attempt_id": attempt_id, "after": after})
    return [(piece, data) for piece, data in rows]


_NEWEST = (
    sa.select(attempt.c.id, attempt.c.task, attempt.c.number, sa.func.max(output.c.piece))
    .select_from(attempt.join(output, output.c.attempt_id == attempt.c.id))
    .where(attempt.c.session_id == bindparam("session_id"), attempt.c.run_id == bindparam("run_id"))
    .group_by(attempt.c.id, attempt.c.task, attempt.c.number)
    .order_by(attempt.c.id)
)
_NEWEST_OF_TASK = _NEWEST.where(attempt.c.task == bindparam("task"))


class NewestPiece(NamedTuple):
    """The newest piece of an attempt's output.

    Attributes:
        attempt_id: The attempt.
        task: Its task.
        number: Its number.
        piece: The number of the piece.
    """

    attempt_id: int
    task: str
    number: int
    piece: int


def newest_pieces(executor: Executor, session_id: int, run_id: int, task: str | None = None) -> list[NewestPiece]:
    """Return the newest piece of each attempt of a run that printed something, the oldest attempt first.

    Args:
        executor: The database, or a snapshot.
        session_id: The session of the run.
        run_id: The run.
        task: Only attempts of this task.
    """
    statement = _NEWEST if task is None else _NEWEST_OF_TASK
    rows = executor.execute(statement, {"session_id": session_id, "run_id": run_id, "task": task})
    return [NewestPiece(*row) for row in rows]
