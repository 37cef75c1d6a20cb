"""Claims on tasks, so that two threads never execute one task at the same time."""

from __future__ import annotations

import contextlib
import os
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

from zrb_store.attempt import Attempt
from zrb_store.errors import ZrbStoreError

_PAUSE = 0.2  # seconds between two checks that there is still something to wait for


class Claims:
    """The tasks that the threads of this process have claimed in one run."""

    def __init__(self) -> None:
        self._reset()

    def _reset(self) -> None:
        self._pid = os.getpid()
        self._changed = threading.Condition()
        self._holders: dict[str, _Holder] = {}
        self._attempts: weakref.WeakValueDictionary[str, Attempt] = weakref.WeakValueDictionary()

    @contextlib.contextmanager
    def claim(self, task: str, wait: Callable[[], Any] | None = None) -> Iterator[None]:
        """Claim a task for as long as the `with` block runs.

        Args:
            task: Name of the task.
            wait: If given, wait while another thread has the task claimed, and call this now and then; it may raise.

        Raises:
            ZrbStoreError: The task is under way, and is not to be waited for.
        """
        if self._pid != os.getpid():
            self._reset()  # a forked child has none of its parent's other threads
        mine = _Holder(threading.get_ident())
        try:
            with self._changed:
                while (holder := self._holders.get(task)) is not None:
                    if wait is None or holder.thread == mine.thread:
                        raise _under_way(task)
                    self._changed.wait(_PAUSE)
                    wait()
                attempt = self._attempts.get(task)
                if attempt is not None and attempt.is_open:
                    raise _under_way(attempt.name)
                self._holders[task] = mine
            yield
        finally:
            with self._changed:
                if self._holders.get(task) is mine:
                    del self._holders[task]
                    self._changed.notify_all()

    def hold_until_ended(self, attempt: Attempt) -> None:
        """Hold the claim of an attempt's task until the attempt has ended or was garbage-collected."""
        with self._changed:
            self._attempts[attempt.task] = attempt


class _Holder:
    def __init__(self, thread: int) -> None:
        self.thread = thread


def _under_way(what: str) -> ZrbStoreError:
    return ZrbStoreError(f"{what} is under way in this process: it must end before the task's next attempt begins")
