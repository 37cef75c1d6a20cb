"""Attempts: one execution of a task's action each, and the steps inside it.

`reference.py` knows an attempt by its identity, `under_way.py` has what attempts and steps under way have in common,
`attempt.py` and `step_under_way.py` the two kinds. `steps.py` runs the steps of one attempt, and `exact_steps.py` those
that a program names exactly; `step_names.py` says which step a call is, and `step_refusals.py` why it is not run.
"""

from zrb_store.attempt.attempt import Attempt, surrounding_attempt
from zrb_store.attempt.exact_steps import Change, ExactStep
from zrb_store.attempt.reference import AttemptReference, referenced_attempt
from zrb_store.attempt.step_call import Done
from zrb_store.attempt.step_under_way import Step
from zrb_store.attempt.under_way import NO_RESULT, AttemptUnderWay, status_after

__all__ = [
    "NO_RESULT",
    "Attempt",
    "AttemptReference",
    "AttemptUnderWay",
    "Change",
    "Done",
    "ExactStep",
    "Step",
    "referenced_attempt",
    "status_after",
    "surrounding_attempt",
]
