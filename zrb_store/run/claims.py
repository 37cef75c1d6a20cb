"""Keeps two threads of a process from executing one task of a run. Under zrb nothing does that."""

from __future__ import annotations

import contextlib
import os
import threading
import weakref
from collections.abc import Callable, Iterator

from zrb_store.attempt import Attempt
from zrb_store.errors import ZrbStoreError

_LOOK = 0.2  # seconds between two checks that there is still something to wait for


class Claims:
    """The tasks that the threads of this process have claimed in one run."""

    def __init__(self) -> None:
        self._reset()

    def _reset(self) -> None:
        self._pid = os.getpid()
        self._changed = threading.Condition()
        self._threads: dict[str, int] = {}
        self._attempts: weakref.WeakValueDictionary[str, Attempt] = weakref.WeakValueDictionary()

    @contextlib.contextmanager
    def claimed(self, task: str, wait: Callable[[], object] | None = None) -> Iterator[None]:
        """Claim a task for this thread during a block; raise an error if it is under way.

        With `wait`, wait while another thread has the task claimed, and call this now and then; it may raise, too.
        """
        if self._pid != os.getpid():
            self._reset()  # a forked child has none of its parent's other threads
        mine = threading.get_ident()
        with self._changed:
            while (holder := self._threads.get(task)) is not None:
                if wait is None or holder == mine:
                    raise _under_way_error(task)
                self._changed.wait(_LOOK)
                wait()
            attempt = self._attempts.get(task)
            if attempt is not None and attempt.is_open:
                raise _under_way_error(attempt.name)
            self._threads[task] = mine
        try:
            yield
        finally:
            with self._changed:
                if self._threads.get(task) == mine:
                    del self._threads[task]
                    self._changed.notify_all()

    def hold_until_ended(self, attempt: Attempt) -> None:
        """Refuse another claim of an attempt's task until the attempt has ended or was garbage-collected."""
        with self._changed:
            self._attempts[attempt.task] = attempt


def _under_way_error(what: str) -> ZrbStoreError:
    return ZrbStoreError(f"{what} is running in this process: it must end before the task's next attempt begins")
