"""How long one operation waits for a database that is busy or away."""

from __future__ import annotations

import logging
import random
import time

TELL_AFTER = 2.0
"""Seconds of waiting after which a person is told."""

_log = logging.getLogger("zrb_store")


class Wait:
    """The waiting of one operation.

    Attributes:
        away: Whether the server is gone, rather than busy.
    """

    def __init__(self, store: str, began: float, timeout: float) -> None:
        """Note when it began (`time.monotonic`), and after how many seconds it ends."""
        self._store = store
        self._began = began
        self._deadline = began + timeout
        self._tries = 0
        self._told = False
        self.away = False

    def is_over(self, stop_at: float | None) -> bool:
        """Whether the time is up.

        Args:
            stop_at: When all waiting of this process ends (`time.monotonic`), or None.
        """
        now = time.monotonic()
        return now >= self._deadline or (stop_at is not None and now >= stop_at)

    def sleep(self) -> None:
        """Pause before the next try."""
        now = time.monotonic()
        if now - self._began > TELL_AFTER and not self._told:
            self._told = True
            why = "cannot be reached" if self.away else "is locked by another program"
            _log.warning("the store %s %s: waiting up to %.0f s more", self._store, why, self._deadline - now)
        time.sleep(random.uniform(0.05, 0.25) if self.away else self._pause_for_lock())

    def end(self) -> None:
        """Say that the waiting was worth it, if a person was told of it."""
        if self._told:
            _log.warning("the store %s can be used again, after %.0f s", self._store, time.monotonic() - self._began)

    def _pause_for_lock(self) -> float:
        """Choose the pause before asking again for SQLite's one write lock.

        A process that has just had the lock pauses long, so that the lock seldom changes hands: each change costs pages
        that must be read again. The longer a process has waited, the more often it asks, so that all get their share.
        The pauses are random, so that several processes do not keep in step.
        """
        pause = random.uniform(0.003, 0.008) / (1 << min(self._tries, 4))
        self._tries += 1
        return pause
