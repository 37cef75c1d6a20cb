"""How long operations wait for a locked, full or unreachable database, how often they ask, and the warning about it.

All times are those of `clock.monotonic`.
"""

from __future__ import annotations

import contextlib
import math
import random
import threading
import time
from collections.abc import Iterator

from zrb_store.db.clock import clock
from zrb_store.errors import StoreUnavailable

WARN_AFTER = 2.0  # seconds of waiting after which a warning is logged
UNREACHABLE = "cannot be reached"
LOCKED = "is locked by another program"
FULL = "has no room on its disk"

# Seconds to pause for SQLite's lock: docs/adr/0009 says why.
_PER_OPERATION = 0.00025
_SHORTEST, _LONGEST = 0.004, 0.024  # the first time
_OFTEN = 0.0005  # the next times
_OFTEN_TRIES = 16
_GIVE_UP_FOR = 5.0  # seconds after a timeout in which other operations do not wait


class NoConnectionLeft(StoreUnavailable):
    """The server, the role or a pooler allows no further connection."""


class Patience:
    """How long the operations of a database wait while it is locked, full or unreachable."""

    timeout = 30.0  # seconds for which an operation is retried
    read_timeout = 5.0  # the same, if it was opened for reading only: nothing is lost if a reader gives up

    def __init__(self, store: str, *, read_only: bool) -> None:
        self.notice = Notice(store)
        self.began = 0.0  # when the operation under way began
        self.operations = 0  # how many have succeeded since one had to wait
        self.gave_up_at = -math.inf  # when one gave up waiting last
        self._stop_at = math.inf
        if read_only:
            self.timeout = min(self.timeout, self.read_timeout)

    @property
    def deadline(self) -> float:
        """When the operation under way stops waiting."""
        return min(self.began + self.timeout, self._stop_at)

    def stop_waiting(self, within: float) -> None:
        """Let no operation wait longer than `within` seconds from now, because the process has to end.

        Each is still tried once. A signal handler may call this, in any thread.
        """
        self._stop_at = clock.monotonic() + within

    def wait_again(self) -> None:
        """Revoke `stop_waiting`, because the process continues."""
        self._stop_at = math.inf

    @property
    def is_stopping(self) -> bool:
        """Whether `stop_waiting` was called, because the process has to end."""
        return self._stop_at < math.inf

    @property
    def is_overdue(self) -> bool:
        """Whether the process has to end, and the time of `stop_waiting` is over."""
        return clock.monotonic() > self._stop_at


class Backoff:
    """The waiting of one operation of a database."""

    def __init__(self, patience: Patience, began: float) -> None:
        self.why = LOCKED
        self._notice = patience.notice
        self._began = began
        self._failed_at = clock.monotonic()  # before that, the machine or the operation was slow, not the store
        # A caller that has just got a timeout must not wait again for each operation that it still has to do.
        gave_up = clock.monotonic() - patience.gave_up_at < _GIVE_UP_FOR
        self._deadline = began if gave_up else began + patience.timeout
        self._tries = 0
        self._pause = min(max(_PER_OPERATION * patience.operations, _SHORTEST), _LONGEST)
        patience.operations = 0

    def is_over(self, stop_at: float) -> bool:
        """Whether the time is up, or all waiting in this process, which ends at `stop_at`."""
        return clock.monotonic() >= min(self._deadline, stop_at)

    def sleep(self) -> None:
        """Pause before the next try."""
        if clock.monotonic() - self._failed_at > WARN_AFTER:
            self._notice.give(self.why, self._began, self._deadline)
        time.sleep(self._pause_for_lock() if self.why == LOCKED else random.uniform(0.05, 0.25))

    def _pause_for_lock(self) -> float:
        """Choose the pause before asking again for SQLite's one write lock.

        The first pause is the longest. Meanwhile the process that has the lock can do many operations, so the lock
        seldom changes hands; each change costs time, because the new holder must read some pages again. The more a
        process did since it last had to wait, the longer it waits now, so that all get the same share. After that it
        asks often, because its turn has come; then less often again, because one process has the lock for long. The
        pauses are random, so that processes do not keep in step.
        """
        pause = self._pause * random.uniform(0.8, 1.2)
        self._tries += 1
        if self._tries < _OFTEN_TRIES:
            self._pause = max(self._pause / 8, _OFTEN)
        else:
            self._pause = min(self._pause * 1.2, _SHORTEST)
        return pause


def _warn(text: str, *arguments: object) -> None:
    import logging

    logging.getLogger("zrb_store").warning(text, *arguments)


class Notice:
    """The warning that a store cannot be used at the moment: one for all operations that wait for it."""

    def __init__(self, store: str) -> None:
        self.given_for: float | None = None  # when the operation began for which it was logged last
        self._store = store
        self._lock = threading.Lock()
        self._until = -math.inf

    def give(self, why: str, began: float, deadline: float) -> None:
        """Log why an operation waits, unless its waiting is over, or another operation has logged it."""
        now = clock.monotonic()
        with self._lock:
            if now < self._until or now >= deadline:
                return
            self.given_for, self._until = began, deadline
        _warn("the store %s %s: waiting up to %.0f s more", self._store, why, deadline - now)

    def revoke_for(self, began: float) -> None:
        """Log that the operation that began then has succeeded, if the warning was logged for it."""
        if self.given_for == began:
            self.given_for, self._until = None, -math.inf
            _warn("the store %s can be used again, after %.0f s", self._store, clock.monotonic() - began)

    @contextlib.contextmanager
    def if_slow(self, why: str, said_at: float, began: float, deadline: float) -> Iterator[None]:
        """Log why an operation waits if the block, which nothing can interrupt, still runs at the time `said_at`."""
        timer = threading.Timer(max(0.0, said_at - clock.monotonic()), self.give, (why, began, deadline))
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
