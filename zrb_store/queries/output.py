"""Store what an attempt prints and logs, a piece at a time, and read it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal, NamedTuple

from zrb_store.db.core import bindparam, exists, literal, sa, statement, t
from zrb_store.db.transaction import Executor, Row, Transaction


class OutputLine(NamedTuple):
    """One line that an attempt printed or logged."""

    at: int  # microseconds since 1970 UTC by the clock of the process that printed it
    stream: str  # such as `stdout`, `stderr`, `print` or `warning`
    text: str  # without its newline

    @property
    def size(self) -> int:
        """Its length in bytes, with a newline."""
        text = self.text
        return (len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))) + 1


def encode_lines(lines: Iterable[OutputLine]) -> str:
    """Write lines as a piece of output. The text is ASCII, and a person can read it in the database."""
    return json.dumps(list(lines), separators=(",", ":"))


def decode_lines(data: str) -> list[OutputLine]:
    """Read the lines of a piece; raise ValueError if it is not one."""
    return [OutputLine(*line) for line in json.loads(data)]


def size_of_lines(data: str) -> int:
    """Return the bytes of the lines of a piece, with a newline after each."""
    return sum(line.size for line in decode_lines(data))


_PIECES = 4  # what is kept is at most this part longer than its limit, since pieces are deleted whole


def _attempt() -> sa.BindParameter[int]:
    return bindparam("attempt_id", type_=t.output.c.attempt_id.type)


@statement
def _add() -> sa.Insert:
    return sa.insert(t.output)


@statement
def _end() -> sa.Select[int, int]:
    return (
        sa.select(t.output.c.piece, t.output.c.start + t.output.c.size)
        .where(t.output.c.attempt_id == _attempt())
        .order_by(t.output.c.piece.desc())
        .limit(literal(1))
    )


@statement
def _drop_ended() -> sa.Delete:
    return sa.delete(t.output).where(
        t.output.c.attempt_id == _attempt(),
        t.output.c.start + t.output.c.size <= bindparam("until", type_=t.output.c.start.type),
    )


@statement
def _drop_after() -> sa.Delete:
    return sa.delete(t.output).where(
        t.output.c.attempt_id == _attempt(), t.output.c.piece > bindparam("piece", type_=sa.Integer)
    )


class End(NamedTuple):
    """Where the stored output of an attempt ends."""

    piece: int  # the number of its last piece; 0 if nothing is stored
    position: int  # the bytes that were printed until then


NO_OUTPUT = End(0, 0)


def end_of(executor: Executor, attempt_id: int) -> End:
    """Return where the stored output of an attempt ends."""
    rows = executor.execute(_end(), {"attempt_id": attempt_id})
    return End(*rows[0]) if rows else NO_OUTPUT


def add(
    transaction: Transaction, attempt_id: int, end: End, lines: Sequence[OutputLine], limit: int, skipped: int = 0
) -> End:
    """Store more of an attempt's output after `end`, keep its last `limit` bytes, and return where it ends now.

    Only the process that runs the attempt does this, and knows that the attempt may write. `skipped` bytes were printed
    before these lines and are not stored.
    """
    had_pieces = end.piece > 0
    start = end.position + skipped
    first = start
    for number, (piece, size) in enumerate(_pieces(lines, limit // _PIECES), end.piece + 1):
        data = encode_lines(piece)
        params = {"attempt_id": attempt_id, "piece": number, "start": start, "size": size, "data": data}
        transaction.execute(_add(), params)
        start += size
        end = End(number, start)
    if had_pieces:
        until = first if skipped else end.position - limit  # what was skipped leaves a gap
        transaction.execute(_drop_ended(), {"attempt_id": attempt_id, "until": until})
    return end


def drop_after(transaction: Transaction, attempt_id: int, end: End) -> None:
    """Delete what may have been stored of an attempt's output after `end`, in a transaction whose end is unknown."""
    transaction.execute(_drop_after(), {"attempt_id": attempt_id, "piece": end.piece})


def _pieces(lines: Sequence[OutputLine], most: int) -> Iterator[tuple[list[OutputLine], int]]:
    """Yield pieces of lines, each with its size: at most `most` bytes, unless a line is longer."""
    piece: list[OutputLine] = []
    size = 0
    for line in lines:
        its_size = line.size
        if piece and size + its_size > most:
            yield piece, size
            piece, size = [], 0
        piece.append(line)
        size += its_size
    yield piece, size


class StoredOutput(NamedTuple):
    """How much an attempt printed."""

    bytes: int  # all of it, also what is no longer stored
    truncated: bool  # whether its beginning is no longer stored


@statement
def _sums(of: Literal["session", "attempt"]) -> sa.Select[int, int | None, int | None]:
    end = sa.func.max(t.output.c.start + t.output.c.size)
    sums = sa.select(t.output.c.attempt_id, end, sa.func.min(t.output.c.start)).group_by(t.output.c.attempt_id)
    if of == "attempt":
        return sums.where(t.output.c.attempt_id == _attempt())
    of_session = t.attempt.c.session_id == bindparam("session_id")
    return sums.select_from(t.attempt.join(t.output, t.output.c.attempt_id == t.attempt.c.id)).where(of_session)


def of_attempts(executor: Executor, session_id: int) -> dict[int, StoredOutput]:
    """Return how much each attempt of a session printed, by its id; those that printed nothing are left out."""
    return dict(map(_sum, executor.execute(_sums("session"), {"session_id": session_id})))


def of_attempt(executor: Executor, attempt_id: int) -> StoredOutput | None:
    """Return how much an attempt printed, or None."""
    return dict(map(_sum, executor.execute(_sums("attempt"), {"attempt_id": attempt_id}))).get(attempt_id)


def _sum(row: Row) -> tuple[int, StoredOutput]:
    attempt_id, end, start = row
    return attempt_id, StoredOutput(end, bool(start))


def has_output() -> sa.Exists:
    """Return the condition that an attempt has printed something."""
    return exists(t.output.c.attempt_id == t.attempt.c.id)


@statement
def _data() -> sa.Select[int, str]:
    return (
        sa.select(t.output.c.piece, t.output.c.data)
        .where(t.output.c.attempt_id == _attempt(), t.output.c.piece > bindparam("after", type_=sa.Integer))
        .order_by(t.output.c.piece)
    )


def pieces(executor: Executor, attempt_id: int, after: int = 0) -> list[tuple[int, str]]:
    """Return the pieces of an attempt's output, each with its number, the oldest first."""
    rows = executor.execute(_data(), {"attempt_id": attempt_id, "after": after})
    return [(piece, data) for piece, data in rows]


@statement
def _newest(of_task: bool) -> sa.Select[int, str, int, int | None]:
    found = (
        sa.select(t.attempt.c.id, t.attempt.c.task, t.attempt.c.number, sa.func.max(t.output.c.piece))
        .select_from(t.attempt.join(t.output, t.output.c.attempt_id == t.attempt.c.id))
        .where(t.attempt.c.session_id == bindparam("session_id"), t.attempt.c.run_id == bindparam("run_id"))
        .group_by(t.attempt.c.id, t.attempt.c.task, t.attempt.c.number)
        .order_by(t.attempt.c.id)
    )
    return found.where(t.attempt.c.task == bindparam("task")) if of_task else found


def newest_pieces(executor: Executor, session_id: int, run_id: int, task: str | None = None) -> list[Row]:
    """Return id, task and number of each attempt of a run that printed something, and the number of its newest piece.

    The oldest attempt is the first.
    """
    return list(executor.execute(_newest(task is not None), {"session_id": session_id, "run_id": run_id, "task": task}))
