"""What a process remembers of where the live values of its queues begin."""

from __future__ import annotations

import time
from typing import NamedTuple

_SLOW = 0.0005  # seconds for which a take may last at any server
_IN_A_ROW = 3  # slow searches, before it is worth a transaction to remember more
_PAUSE = 5.0  # seconds between two looks
_LASTS = 10.0  # seconds for which it is remembered, in case that somebody has changed rows in another way than we do


class Front(NamedTuple):
    """Where the live values of a queue begin.

    Attributes:
        first: No value with a lower seq is live.
        low: The queue has no value with a lower seq, as long as this holds.
        returns: The last number that was given to a return, in any queue, as long as this holds.
    """

    first: int
    low: int
    returns: int


class Fronts:
    """The fronts of the queues that are searched slowly.

    On PostgreSQL a snapshot that another program keeps open, such as a backup, keeps the entries of all values that
    were taken since in the index of the live ones. A search from the beginning of the queue reads them all.
    """

    def __init__(self) -> None:
        self._fronts: dict[int, tuple[Front, float]] = {}
        self._due: set[int] = set()
        self._slow: dict[int, int] = {}
        self._next_look: dict[int, float] = {}

    def of(self, queue_id: int) -> Front | None:
        """Return the front of a queue, if it is known."""
        if queue_id not in self._fronts:
            return None
        front, until = self._fronts[queue_id]
        if time.monotonic() < until:
            return front
        del self._fronts[queue_id]
        self._due.add(queue_id)
        return None

    @property
    def is_any_known(self) -> bool:
        """Whether the front of any queue may be known or worth knowing."""
        return bool(self._fronts or self._due)

    def is_slow(self, seconds: float) -> bool:
        """Whether a search has taken so long that it may be worth to begin the next one elsewhere."""
        return seconds >= _SLOW

    def is_due(self, queue_id: int) -> bool:
        """Whether it is worth to look where the live values of the queue begin. This is said only once."""
        if queue_id not in self._due:
            return False
        self._due.discard(queue_id)
        return True

    def remember(self, queue_id: int, front: Front) -> None:
        """Remember a front for a while."""
        self._slow[queue_id] = 0
        self._fronts[queue_id] = front, time.monotonic() + _LASTS

    def searched(self, queue_id: int, seconds: float, front: Front | None, found: int | None) -> None:
        """Note how long a search for the first live value has taken.

        Args:
            queue_id: The queue.
            seconds: How long it has taken.
            front: The front that it began at, if one was known.
            found: The seq of the value that was found and taken, and committed.
        """
        if front is not None:
            known, until = self._fronts.get(queue_id, (None, 0.0))
            if known is not None and known == front and found is not None and found >= front.first:
                self._fronts[queue_id] = front._replace(first=found + 1), until
            return
        if seconds < _SLOW:
            self._slow[queue_id] = 0
            return
        self._slow[queue_id] = self._slow.get(queue_id, 0) + 1
        if self._slow[queue_id] >= _IN_A_ROW and time.monotonic() >= self._next_look.get(queue_id, 0.0):
            self._next_look[queue_id] = time.monotonic() + _PAUSE
            self._due.add(queue_id)

    def forget(self) -> None:
        """Forget all, because the next connection may lead to another server, which may lack some changes."""
        self.__init__()  # type: ignore[misc]
