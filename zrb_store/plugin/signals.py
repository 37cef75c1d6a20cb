"""SIGTERM for the zrb releases that die of it at once: the run ends as interrupted first, then as stock zrb does."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

GRACE = 5.0
"""Seconds that a task may take to stop before the process ends all the same."""


class Watch:
    """Takes SIGTERM while sessions run, where nobody else does."""

    def __init__(self) -> None:
        self.terminated = False
        self._installed = False
        self._last_words: list[Callable[[], None]] = []

    def begin(self, last_words: Callable[[], None]) -> None:
        """A session starts to run.

        Args:
            last_words: Called if its task does not stop in time, from another thread.
        """
        self._last_words.append(last_words)
        if (
            not self._installed
            and threading.current_thread() is threading.main_thread()
            and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
        ):
            signal.signal(signal.SIGTERM, self._handle)
            self._installed = True

    def end(self, last_words: Callable[[], None]) -> None:
        """A session has ended. After SIGTERM the last one ends the process, with the exit code that stock zrb has."""
        self._last_words.remove(last_words)
        if self._last_words or not self._installed:
            return
        if self.terminated:
            self._die()
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            self._installed = False

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        if not self._last_words:  # the last one ended in a thread, which could not take the handler away
            self._die()
        self.terminated = True
        timer = threading.Timer(GRACE, self._give_up)
        timer.daemon = True
        timer.start()
        # As zrb 3.14 and later do it: SIGINT's handler is asyncio's, which cancels the running task.
        interrupt: Any = signal.getsignal(signal.SIGINT)
        if callable(interrupt):
            interrupt(signal.SIGINT, frame)
        else:
            raise KeyboardInterrupt

    def _give_up(self) -> None:
        # The task blocks the event loop; stock zrb would have died of the signal without waiting.
        for last_words in list(self._last_words):
            last_words()
        self._die()

    def _die(self) -> None:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGTERM)
        else:  # only the main thread may change a handler
            os._exit(128 + signal.SIGTERM)


watch = Watch()
