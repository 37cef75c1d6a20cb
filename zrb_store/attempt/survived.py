"""Raise failures again that earlier attempts of a task survived (guarantees.md, promise 20).

A program that caught such an error takes the same way again, and comes to the steps that completed after it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from zrb_store.masking import one_line
from zrb_store.queries import survived
from zrb_store.queries.steps import StepKey
from zrb_store.queries.survived import SurvivedFailure

if TYPE_CHECKING:
    from zrb_store.attempt.open_attempt import OpenAttempt


class Survived:
    """The failures that earlier attempts of a task survived, for its attempt of now."""

    def __init__(self, attempt: OpenAttempt) -> None:
        self._attempt = attempt
        self._left: dict[StepKey, list[SurvivedFailure]] = {}

    def next_error(self, step: StepKey, arguments: str | None) -> Exception | None:
        """Return the error of the next failure of a step; None if it has no more, or if it has to run again."""
        found = self._of(step)
        return self._error(step, found.pop(0), arguments) if found else None

    def last_error(self, step: StepKey, attempt_id: int, arguments: str | None) -> Exception | None:
        """Return the error of this attempt of a step, if it was survived."""
        found = self._of(step)[-1:]
        return self._error(step, found[0], arguments) if found and found[0].id == attempt_id else None

    def _of(self, step: StepKey) -> list[SurvivedFailure]:
        if step not in self._left:
            attempt = self._attempt
            self._left[step] = survived.failures(attempt.database, attempt.id, attempt.task, step)
        return self._left[step]

    def _error(self, step: StepKey, failure: SurvivedFailure, arguments: str | None) -> Exception | None:
        from zrb_store.codec.compare import describe_changes
        from zrb_store.codec.raised import CannotRaise, decode_error

        difference = describe_changes(failure.arguments or "null", arguments or "null")
        try:
            if difference:
                raise CannotRaise(f"its arguments differ: {difference}")
            return decode_error(failure.raised)
        except CannotRaise as reason:
            attempt = self._attempt
            attempt.xcom.warn(
                one_line(
                    f"step {step.name} of task {attempt.task} failed, and the task continued. The step runs again, "
                    f"because the error cannot be raised again ({reason})"
                )
            )
            return None
