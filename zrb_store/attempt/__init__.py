"""Attempts: one execution of a task's action each, and the steps inside it.

`attempt.py` has an attempt of a task and its steps, `open_attempt.py` what attempts and steps have in common,
`exact_steps.py` the steps of agents. Here is what finds the attempt that code runs in.
"""

from __future__ import annotations

import logging

from zrb_store.attempt.attempt import Attempt
from zrb_store.attempt.open_attempt import (
    NO_RESULT,
    AttemptReference,
    Done,
    OpenAttempt,
    Step,
    referenced_attempt,
    status_after,
)
from zrb_store.errors import ZrbStoreError
from zrb_store.queries.store import Owner
from zrb_store.xcom import current_attempt

__all__ = [
    "NO_RESULT",
    "Attempt",
    "AttemptReference",
    "Done",
    "OpenAttempt",
    "OutputHandler",
    "Step",
    "referenced_attempt",
    "status_after",
    "surrounding_attempt",
]


def _attempt_around(attempt: Owner | None) -> Attempt | None:
    if isinstance(attempt, Step):
        attempt = attempt.parent
    return attempt if isinstance(attempt, Attempt) else None


def surrounding_attempt(step: str) -> Attempt:
    """Return the attempt in which this step is to begin: the one that the code runs in, also in a step of it."""
    attempt = _attempt_around(current_attempt.get())
    if attempt is None:
        raise ZrbStoreError(
            f"step {step} is not inside an attempt: call it in a zrb task's action or in `with run.attempt(...)`, "
            "and in a thread that has no context use attempt.step"
        )
    return attempt


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
        attempt = _attempt_around(self._attempt or current_attempt.get())
        if attempt is None:
            return
        try:
            attempt.log(self.format(record), stream=record.levelname.lower())
        except Exception:  # noqa: BLE001 - as every handler of logging does
            self.handleError(record)
