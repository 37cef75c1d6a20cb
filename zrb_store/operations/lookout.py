"""Waiting for a value to arrive in a queue."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable

from zrb_store.db.engine import Database
from zrb_store.errors import InvalidArgument
from zrb_store.queries import lookout

LOOK_EVERY = 1.0
"""Seconds after which a waiting process looks at its queue in any case: for dead holders, and whether it may take."""


class Lookout:
    """The waiting of one process for one queue. Neither the session nor the queue needs to exist.

    Meanwhile nothing is locked and no transaction is open. After a look that has found nothing, sleep for `next_pause`
    until `is_time_to_look`, look again, and so on until the time is over. `wait` sleeps up to the next look.
    """

    def __init__(
        self,
        database: Database,
        session: str,
        queue: str,
        seconds: float,
        has_value: Callable[[], bool] | None = None,
    ) -> None:
        """Begin to wait.

        Args:
            database: The store.
            session: Full name of the session.
            queue: Name of the queue.
            seconds: How long to wait; infinity is allowed.
            has_value: Tells whether the queue has a value that is waited for; by default any value is.

        Raises:
            InvalidArgument: The time is negative or no number.
        """
        if math.isnan(seconds) or seconds < 0:
            raise InvalidArgument(f"wait={seconds!r} is not a number of seconds: give 0 or more")
        self._database = database
        self._session = session
        self._queue = queue
        self._has_value = has_value
        now = time.monotonic()
        self._end = now + seconds
        self._look_at = now + LOOK_EVERY
        self._mark: object = None

    def next_pause(self) -> float | None:
        """Return how many seconds to sleep before the next `is_time_to_look`; None if the time is over."""
        now = time.monotonic()
        if now >= self._end:
            return None
        # Random, so that processes that wait for the same queue do not all ask at once.
        pause = self._database.dialect.poll_every * random.uniform(0.8, 1.2)
        return max(0.0, min(pause, self._end - now, self._look_at - now))

    def is_time_to_look(self) -> bool:
        """Whether the queue has a value, or enough time has passed to look in any case."""
        now = time.monotonic()
        if now >= min(self._look_at, self._end):
            self._look_at = now + LOOK_EVERY
            return True
        mark = self._database.operate(self._database.dialect.change_mark)
        if mark is not None and mark == self._mark:
            return False
        self._mark = mark
        if self._has_value is not None:
            return self._has_value()
        return lookout.has_value(self._database, self._session, self._queue)

    def wait(self, sleep: Callable[[float], object] = time.sleep) -> bool:
        """Sleep until it is time to look.

        Args:
            sleep: Sleeps for some seconds. If it returns something true, the waiting ends: `threading.Event.wait` does.

        Returns:
            False if the time is over or `sleep` ended it.
        """
        while (pause := self.next_pause()) is not None:
            if sleep(pause):
                return False
            if self.is_time_to_look():
                return True
        return False


def wait_for_value(lookout: Lookout, sleep: Callable[[float], object] = time.sleep) -> bool:
    """Wait until a queue has a value, or until a dead process gives one back.

    Args:
        lookout: The waiting.
        sleep: As for `Lookout.wait`.

    Returns:
        Whether there is one.
    """
    while not lookout.has_value() and not lookout.reclaim():
        if not lookout.wait(sleep):
            return False
    return True
