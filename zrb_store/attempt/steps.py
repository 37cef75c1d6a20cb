"""The steps of one attempt."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Final

from zrb_store import codec
from zrb_store.attempt.step_call import Done, StepCall, refuse_unfinished
from zrb_store.attempt.step_names import Claim, StepNames
from zrb_store.attempt.step_refusals import refuse_other_arguments, refuse_uncertain
from zrb_store.attempt.step_under_way import Step
from zrb_store.attempt.under_way import AttemptUnderWay
from zrb_store.codec.inputs import stored_arguments
from zrb_store.db.failpoints import failpoint
from zrb_store.db.transaction import Transaction
from zrb_store.errors import InvalidArgument, ZrbStoreError
from zrb_store.names import check_step_name
from zrb_store.queries import attempts, steps
from zrb_store.queries.attempts import BegunAttempt
from zrb_store.queries.give_back import give_back, undo_ended
from zrb_store.queries.steps import StepRecord
from zrb_store.xcom import current_attempt

NOT_RESTORABLE: Final = "not-restorable"
"""Why a step that completed is given back if its result could not be stored."""


class Steps:
    """The steps of one attempt: runs them, or returns their stored results.

    Attributes:
        any_began: Whether a step may have begun.
    """

    def __init__(self, attempt: AttemptUnderWay) -> None:
        self.any_began = False
        self._attempt = attempt
        self._names = StepNames(attempt)
        self._lock = threading.Lock()
        self._had_steps: bool | None = None  # whether the task had steps before; None until the first step asks
        self._highest_number = 0

    def owner_of_change(self) -> AttemptUnderWay:
        """Return what owns a change that is made now, as `StepNames.owner_of_change` does."""
        return self._names.owner_of_change()

    def run(self, call: StepCall) -> Any:
        """Return the stored result of an equal step, or run the function as a step.

        Returns:
            What the function returned, now or then; for a coroutine function, an awaitable of it.
        """
        check_step_name(call.name)
        if call.is_async:
            return self._run_async(call)
        with self._claim(call) as claim:
            step = self._begun_or_done(call, claim)
            if isinstance(step, Done):
                return codec.decode(step.result)
            with step:
                result = call.function(*call.args, **call.kwargs)
                refuse_unfinished(result, call.name)
                step.complete(result)
                return result

    async def _run_async(self, call: StepCall) -> Any:
        with self._claim(call) as claim:
            step = self._begun_or_done(call, claim)
            if isinstance(step, Done):
                return codec.decode(step.result)
            with step:
                result = await call.function(*call.args, **call.kwargs)
                step.complete(result)
                return result

    def _claim(self, call: StepCall) -> Claim:
        self._refuse_nesting(call.name)
        return self._names.claim(call.name, stored_arguments(call.args, call.kwargs, self._attempt.xcom.max_value))

    def _begun_or_done(self, call: StepCall, claim: Claim) -> Step | Done:
        """Return the step, begun, or the result of one that is done."""
        xcom, name, arguments = self._attempt.xcom, claim.name, claim.arguments
        while True:
            with xcom.watched():
                known = self._newest(name) if claim.again or self._task_had_steps() else None
            if known is not None:
                if known.is_done:
                    refuse_other_arguments(self._attempt, known, name, arguments)
                    return Done(known.result or "null")
                refuse_uncertain(self._attempt, known, name)
            with xcom.watched():
                step = self._begin(call.name, name, arguments, known, once=call.once)
            if step is not None:
                return step

    def _refuse_nesting(self, name: str) -> None:
        current = current_attempt.get()
        if isinstance(current, Step):
            raise ZrbStoreError(f"step {name} cannot begin inside step {current.step}: steps do not nest")
        if current is not None and current is not self._attempt:
            raise ZrbStoreError(f"step {name} of {self._attempt.full_name} cannot begin inside {current.full_name}")

    def _task_had_steps(self) -> bool:
        """Whether the task may have had steps before. If it had none, there is nothing to look for."""
        with self._lock:
            if self._had_steps is None:
                self._highest_number = self._read_highest_number()
                self._had_steps = self._highest_number > 0
            return self._had_steps or self._names.in_doubt

    def _newest(self, name: str) -> StepRecord | None:
        return steps.newest(self._attempt.database, self._attempt.id, self._attempt.task, name)

    def _begin(
        self,
        base: str,
        name: str,
        arguments: str,
        known: StepRecord | None,
        *,
        once: bool,
        undo: Callable[[Transaction, BegunAttempt], None] | None = None,
    ) -> Step | None:
        """Begin the next attempt of a step.

        Args:
            base: The name that it is open under.
            name: Its name.
            arguments: Its encoded arguments.
            known: Its attempt before.
            once: Whether it must not be repeated if its end is unknown.
            undo: Called in the same transaction if the attempt before stands; by default that one is given back.

        Returns:
            The step; None if another process, forked amid the attempt, has begun a step meanwhile: look again.
        """
        attempt = self._attempt
        number = known.step_number if known is not None else self._new_number()
        self.any_began = True

        def begin(executor: Any) -> BegunAttempt | None:
            last = known.number if known is not None else 0
            return steps.begin(executor, attempt.id, attempt.task, name, number, arguments, once=once, known=last)

        def begin_again(transaction: Transaction) -> BegunAttempt | None:
            begun = begin(transaction)
            if begun is None or known is None:
                return None  # before anything is given back for an attempt that may no longer write
            if known.status == "running":  # its end could not be recorded
                if attempts.fail(transaction, known.id, "interrupted", None):
                    undo_ended(transaction, [known.id], "interrupted")
            elif undo is not None:
                undo(transaction, begun)
            else:  # its result could not be stored
                give_back(transaction, [(known.id, NOT_RESTORABLE)])
            return begun

        if known is not None and (known.status == "running" or known.stands):
            begun = attempt.database.transact(begin_again, "step_begin", is_made=attempts.is_begun)
        else:
            failpoint("step_begin:before")
            begun = begin(attempt.database)
            failpoint("step_begin:after")
        if begun is None:
            self._refuse_unless_overtaken(name, number, known)
            return None
        step = Step(attempt, begun.id, f"{attempt.task}/{number}", begun.number, name)
        self._names.open(base, step)
        return step

    def _new_number(self) -> int:
        with self._lock:
            self._highest_number += 1
            return self._highest_number

    def _read_highest_number(self) -> int:
        return steps.highest_number(self._attempt.database, self._attempt.id, self._attempt.task)

    def _refuse_unless_overtaken(self, name: str, number: int, known: StepRecord | None) -> None:
        """Raise an error that says why a step did not begin, unless another process has begun one in its place."""
        attempt = self._attempt
        attempt.refuse_if_closed()
        self._names.in_doubt = True
        if known is not None:
            newest = self._newest(name)
            if newest is None or newest.id != known.id:
                return
        with self._lock:
            highest = self._read_highest_number()
            self._highest_number = max(highest, self._highest_number)
        if known is None and highest >= number:
            return
        raise InvalidArgument(
            f"step {name} cannot begin in the delivery {attempt.full_name}: a delivery is given back whole, so no step "
            "of it could stand; work on the value in `with run.attempt(...)`"
        )
