"""Attempts: one execution of a task's action each, and the steps inside it.

`attempt.py` has an attempt of a task, and finds the one that code runs in. `steps.py` has its steps, `open_attempt.py`
the common parts of both, `exact_steps.py` steps with exact names, `output_handler.py` a handler of logging.
"""

from __future__ import annotations

from zrb_store.attempt.attempt import Attempt as Attempt
from zrb_store.attempt.attempt import attempt_around as attempt_around
from zrb_store.attempt.attempt import surrounding_attempt as surrounding_attempt
from zrb_store.attempt.open_attempt import NO_RESULT as NO_RESULT
from zrb_store.attempt.open_attempt import AttemptReference as AttemptReference
from zrb_store.attempt.open_attempt import OpenAttempt as OpenAttempt
from zrb_store.attempt.open_attempt import Step as Step
from zrb_store.attempt.open_attempt import record_command as record_command
from zrb_store.attempt.open_attempt import referenced_attempt as referenced_attempt
from zrb_store.attempt.open_attempt import status_after as status_after
