"""Attempts: one execution of a task's action each, and the steps inside it.

`attempt.py` has an attempt of a task, and finds the one that code runs in. `steps.py` has its steps, `open_attempt.py`
the common parts of attempts and steps, `exact_steps.py` the steps of agents, `output_handler.py` a handler of logging.
"""

from __future__ import annotations

from zrb_store.attempt.attempt import Attempt, surrounding_attempt
from zrb_store.attempt.open_attempt import (
    NO_RESULT,
    AttemptReference,
    OpenAttempt,
    Step,
    referenced_attempt,
    status_after,
)

__all__ = [
    "NO_RESULT",
    "Attempt",
    "AttemptReference",
    "OpenAttempt",
    "Step",
    "referenced_attempt",
    "status_after",
    "surrounding_attempt",
]
