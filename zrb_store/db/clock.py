"""The clock by which this process spends its time: the machine's, which a test may turn.

Pauses, delays, timeouts and renewals go by `monotonic`; the long ones are spent in `wait` and `sleep`. Stored times,
and so the end of a lease, suspicion, retention and ages, go by the clock of the database, on which all processes agree
(`queries/clock.py`).
"""

from __future__ import annotations

import math
import threading
import time


class Clock:
    """A clock that can be turned."""

    def __init__(self) -> None:
        self.monotonic = time.monotonic
        self.ask_every = math.inf  # seconds of a wait before it asks the clock again: who turns it makes them few
        self._ahead = 0.0

    def wait(self, condition: threading.Condition | threading.Event, seconds: float) -> bool:
        """Wait until a condition, whose lock is held, is notified, or an event is set; return False on timeout."""
        end = self.monotonic() + seconds
        while (left := end - self.monotonic()) > 0:
            if condition.wait(min(left, self.ask_every)):
                return True
        return condition.wait(0)

    def sleep(self, seconds: float) -> None:
        """Sleep this long."""
        end = self.monotonic() + seconds
        while (left := end - self.monotonic()) > 0:
            time.sleep(min(left, self.ask_every))

    def turn(self, seconds: float) -> None:
        """Advance the clock by seconds, for tests."""
        ahead = self._ahead = self._ahead + seconds
        self.monotonic = lambda: time.monotonic() + ahead


clock = Clock()
