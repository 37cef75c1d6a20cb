"""A thread that stores what attempts print, a second after they have begun to print."""

from __future__ import annotations

import logging
import os
import threading
import time
from typing import Protocol

INTERVAL = 1.0
"""Seconds between the first line that is not stored and its storing."""

_IDLE = 10.0  # seconds without output after which the thread ends

_log = logging.getLogger("zrb_store")


class Storable(Protocol):
    """The output of an attempt."""

    def store(self) -> None:
        """Store what was printed since the last time."""


class Writer:
    """The thread. It starts with the first line that any attempt prints, and ends when nobody prints for a while."""

    def __init__(self) -> None:
        """Begin without a thread."""
        self.reset()

    def reset(self) -> None:
        """Forget the thread and what it has to do: a forked child has neither."""
        self._due: dict[Storable, None] = {}
        self._changed = threading.Condition(threading.RLock())  # a signal handler may print
        self._thread: threading.Thread | None = None

    def wake(self, output: Storable) -> bool:
        """Store this output in a second.

        Returns:
            False if no thread can be started at the moment: ask again.
        """
        with self._changed:
            self._due[output] = None
            if self._thread is not None:
                self._changed.notify()
                return True
            self._thread = threading.Thread(target=self._store_all, name="zrb-store-output", daemon=True)
            try:
                self._thread.start()
            except RuntimeError:
                self._thread = None
                return False
            return True

    def _store_all(self) -> None:
        while True:
            with self._changed:
                if not self._changed.wait_for(lambda: self._due, timeout=_IDLE):
                    self._thread = None
                    return
            time.sleep(INTERVAL)
            with self._changed:
                due, self._due = list(self._due), {}
            for output in due:
                try:
                    output.store()
                except Exception as error:  # noqa: BLE001 - output must never break a task, nor that of other attempts
                    _log.warning("what an attempt printed could not be stored: %s", error)


writer = Writer()

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=writer.reset)
