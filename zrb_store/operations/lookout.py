"""Waiting for a value to arrive in a queue."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable
from numbers import Real

from zrb_store.db.engine import Database
from zrb_store.errors import InvalidArgument
from zrb_store.queries import lookout

LOOK_EVERY = 1.0
"""Seconds after which a waiting process looks at its queue in any case: for dead holders, and whether it may take."""
_COMMIT_TIME = 0.001  # seconds between SQLite's last write to a file and the end of the commit, as a rule


def check_seconds(seconds: float) -> None:
    """Raise `InvalidArgument` unless this is a time to wait; infinity is one."""
    if not isinstance(seconds, Real) or math.isnan(seconds) or seconds < 0:
        raise InvalidArgument(f"wait={seconds!r} is not a number of seconds: give 0 or more, or math.inf for ever")


class Lookout:
    """The waiting of one process for one queue. Neither the session nor the queue needs to exist.

    Meanwhile nothing is locked and no transaction is open. After a look that has found nothing, sleep for `next_pause`
    until `is_time_to_look`, look again, and so on until the time is over. `wait` sleeps up to the next look.

    Attributes:
        has_value: Tells whether the queue has a value that is waited for.
        may_get_value: Tells whether the queue has a value, or one that comes back if its holder has died. If not, a
            look would find nothing. This is one cheap question, and a look has several that are not.
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
        check_seconds(seconds)
        self._database = database
        self.has_value = has_value or lookout.has_value(database, session, queue)
        self.may_get_value = lookout.may_get_value(database, session, queue)
        now = time.monotonic()
        self._end = now + seconds
        self._look_at = now + LOOK_EVERY
        # Random, so that processes that wait for the same queue do not stay in step.
        self._pause = database.dialect.poll_every * random.uniform(0.8, 1.2)
        self._change_mark = database.dialect.change_mark
        self._mark: object = None
        self._bell = database.dialect.bell(database.url)
        self._is_quiet = False

    def next_pause(self) -> float | None:
        """Return how many seconds to sleep before the next `is_time_to_look`; None if the time is over."""
        now = time.monotonic()
        if now >= self._end:
            return None
        return max(0.0, min(self._pause, self._look_at - now, self._end - now))

    def is_time_to_look(self) -> bool:
        """Whether the queue has a value, or enough time has passed to look in any case."""
        is_armed = self._bell is not None and self._bell.arm()  # first, so that it rings for all that is not seen below
        now = time.monotonic()
        if now >= self._end or now + self._pause > self._look_at:  # a little early, rather than wake up once more
            self._look_at = now + LOOK_EVERY
            self._is_quiet = is_armed
            return True
        mark = None
        if self._change_mark is not None:
            mark = self._database.operate(self._change_mark)
            if mark == self._mark:
                return False  # and not quiet, if it has rung: what was written may be committed any moment
        found = self.has_value()
        self._mark = mark  # now that the question was answered
        self._is_quiet = is_armed
        return found

    def wait(self, is_over: Callable[[], bool] = lambda: False) -> bool:
        """Sleep until it is time to look.

        Args:
            is_over: Whether to wait no longer. It is asked at least once a second.

        Returns:
            False if there is no time left, or the waiting is over.
        """
        while (pause := self.next_pause()) is not None:
            time.sleep(pause)
            if self._bell is not None and self._is_quiet and self._bell.rings(self._left()):
                self._is_quiet = False
                time.sleep(_COMMIT_TIME)
            if is_over():
                return False
            if self.is_time_to_look():
                return True
        return False

    def _left(self) -> float:
        """Return how many seconds are left until the next look at the latest."""
        return min(self._look_at, self._end) - time.monotonic()
