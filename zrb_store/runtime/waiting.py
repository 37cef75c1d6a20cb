"""Waiting for a value to arrive in a queue (`QueueWait`), and for any commit to a store (`CommitWatcher`).

Meanwhile nothing is locked and no transaction is open. On SQLite under Linux, writing to the file wakes all waiting
processes, and waiting costs nothing while nobody writes. Elsewhere the store is asked again and again.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable
from numbers import Real

from zrb_store import system
from zrb_store.db.clock import clock
from zrb_store.db.engine import Database
from zrb_store.errors import InvalidArgument
from zrb_store.queries import deliveries
from zrb_store.system.portable import FileWatch

LOOK_EVERY = 1.0
"""Seconds after which a waiting process looks at its queue in any case: for dead holders, and whether it may take."""
_ASK_EVERY = 0.2  # seconds between two questions whether anything was committed
_LATE = 0.03  # seconds after which a commit that takes longer is looked for again
_COMMIT_TIME = 0.001  # seconds between SQLite's last write to a file and the end of the commit, as a rule
_PAUSE = 4  # times as long as an answer took, at least: behind an old snapshot it may take long


def check_seconds(seconds: float) -> None:
    """Raise `InvalidArgument` unless this is a time to wait; infinity is one."""
    if not isinstance(seconds, Real) or math.isnan(seconds) or seconds < 0:
        raise InvalidArgument(f"wait={seconds!r} is not a number of seconds: give 0 or more, or math.inf for ever")


def watch_of(database: Database) -> FileWatch | None:
    """Return what notices each commit to a database; None if nothing does, and one must ask."""
    path = database.dialect.written_file()
    return None if path is None else system.here().file_watch(path)


class _Waiter:
    """What both kinds of waiting share: sleeping until the file of the store is written, if that is noticed."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._watch = watch_of(database)
        # Whether all that was committed was seen, so that there is nothing to ask before the file is written again.
        self._is_quiet = False

    def _arm(self) -> bool:
        """Watch the file from now on. Do it before asking, so that nothing is missed in between."""
        return self._watch is not None and self._watch.arm()

    def _is_written(self, seconds: float) -> bool:
        """Sleep until the file is written, at most this many seconds."""
        is_written = self._watch is not None and self._watch.wait(min(seconds, clock.ask_every))
        if is_written:
            time.sleep(_COMMIT_TIME)
        return is_written


class QueueWait(_Waiter):
    """The waiting of one process for one queue. Neither the session nor the queue needs to exist.

    After a look that has found nothing, sleep for `next_pause` until `is_time_to_look`, look again, and so on until the
    time is over. `wait` sleeps up to the next look.
    """

    def __init__(
        self, database: Database, session: str, queue: str, seconds: float, has_value: Callable[[], bool] | None = None
    ) -> None:
        check_seconds(seconds)
        super().__init__(database)
        self.has_value = has_value or deliveries.has_value(database, session, queue)
        # Whether a look may find something. This is one cheap question, and a look has several that are not.
        self.may_get_value = deliveries.may_get_value(database, session, queue)
        now = clock.monotonic()
        self._end = now + seconds
        self._look_at = now + LOOK_EVERY
        # Random, so that processes that wait for the same queue do not stay in step.
        self._shortest = self._pause = database.dialect.poll_every * random.uniform(0.8, 1.2)
        self._change_mark = database.dialect.change_mark
        self._mark: object = None

    def next_pause(self) -> float | None:
        """Return how many seconds to sleep before the next `is_time_to_look`; None if the time is over."""
        now = clock.monotonic()
        if now >= self._end:
            return None
        return max(0.0, min(self._pause, self._look_at - now, self._end - now))

    def is_time_to_look(self) -> bool:
        """Whether the queue has a value, or enough time has passed to look in any case."""
        is_armed = self._arm()
        now = clock.monotonic()
        if now >= self._end or now + self._pause > self._look_at:  # a little early, rather than wake up once more
            self._look_at = now + LOOK_EVERY
            self._is_quiet = is_armed
            return True
        mark = None
        if self._change_mark is not None:
            mark = self._database.operate(self._change_mark)
            if mark == self._mark:
                return False  # and not quiet, if the file was written: that may be committed any moment
        found = self.has_value()
        # At most half of the time to the next full look: else one slow answer would be the last question.
        self._pause = min(LOOK_EVERY / 2, max(self._shortest, _PAUSE * (clock.monotonic() - now)))
        self._mark = mark  # now that the question was answered
        self._is_quiet = is_armed
        return found

    def wait(self, is_over: Callable[[], bool] = lambda: False) -> bool:
        """Sleep until it is time to look; return False if no time is left, or `is_over`, asked each second, says so."""
        while (pause := self.next_pause()) is not None:
            time.sleep(pause)
            if self._is_quiet and self._is_written(min(self._look_at, self._end) - clock.monotonic()):
                self._is_quiet = False
            if is_over():
                return False
            if self.is_time_to_look():
                return True
        return False


class CommitWatcher(_Waiter):
    """Notices what any process commits to a store, without asking what it was."""

    def __init__(self, database: Database) -> None:
        """Watch a store that was opened for reading only for this, since each wait may use its connection."""
        super().__init__(database)
        self._is_quiet = self._arm()
        self._mark = self._ask()

    def wait(self, seconds: float) -> bool:
        """Wait until something is committed that was not when `wait` last returned; return False if nothing was."""
        end = clock.monotonic() + seconds
        self._database.refuse_replaced()
        while (left := end - clock.monotonic()) > 0:
            is_written = self._is_quiet and self._is_written(left)
            if not self._is_quiet:
                time.sleep(min(left, _ASK_EVERY if self._watch is None else _LATE))
            is_armed = self._arm()
            mark = self._ask()
            is_committed, self._mark = mark != self._mark, mark
            # If the file was written, and no commit is seen yet, it is looked for again soon.
            self._is_quiet = is_armed and (is_committed or not is_written)
            if is_committed:
                return True
        return False

    def _ask(self) -> object:
        return self._database.operate(self._database.dialect.latest_commit)
