"""SIGINT and SIGTERM while sessions run: wait only briefly for the store, and record how each run ended."""

from __future__ import annotations

import functools
import os
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING

from zrb_store.observe import flush

if TYPE_CHECKING:
    from zrb_store.plugin.recorder import Recorder

GRACE = 5.0
"""Seconds that a task may take to stop before the process ends anyway, on releases where SIGTERM kills."""
WAIT = 3.0
"""Seconds to wait for the store after a signal, at most."""

Handler = Callable[[int, FrameType | None], None]


class StopSignals:
    """Handlers of the signals that ask a process to stop. They pass them on to the handlers that were there before."""

    def __init__(self) -> None:
        self.received = False  # whether such a signal came while the current sessions run
        self._sessions: list[Recorder] = []
        self._before: dict[int, tuple[Handler, Handler | int | None]] = {}
        self._is_killed = False

    def begin(self, session: Recorder) -> None:
        """Handle signals for a session that starts to run."""
        self._sessions.append(session)
        if self._before or threading.current_thread() is not threading.main_thread():
            return
        for number in (signal.SIGINT, signal.SIGTERM):
            before = signal.getsignal(number)
            if callable(before):
                handler: Handler = functools.partial(self._pass_on, before)
            elif before is signal.SIG_DFL and number == signal.SIGTERM:  # zrb 3.8.0 and before die of it at once
                handler = self._interrupt
            else:
                continue
            self._before[number] = handler, signal.signal(number, handler)

    def end(self, session: Recorder) -> None:
        """Forget a session, which has ended. Kill the process after the last one if SIGTERM asked for it."""
        self._sessions.remove(session)
        if self._sessions:
            return
        if self._is_killed:
            self._die()
        if self.received:
            self.received = False
            session.run.database.wait_again()
        if threading.current_thread() is threading.main_thread():
            for number, (ours, before) in self._before.items():
                if signal.getsignal(number) is ours:
                    signal.signal(number, before)
            self._before.clear()

    def _note(self) -> None:
        self.received = True
        for session in list(self._sessions):
            session.run.database.stop_waiting(WAIT)

    def _pass_on(self, before: Handler, number: int, frame: FrameType | None) -> None:
        self._note()
        before(number, frame)

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        if not self._sessions:  # the last one ended in a thread, which could not restore the handler
            self._die()
        self._is_killed = True
        self._note()
        timer = threading.Timer(GRACE, self._give_up)
        timer.daemon = True
        timer.start()
        # As zrb 3.8.1 and later do it: SIGINT's handler is asyncio's, which cancels the running task.
        interrupt = signal.getsignal(signal.SIGINT)
        if callable(interrupt):
            interrupt(signal.SIGINT, frame)
        else:
            raise KeyboardInterrupt

    def _give_up(self) -> None:
        # The task blocks the event loop; stock zrb would have died of the signal without waiting.
        for session in list(self._sessions):
            session.end_at_once()
        self._die()

    def _die(self) -> None:
        flush()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGTERM)
        else:  # only the main thread may change a handler
            os._exit(128 + signal.SIGTERM)


signals = StopSignals()
