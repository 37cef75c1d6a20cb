"""A handler of `logging` for the output of attempts."""

from __future__ import annotations

import logging

from zrb_store.attempt.attempt import Attempt, attempt_around
from zrb_store.xcom import current_attempt


class OutputHandler(logging.Handler):
    """A `logging.Handler` that adds each message to the output of the attempt that the code runs in.

    Messages from outside of attempts are ignored. What a step logs belongs to the attempt around it.
    """

    def __init__(self, attempt: Attempt | None = None, level: int | str = logging.NOTSET) -> None:
        """Create a handler: `logging.getLogger().addHandler(zrb_store.OutputHandler())`.

        Args:
            attempt: The attempt that gets the messages of all threads; by default each thread's own.
            level: Messages below this level are ignored.
        """
        super().__init__(level)
        self._attempt = attempt

    def emit(self, record: logging.LogRecord) -> None:
        """Add a message."""
        attempt = attempt_around(self._attempt or current_attempt.get())
        if attempt is None:
            return
        try:
            attempt.log(self.format(record), stream=record.levelname.lower())
        except Exception:  # noqa: BLE001 - as every handler of logging does
            self.handleError(record)
