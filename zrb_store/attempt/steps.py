"""The steps of one attempt: each runs once, or its stored result is returned.

`Claim` is one call of a step, which keeps its name. `Steps.run` is `attempt.step`; `Steps.open` is for a program that
names each step exactly, as the journal of an agent does.
"""

from __future__ import annotations

import contextlib
import functools
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple, Self

from zrb_store import codec
from zrb_store.attempt.open_attempt import OpenAttempt
from zrb_store.attempt.step import (
    Done,
    Step,
    is_async,
    refuse_other_arguments,
    refuse_uncertain,
    refuse_unfinished,
)
from zrb_store.codec.compare import stored_arguments
from zrb_store.db.transaction import Executor, Transaction, failpoint
from zrb_store.errors import InvalidArgument, StepUncertain, ZrbStoreError
from zrb_store.masking import mask_text
from zrb_store.names import check_step_name
from zrb_store.queries import attempts, steps
from zrb_store.queries.attempts import BegunAttempt
from zrb_store.queries.dependent_steps import Span, standing_in, uncertain_in
from zrb_store.queries.give_back import give_back, undo_ended
from zrb_store.queries.steps import StepRecord
from zrb_store.xcom import current_attempt

NOT_RESTORABLE: Final = "not-restorable"
"""Why a step that completed is given back if its result could not be stored."""


class Change(NamedTuple):
    """Why a step that completed does not stand for a call.

    Attributes:
        reason: Stored with every value that comes back.
        arguments: The encoded arguments of the step's next attempt.
    """

    reason: str
    arguments: str


class ExactStep(NamedTuple):
    """A step whose name says which one it is, however often the attempt comes to it.

    Attributes:
        name: The name, with the ~2 of a second step if it is one.
        arguments: The encoded arguments.
        change: Compares the encoded arguments of the step that completed with those of now. If it returns a change, the
            step and all that began after it are given back, and the step begins again. It is not asked about a step
            that a person has kept, by `fork` or `mark`.
        once: Whether the step must not be repeated if its end is unknown.
        repeat: Whether it may begin although the end of an earlier try is unknown.
        leads: Whether the steps after it rest on its result: if that could not be stored, they are given back with it.
    """

    name: str
    arguments: str
    change: Callable[[str], Change | None]
    once: bool = False
    repeat: bool = False
    leads: bool = False


class Claim:
    """A call of a step. Within its block, no other step of that name begins in this process.

    Attributes:
        base: The name that was given.
        name: The name of this occurrence of it: the second one is `base~2`.
        arguments: The encoded arguments.
        again: Whether this occurrence failed before in this attempt: then the call is its next attempt.
    """

    def __init__(self, all_steps: Steps, base: str, arguments: str) -> None:
        self._steps = all_steps
        self.base = base
        self.arguments = arguments
        all_steps._reset_if_forked()
        with all_steps._lock:
            all_steps._refuse_open(base)
            failed = all_steps._failed.get(base)
            count = next((each for each, others in failed.items() if others == arguments), 0) if failed else 0
            self.again = count > 0
            if failed and self.again:
                del failed[count]
            else:
                count = all_steps._started[base] = all_steps._started.get(base, 0) + 1
            all_steps._open[base] = None
        self.name = base if count == 1 else f"{base}~{count}"
        self._count = count

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        all_steps = self._steps
        with all_steps._lock:
            is_begun = all_steps._open.pop(self.base, None) is not None
            if error is None:
                return
            if self.again or is_begun:
                all_steps._failed.setdefault(self.base, {})[self._count] = self.arguments
            else:
                all_steps._started[self.base] -= 1  # it was refused, so that it did not start
                all_steps._in_doubt = True  # unless the connection was lost, so that nobody knows


class Steps:
    """The steps of one attempt.

    Attributes:
        any_began: Whether a step may have begun.
    """

    def __init__(self, attempt: OpenAttempt) -> None:
        self.any_began = False
        self._attempt = attempt
        self._in_doubt = False  # whether a step may have begun that nobody here knows
        self._had_steps: bool | None = None  # whether the task had steps before; None until the first step asks
        self._highest_number = 0
        self._started: dict[str, int] = {}  # how often each name was claimed
        # The arguments of those that failed, by name and count: a call with these is the next attempt of that step.
        self._failed: dict[str, dict[int, str]] = {}
        self._reset()

    def _reset(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()  # of the names
        self._counting = threading.Lock()  # of the numbers, while the store is asked for the highest one
        self._open: dict[str, Step | None] = {}  # by names that are claimed; None if the step has not begun

    def _reset_if_forked(self) -> None:
        if self._pid != os.getpid():
            self._reset()  # a forked child has none of its parent's other threads
            self._in_doubt = True  # what the other process does is not known here

    def owner_of_change(self) -> OpenAttempt:
        """Return what owns a change that is made now: the step that the code runs in, or the attempt.

        A thread without a context belongs to the only open step.

        Raises:
            ZrbStoreError: Several steps are open, and nothing says to which one this thread belongs.
        """
        attempt, current = self._attempt, current_attempt.get()
        if current is attempt:
            return attempt
        if isinstance(current, Step) and current.parent is attempt:
            return current
        self._reset_if_forked()
        with self._lock:
            found = [step for step in self._open.values() if step is not None]
        if len(found) > 1:
            names = ", ".join(step.step for step in found)
            raise ZrbStoreError(
                f"several steps of {attempt.full_name} are open ({names}), and this thread belongs to none of them: "
                "start it with asyncio.to_thread, or run its function in contextvars.copy_context()"
            )
        return found[0] if found else attempt

    def run(
        self, name: str, function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any], *, once: bool
    ) -> Any:
        """Return the stored result of an equal step, or run the function as a step, as `Attempt.step` says."""
        check_step_name(name)
        if is_async(function):
            return self._run_async(name, function, args, kwargs, once)
        with self.claim(name, args, kwargs) as claim:
            step = self.begun_or_done(claim, once=once)
            if isinstance(step, Done):
                return codec.decode(step.result)
            with step:
                result = function(*args, **kwargs)
                refuse_unfinished(result, name)
                step.complete(result)
                return result

    async def _run_async(
        self, name: str, function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any], once: bool
    ) -> Any:
        with self.claim(name, args, kwargs) as claim:
            step = self.begun_or_done(claim, once=once)
            if isinstance(step, Done):
                return codec.decode(step.result)
            with step:
                result = await function(*args, **kwargs)
                step.complete(result)
                return result

    def claim(self, name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Claim:
        """Claim the name of a step for a call with these arguments."""
        self._refuse_nesting(name)
        return Claim(self, name, stored_arguments(args, kwargs, self._attempt.xcom.max_value))

    def begun_or_done(self, claim: Claim, *, once: bool) -> Step | Done:
        """Return the step, begun, or the result of one that is done."""
        name = claim.name
        with self._attempt.xcom.watched():
            while True:
                known = self._newest(name) if claim.again or self._task_had_steps() else None
                if known is not None:
                    if known.is_done:
                        refuse_other_arguments(self._attempt, known, name, claim.arguments)
                        return Done(known.result or "null")
                    refuse_uncertain(self._attempt, known, name)
                step = self._begin(claim.base, name, claim.arguments, known, once=once)
                if step is not None:
                    return step

    def peek(self, name: str) -> StepRecord | None:
        """Return the step of this exact name if it is done."""
        with self._attempt.xcom.watched():
            known = self._newest(name)
        return known if known is not None and known.is_done else None

    @contextlib.contextmanager
    def open(self, call: ExactStep) -> Iterator[Step | Done]:
        """Yield the step of this exact name, begun, or its result if it is done. If the block raises, the step fails.

        The block completes the step.

        Raises:
            StepUncertain: A step declared `once` began before, and its end is unknown; or one would be given back that
                is not known to have failed.
        """
        self._refuse_nesting(call.name)
        self._reset_if_forked()
        with self._lock:
            self._refuse_open(call.name)
            self._open[call.name] = None
        try:
            with self._attempt.xcom.watched():
                step = self._exact(call)
            if isinstance(step, Done):
                yield step
            else:
                with step:
                    yield step
        finally:
            with self._lock:
                self._open.pop(call.name, None)

    def _exact(self, call: ExactStep) -> Step | Done:
        while True:
            known = self._newest(call.name) if self._task_had_steps() or self.any_began else None
            change = None
            if known is not None and known.is_done:
                if known.arguments is not None and not known.kept:  # what a person has kept is kept
                    change = call.change(known.arguments)
                if change is None:
                    return Done(known.result or "null")
            elif known is not None and known.stands and call.leads:
                change = Change(NOT_RESTORABLE, call.arguments)
            elif known is not None and not call.repeat:
                refuse_uncertain(self._attempt, known, call.name)
            undo = None
            if known is not None and change is not None:
                undo = functools.partial(self._discard_from, call.name, known, change.reason)
            arguments = change.arguments if change else call.arguments
            step = self._begin(call.name, call.name, arguments, known, once=call.once, undo=undo)
            if step is not None:
                return step

    def _refuse_nesting(self, name: str) -> None:
        current = current_attempt.get()
        if isinstance(current, Step):
            raise ZrbStoreError(f"step {name} cannot begin inside step {current.step}: steps do not nest")
        if current is not None and current is not self._attempt:
            raise ZrbStoreError(f"step {name} of {self._attempt.full_name} cannot begin inside {current.full_name}")

    def _refuse_open(self, name: str) -> None:
        if name in self._open:
            raise ZrbStoreError(
                f"step {name} of {self._attempt.full_name} is under way: "
                "steps that run at the same time need names of their own"
            )

    def _task_had_steps(self) -> bool:
        """Whether the task may have had steps before. If it had none, there is nothing to look for."""
        if self._had_steps is None:
            with self._counting:
                if self._had_steps is None:
                    self._highest_number = self._read_highest_number()
                    self._had_steps = self._highest_number > 0
        return self._had_steps or self._in_doubt

    def _newest(self, name: str) -> StepRecord | None:
        return steps.newest(self._attempt.database, self._attempt.id, self._attempt.task, name)

    def _read_highest_number(self) -> int:
        return steps.highest_number(self._attempt.database, self._attempt.task, parent_id=self._attempt.id)

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

        Returns:
            The step; None if another process, forked inside the attempt, has begun a step meanwhile: look again.
        """
        attempt = self._attempt
        if known is None:
            last = 0
            with self._counting:
                self._highest_number = number = self._highest_number + 1
        else:
            number, last = known.step_number, known.number
        self.any_began = True

        def begin(executor: Executor) -> BegunAttempt | None:
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
        with self._lock:
            self._open[base] = step
        return step

    def _refuse_unless_overtaken(self, name: str, number: int, known: StepRecord | None) -> None:
        """Raise an error that says why a step did not begin, unless another process has begun one in its place."""
        attempt = self._attempt
        attempt.refuse_if_closed()
        self._in_doubt = True
        if known is not None:
            newest = self._newest(name)
            if newest is None or newest.id != known.id:
                return
        with self._counting:
            highest = self._read_highest_number()
            self._highest_number = max(highest, self._highest_number)
        if known is None and highest >= number:
            return
        raise InvalidArgument(
            f"step {name} cannot begin in the delivery {attempt.full_name}: a delivery is given back whole, so no step "
            "of it could stand; work on the value in `with run.attempt(...)`"
        )

    def _discard_from(
        self, name: str, known: StepRecord, reason: str, transaction: Transaction, begun: BegunAttempt
    ) -> None:
        """Give back a step that completed, and those that began after it, in the transaction that begins it again.

        What this attempt has done since it began, it did on the way to this step, unless it has done this step too.
        """
        attempt = self._attempt
        before = attempt.id if known.id < attempt.id else begun.id
        span = Span(attempt.id, attempt.task, known.id, before)
        step = uncertain_in(transaction, span)
        if step is not None:
            what = "has completed" if step.stands else "may have happened"
            if reason == NOT_RESTORABLE:
                reason, advice = f"the result of step {name} is not stored", "start the task over"
            else:
                advice = "undo the change, or start the task over"
            raise StepUncertain(
                mask_text(
                    f"step {step.step} of task {attempt.task} ({attempt.session}/{step.task}) {what} and is declared "
                    f"`once`, but might run again ({reason}): {advice} with --from {attempt.task} --repeat-once"
                )
            )
        give_back(transaction, [(step_id, reason) for step_id in standing_in(transaction, span)])
