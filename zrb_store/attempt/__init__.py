"""Attempts: one execution of a task's action each, and the steps inside it.

Every open attempt has what `open_attempt.py` says, an attempt of a task `attempt.py`, a step `step.py`. `steps.py`
runs the steps of one attempt.
"""

from zrb_store.attempt.attempt import Attempt, OutputHandler, surrounding_attempt
from zrb_store.attempt.open_attempt import (
    NO_RESULT,
    AttemptReference,
    OpenAttempt,
    referenced_attempt,
    status_after,
)
from zrb_store.attempt.step import Done, Step
from zrb_store.attempt.steps import Change, ExactStep

__all__ = [
    "NO_RESULT",
    "Attempt",
    "AttemptReference",
    "Change",
    "Done",
    "ExactStep",
    "OpenAttempt",
    "OutputHandler",
    "Step",
    "referenced_attempt",
    "status_after",
    "surrounding_attempt",
]
