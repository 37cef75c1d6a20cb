"""Noticing that something was committed to a store, without asking what."""

from __future__ import annotations

import time

from zrb_store.db.engine import Database

ASK_EVERY = 0.2
"""Seconds between two questions, where nothing tells at once that a file was written."""
_COMMIT_TIME = 0.001  # seconds between SQLite's last write to a file and the end of the commit, as a rule
_LATE = 0.03  # seconds after which a commit that takes longer is looked for again


class News:
    """What one process knows of the commits of all processes to a store.

    On SQLite the file tells when it is written (on Linux), so that waiting costs nothing while nobody writes.
    PostgreSQL is asked, which reads no table; it also answers that something was committed if that was not to this
    store, but to another one of the same server.
    """

    def __init__(self, database: Database) -> None:
        """Begin to listen. What was committed before is no news.

        Args:
            database: The store, opened for reading. Nothing else should use this object, since each wait may use its
                connection.

        Raises:
            StoreUnavailable: The store cannot be read.
        """
        self._database = database
        self._bell = database.dialect.bell(database.url)
        self._is_quiet = self._bell is not None and self._bell.arm()
        self._mark = self._ask()

    def wait(self, seconds: float) -> bool:
        """Wait until something is committed that was not when `wait` last returned.

        Args:
            seconds: How long to wait.

        Returns:
            False if nothing was committed in this time.

        Raises:
            StoreUnavailable: The store cannot be read, or its file was deleted or replaced.
        """
        end = time.monotonic() + seconds
        self._database.refuse_replaced()
        while (left := end - time.monotonic()) > 0:
            has_rung = self._sleep(left)
            # First, so that it rings for all that is not seen below.
            is_armed = self._bell is not None and self._bell.arm()
            mark = self._ask()
            has_news, self._mark = mark != self._mark, mark
            # If it has rung for a commit that is not seen yet, the commit is looked for again soon.
            self._is_quiet = is_armed and (has_news or not has_rung)
            if has_news:
                return True
        return False

    def _sleep(self, seconds: float) -> bool:
        """Sleep until it is time to ask, at most so long. Return whether the file was written."""
        if self._bell is None or not self._is_quiet:
            time.sleep(min(seconds, ASK_EVERY if self._bell is None else _LATE))
            return False
        has_rung = self._bell.rings(seconds)
        if has_rung:
            time.sleep(_COMMIT_TIME)
        return has_rung

    def _ask(self) -> object:
        return self._database.operate(self._database.dialect.latest_commit, self._database.url)
