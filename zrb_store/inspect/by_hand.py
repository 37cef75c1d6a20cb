"""Who pushed or took a value from a shell, outside any attempt."""

from __future__ import annotations

from collections.abc import Generator

from zrb_store.db.transaction import Transaction
from zrb_store.inspect.damage import Damage
from zrb_store.queries.by_hand import Act, acts_from, acts_on
from zrb_store.queries.value_history import ValueHistory

_MOST_PASSED_OVER = 1000  # rather than pass over more, read anew from the place that is asked for


class ByHand:
    """The values of a session that were pushed or taken from a shell.

    Nothing is read before the first question. Values are asked for in the order of their queues and numbers, so that
    one statement answers all questions and memory stays flat; another order costs a statement each time that it goes
    back.
    """

    def __init__(self, transaction: Transaction, session: str, session_id: int, damage: Damage) -> None:
        """Remember where to look.

        Args:
            transaction: A snapshot.
            session: Name of the session.
            session_id: Its id.
            damage: Collects damaged rows.
        """
        self._transaction = transaction
        self._session = session
        self._session_id = session_id
        self._damage = damage
        self._found: Generator[Act, None, None] | None = None
        self._next: Act | None = None
        self._asked: tuple[int, int] | None = None

    def completed(self, history: ValueHistory) -> ValueHistory:
        """Return the history of a value, as of now, with who pushed and took it from a shell if that is recorded."""
        if not _is_incomplete(history):
            return history
        place = (history.value.queue_id, history.value.seq)
        if self._asked is None or place <= self._asked:
            self._read_from(place)
        self._asked = place
        passed_over = 0
        while self._next is not None and self._next.place < place:
            passed_over += 1
            if passed_over < _MOST_PASSED_OVER:
                self._next = self._read()
            else:
                self._read_from(place)
        while self._next is not None and self._next.place == place:
            history = _with(history, self._next, self._session, self._damage)
            self._next = self._read()
        return history

    def close(self) -> None:
        """End the statement that is being read, if there is one. This is due before the snapshot ends."""
        if self._found is not None:
            self._found.close()

    def _read_from(self, place: tuple[int, int]) -> None:
        self.close()
        self._found = acts_from(self._transaction, self._session, self._session_id, place)
        self._next = self._read()

    def _read(self) -> Act | None:
        return None if self._found is None else next(self._found, None)


def completed(
    transaction: Transaction, history: ValueHistory, session: str, queue: str, damage: Damage
) -> ValueHistory:
    """Return the history of one value with who pushed and took it from a shell, if that is recorded.

    Args:
        transaction: A snapshot.
        history: The history, as of now.
        session: Name of its session.
        queue: Name of its queue.
        damage: Collects damaged rows.
    """
    if _is_incomplete(history):
        for act in acts_on(transaction, session, queue, (history.value.queue_id, history.value.seq)):
            history = _with(history, act, session, damage)
    return history


def _is_incomplete(history: ValueHistory) -> bool:
    """Whether a value was pushed or taken, but by no attempt that is still stored."""
    return history.pusher is None or (history.value.state == "taken" and history.taker is None)


def _with(history: ValueHistory, act: Act, session: str, damage: Damage) -> ValueHistory:
    if act.change.action == "push" and history.pusher is None:
        history = history._replace(pushed_from=act.change)
    elif act.change.action == "pop" and history.value.state == "taken" and history.taker is None:
        history = history._replace(popper=act.change)
    else:
        return history
    damage.note(f"a change of session {session}", act.damage)
    return history
