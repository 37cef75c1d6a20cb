"""Waiting for a database that is locked or unreachable."""

from __future__ import annotations

import logging
import random
import time

WARN_AFTER = 2.0
"""Seconds of waiting after which a warning is logged."""

_log = logging.getLogger("zrb_store")


class Wait:
    """The waiting of one operation.

    Attributes:
        is_unreachable: Whether the server is unreachable, rather than the database locked.
    """

    def __init__(self, store: str, began: float, timeout: float) -> None:
        """Begin to wait.

        Args:
            store: The store's URL, for log messages.
            began: When the operation began, by `time.monotonic`.
            timeout: How many seconds after that the waiting ends.
        """
        self._store = store
        self._began = began
        self._deadline = began + timeout
        self._tries = 0
        self._has_warned = False
        self.is_unreachable = False

    def is_over(self, stop_at: float | None) -> bool:
        """Whether the time is up.

        Args:
            stop_at: When all waiting in this process ends, by `time.monotonic`; None if that is not limited.
        """
        now = time.monotonic()
        return now >= self._deadline or (stop_at is not None and now >= stop_at)

    def sleep(self) -> None:
        """Pause before the next try."""
        now = time.monotonic()
        if now - self._began > WARN_AFTER and not self._has_warned:
            self._has_warned = True
            why = "cannot be reached" if self.is_unreachable else "is locked by another program"
            _log.warning("the store %s %s: waiting up to %.0f s more", self._store, why, self._deadline - now)
        time.sleep(random.uniform(0.05, 0.25) if self.is_unreachable else self._pause_for_lock())

    def end(self) -> None:
        """Log that the operation has succeeded, if a warning was logged before."""
        if self._has_warned:
            _log.warning("the store %s can be used again, after %.0f s", self._store, time.monotonic() - self._began)

    def _pause_for_lock(self) -> float:
        """Choose the pause before asking again for SQLite's one write lock.

        The first pause is the longest. Meanwhile the process that has the lock can do many operations, so the lock
        seldom changes hands; each change costs time, because the new holder must read some pages again. Every further
        pause is shorter, so that the longer a process has waited, the more often it asks, and all get their share. The
        pauses are random, so that processes do not keep in step.
        """
        pause = random.uniform(0.003, 0.008) / (1 << min(self._tries, 4))
        self._tries += 1
        return pause
