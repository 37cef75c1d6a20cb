"""The signals that end a consumer."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class EndingSignals:
    """Lets the first signal finish what is in hand, and every further one end it at once, for as long as a block runs.

    Signals that this process was started to ignore, as by `nohup`, stay ignored. Outside the main thread nothing is
    handled.

    Attributes:
        first: The first signal that came, or None.
        count: How many have come.
    """

    def __init__(self, finish: Callable[[], object], stop: Callable[[], object]) -> None:
        """Prepare to handle signals.

        Args:
            finish: Called at the first signal.
            stop: Called at every further one.
        """
        self.first: int | None = None
        self.count = 0
        self._finish = finish
        self._stop = stop
        self._previous: dict[int, Any] = {}

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.count += 1
        if self.first is None:
            self.first = number
            self._finish()
        else:
            self._stop()

    def __enter__(self) -> EndingSignals:
        if threading.current_thread() is threading.main_thread():
            # If it were ignored, nobody would learn how a command ended.
            self._previous[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for number in _ENDING:
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            # None: the handler was not set by Python, which then cannot set it again either.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
