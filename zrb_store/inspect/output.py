"""What attempts printed and logged, as `log` shows it: all that is stored, or what comes while a session runs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from zrb_store import output_text
from zrb_store.db.columns import OUTPUT
from zrb_store.db.engine import Database
from zrb_store.db.transaction import Transaction
from zrb_store.errors import TaskNotFound
from zrb_store.inspect.damage import Damage
from zrb_store.names import nearest
from zrb_store.output_text import OutputLine
from zrb_store.queries import lease, output, runs, sessions
from zrb_store.queries.clock import now_micros
from zrb_store.queries.show import attempted_tasks
from zrb_store.records import AttemptRecord, iso


def read_output(transaction: Transaction, attempt: AttemptRecord, damage: Damage) -> dict[str, Any] | None:
    """Return the output of an attempt, in the shape of `log --format json`; None if there is none.

    Args:
        transaction: A snapshot.
        attempt: The attempt.
        damage: Collects damaged pieces, whose lines are left out.
    """
    stored = output.of_attempt(transaction, attempt.id)
    if stored is None:
        return None
    lines: list[OutputLine] = []
    for _, data in output.pieces(transaction, attempt.id):
        lines += _lines(data, attempt.session, attempt.name, damage)
    return {**stored._asdict(), "lines": list(map(line_shape, lines))}


def line_shape(line: OutputLine) -> dict[str, Any]:
    """Return the shape of a line of output."""
    return {"at": iso(line.at), "stream": line.stream, "text": line.text}


def _lines(data: Any, session: str, attempt: str, damage: Damage) -> list[OutputLine]:
    if OUTPUT["data"].problem(data):
        damage.note(f"the output of {session}/{attempt}", ("data",))
        return []
    return output_text.decode(data)


class Printed(NamedTuple):
    """A line that an attempt printed.

    Attributes:
        attempt: Name of the attempt, TASK#N.
        line: The line.
    """

    attempt: str
    line: OutputLine


class Follower:
    """A reader of what the attempts of a session's newest run print.

    Attributes:
        status: The session's status when it was last read.
        started_at: When its newest run started, in microseconds; None before it is read, or if there is none.
    """

    def __init__(self, database: Database, session: str, task: str | None, damage: Damage) -> None:
        """Begin to follow a session.

        Args:
            database: Where it is.
            session: Its full name.
            task: Only attempts of this task, which may begin later.
            damage: Collects damaged pieces.
        """
        self.status = ""
        self.started_at: int | None = None
        self._database = database
        self._session = session
        self._task = task
        self._damage = damage
        self._read: dict[int, int] = {}  # the number of the last piece that was read, by attempt

    def read(self) -> list[Printed]:
        """Return what was printed since the last time, by its time; at first, all that is stored of the run.

        Raises:
            SessionNotFound: There is no such session.
            TaskNotFound: The session has ended, or has not begun, and has no attempt of this task.
        """
        with self._database.snapshot() as transaction:
            session = sessions.get(transaction, self._session)
            last = runs.last(transaction, session.id)
            self.status = lease.status_of(transaction, session, last, now_micros(transaction))
            if self._task is not None and self.status != "running":
                self._refuse_unknown(transaction, session.id, self._task)
            if last is None:
                return []
            self.started_at = last.started_at
            newest = output.newest_pieces(transaction, session.id, last.id, self._task)
            return sorted(self._new(transaction, newest), key=lambda printed: printed.line.at)

    def _refuse_unknown(self, transaction: Transaction, session_id: int, task: str) -> None:
        known = [each.task for each in attempted_tasks(transaction, session_id)]
        if task not in known:
            raise TaskNotFound(f"session {self._session} has no attempt of task {task!r}{nearest(task, known)}")

    def _new(self, transaction: Transaction, newest: list[output.NewestPiece]) -> Iterator[Printed]:
        for each in newest:
            before = self._read.get(each.attempt_id, 0)
            if each.piece <= before:
                continue
            name = f"{each.task}#{each.number}"
            for piece, data in output.pieces(transaction, each.attempt_id, before):
                self._read[each.attempt_id] = piece
                for line in _lines(data, self._session, name, self._damage):
                    yield Printed(name, line)
