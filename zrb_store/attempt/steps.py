"""The steps of an attempt: each runs once, or its stored result is returned.

`Steps` are those of one attempt, and `Claim` is one call of a step, which keeps its name meanwhile. At the end are the
reasons why a step that began before is not simply run, or its result returned.
"""

from __future__ import annotations

import contextlib
import inspect
import os
import shlex
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import NoneType
from typing import Any, Final, NamedTuple, Self

from zrb_store import codec
from zrb_store.attempt.open_attempt import OpenAttempt, Step
from zrb_store.attempt.options import NO_OPTIONS, CallOptions, is_async
from zrb_store.attempt.retries import Tries
from zrb_store.attempt.survived import Survived
from zrb_store.codec.arguments import call_text, mask_encoded, stored_arguments
from zrb_store.db.transaction import Executor, Transaction, failpoint
from zrb_store.errors import InputsDiffer, InvalidArgument, StepUncertain, ZrbStoreError
from zrb_store.masking import mask_text, printable
from zrb_store.names import check_step_name
from zrb_store.queries import attempts, steps
from zrb_store.queries.attempts import BegunAttempt
from zrb_store.queries.give_back import give_back, undo_ended
from zrb_store.queries.steps import NewStep, StepKey, StepRecord
from zrb_store.queries.stored_step import use
from zrb_store.records import iso
from zrb_store.settings import REPLAYS
from zrb_store.wings import load, place_of
from zrb_store.xcom import current_attempt

NOT_RESTORABLE: Final = "not-restorable"
"""Why a step that completed is given back if its result could not be stored."""


class StoredResult(NamedTuple):
    """The encoded result of a completed step."""

    result: str


class Claim:
    """A call of a step. Within its block, no other step of that name begins in this process."""

    def __init__(self, all_steps: Steps, base: StepKey, arguments: str) -> None:
        self._steps = all_steps
        self.base = base
        self.arguments = arguments
        with all_steps.lock:
            all_steps.hold(base)
            failed = all_steps.failed.get(base)
            count = next((each for each, others in failed.items() if others == arguments), 0) if failed else 0
            self.again = count > 0  # it failed before in this attempt: the call is its next attempt
            if failed and self.again:
                del failed[count]
            else:
                count = all_steps.started[base] = all_steps.started.get(base, 0) + 1
        self.name = base.name if count == 1 else f"{base.name}~{count}"  # of this occurrence
        all_steps.used.add(base._replace(name=self.name))
        self.is_raised_again = False  # whether it ends by a failure of an earlier attempt, which its task survived
        self._count = count

    def repeat(self) -> None:
        """Keep the name for the step's next attempt, after one that has failed."""
        self.again, self.is_raised_again = True, False
        with self._steps.lock:
            self._steps.open[self.base] = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        all_steps = self._steps
        with all_steps.lock:
            is_begun = all_steps.open.pop(self.base, None) is not None
            if error is None:
                return
            if self.again or is_begun or self.is_raised_again:
                all_steps.failed.setdefault(self.base, {})[self._count] = self.arguments
            else:
                all_steps.started[self.base] -= 1  # it was refused, so that it did not start
                all_steps.in_doubt = True  # unless the connection was lost, so that nobody knows


class Steps:
    """The steps of one attempt."""

    def __init__(self, attempt: OpenAttempt) -> None:
        self.any_began = False  # whether a step may have begun
        # Whether a step may have begun that nobody here knows: a forked child does not know what the other process has
        # begun, and a replay not what the record has.
        self.in_doubt = not attempt.is_open or REPLAYS in os.environ
        self.shared = False  # whether each is called by a process of its own, as in a script: only the store knows all
        self.used: set[StepKey] = set()  # those that began here, or whose results were returned
        self.started: dict[StepKey, int] = {}  # how often each name was claimed
        # The arguments of those that failed, by name and count: a call with these is that step's next attempt.
        self.failed: dict[StepKey, dict[int, str]] = {}
        self.survived = Survived(attempt)
        self._attempt = attempt
        self._had_steps: bool | None = None  # whether the task had steps before; None if that was not asked yet
        self._highest_number = 0  # of the task's steps
        self._reset()

    def _reset(self) -> None:
        self._pid = os.getpid()
        # Also held while the store is asked for the highest number. A signal handler may push while its thread is here.
        self.lock = threading.RLock()
        self.open: dict[StepKey, Step | None] = {}  # by names that are claimed; None if the step has not begun

    def _reset_if_forked(self) -> None:
        if self._pid != os.getpid():
            self._reset()  # a forked child has none of its parent's other threads
            self.in_doubt = True  # what the other process does is not known here

    def only_open(self) -> Step | None:
        """Return the only open step, or None; raise an error if several are open."""
        self._reset_if_forked()
        with self.lock:
            found = [step for step in self.open.values() if step is not None]
        if len(found) > 1:
            names = ", ".join(step.step for step in found)
            raise ZrbStoreError(
                f"several steps of {self._attempt.full_name} are open ({names}), and this thread belongs to none of "
                "them: start it with asyncio.to_thread, or run its function in contextvars.copy_context()"
            )
        return found[0] if found else None

    def run(
        self,
        name: str,
        function: Callable[..., Any],
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        options: CallOptions = NO_OPTIONS,
    ) -> Any:
        """Return the stored result of an equal step, or run the function as a step, as `Attempt.step` says."""
        check_step_name(name)
        if is_async(function):
            return self._run_async(name, function, args, kwargs, options)
        options.refuse_timeout(f"step {name}")
        with self.claim(name, args, kwargs) as claim:
            tries = self._tries(claim, options)
            while True:
                try:
                    step = self.begun_or_stored(claim, once=options.once)
                    if isinstance(step, StoredResult):
                        return codec.decode(step.result)
                    with step:
                        result = function(*args, **kwargs)
                        refuse_unfinished(result, name)
                        step.complete(result)
                        return result
                except Exception as error:
                    if not tries.may_repeat(error, is_old=claim.is_raised_again):
                        raise
                claim.repeat()
                tries.rest()

    async def _run_async(
        self,
        name: str,
        function: Callable[..., Any],
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        options: CallOptions,
    ) -> Any:
        with self.claim(name, args, kwargs) as claim:
            tries = self._tries(claim, options)
            while True:
                try:
                    step = self.begun_or_stored(claim, once=options.once)
                    if isinstance(step, StoredResult):
                        return codec.decode(step.result)
                    with step:
                        result = await options.in_time(function(*args, **kwargs), f"step {name}")
                        step.complete(result)
                        return result
                except Exception as error:
                    if not tries.may_repeat(error, is_old=claim.is_raised_again):
                        raise
                claim.repeat()
                await tries.rest_async()

    def _tries(self, claim: Claim, options: CallOptions) -> Tries:
        what = f"step {claim.name} of task {self._attempt.task}"
        return Tries(what, options.retries, self._attempt.database)

    def claim(self, name: str, args: Sequence[Any], kwargs: Mapping[str, Any], *, kind: str = "step") -> Claim:
        """Claim the name of a step for a call with these arguments."""
        self._refuse_nesting(name)
        self._reset_if_forked()
        return Claim(self, StepKey(kind, name), stored_arguments(args, kwargs, self._attempt.xcom.max_value))

    def begun_or_stored(
        self,
        claim: Claim,
        *,
        once: bool,
        attributes: str | None = None,
        refuse: Callable[[StepRecord | None], None] | None = None,
    ) -> Step | StoredResult:
        """Return the step, begun, or the result of one that is done.

        Before it begins, `refuse` gets its newest attempt and may raise an error; by default, that it is uncertain.
        """
        name = claim.name
        new = NewStep(name, claim.arguments, once, claim.base.kind, attributes)
        with self._attempt.xcom.watched():
            while True:
                known = self.newest(new.key) if claim.again or self.task_had_steps() else None
                if known is not None:
                    if known.status == "failed" or known.number > 1:
                        error = self.survived.next_error(new.key, claim.arguments)
                        if error is not None:
                            claim.is_raised_again = True
                            raise error
                    if known.is_done:
                        refuse_other_arguments(self._attempt, known, name, claim.arguments)
                        return self.stored_result(known)
                    if refuse is None:
                        refuse_uncertain(self._attempt, known, name)
                if refuse is not None:
                    refuse(known)
                step = self.begin(claim.base, new, known)
                if step is not None:
                    return step

    def _refuse_nesting(self, name: str) -> None:
        current = current_attempt.get()
        if isinstance(current, Step):
            raise ZrbStoreError(f"step {name} cannot begin inside step {current.step}: steps do not nest")
        if current is not None and current is not self._attempt:
            raise ZrbStoreError(f"step {name} of {self._attempt.full_name} cannot begin inside {current.full_name}")

    def hold(self, key: StepKey) -> None:
        """Let no other step of this name begin in this process. The caller has the lock."""
        if key in self.open:
            raise self.running_error(key.name)
        self.open[key] = None

    def running_error(self, name: str) -> ZrbStoreError:
        """Return the error of a step that has not ended when another one of its name would begin."""
        need = "steps that run at the same time need different names"
        return ZrbStoreError(f"step {name} of {self._attempt.full_name} is running: {need}")

    @contextlib.contextmanager
    def holding(self, key: StepKey) -> Iterator[bool]:
        """Let no other step of this exact name begin during a block. Yield whether the attempt came to it before."""
        self._refuse_nesting(key.name)
        self._reset_if_forked()
        with self.lock:
            self.hold(key)
            was_used = key in self.used
            self.used.add(key)
        try:
            yield was_used
        finally:
            with self.lock:
                self.open.pop(key, None)

    def task_had_steps(self) -> bool:
        """Whether the task may have had steps before. If it had none, there is nothing to look for."""
        if self._had_steps is None:
            with self.lock:
                if self._had_steps is None:
                    self._highest_number = self._read_highest_number()
                    self._had_steps = self._highest_number > 0
        return self._had_steps or self.in_doubt

    def newest(self, key: StepKey) -> StepRecord | None:
        """Return the newest attempt of a step, or None."""
        attempt = self._attempt
        known = steps.newest(attempt.database, attempt.id, attempt.task, key)
        if REPLAYS not in os.environ:
            return known
        place = place_of("recorded_step")
        return known if place is None else load(place)(attempt, attempt.task, key, known)

    def end_dead(self, transaction: Transaction, known: StepRecord) -> None:
        """End a step whose process has died, and undo what it did."""
        if attempts.fail(transaction, known.id, "interrupted", None):
            ended = attempts.by_id(transaction, known.id)
            if ended is not None and ended.command_pid != known.command_pid:
                raise self.running_error(known.step)  # another process has just begun its command
            undo_ended(transaction, [known.id], "interrupted")

    def use(self, known: StepRecord) -> bool:
        """Use the result of a step that is done; False if another process has given it back meanwhile: look again."""
        if not self.shared or use(self._attempt.database, self._attempt.id, known.id):
            return True
        self._attempt.refuse_if_closed()
        return False

    def stored_result(self, known: StepRecord) -> StoredResult:
        """Return the result of a step that is done, after what the step has assigned to inputs is assigned again."""
        if known.inputs_assigned is not None:
            self._attempt.assign_inputs(known.inputs_assigned)
        if self._attempt.span is not None:
            self._attempt.span.count("steps_from_store")
        return StoredResult(known.result or "null")

    def is_used(self, known: StepRecord) -> bool:
        """Whether the attempt has begun a step, or has used its result."""
        if self.shared:
            return self._attempt.id in (known.parent_id, known.used_by)
        return known.key in self.used

    def _read_highest_number(self) -> int:
        return steps.highest_number(self._attempt.database, self._attempt.task, parent_id=self._attempt.id)

    def begin(
        self,
        base: StepKey,
        new: NewStep,
        known: StepRecord | None,
        *,
        undo: Callable[[Transaction, BegunAttempt], None] | None = None,
    ) -> Step | None:
        """Begin the next attempt of a step; None if another process, forked inside the attempt, was faster: look again.

        Before its `known` attempt, which completed, is given back by `undo`.
        """
        attempt, name = self._attempt, new.step
        if new.once and "--repeat-once" not in os.environ.get(REPLAYS, "--repeat-once"):
            raise ZrbStoreError(
                f"step {name} of {attempt.full_name} is declared `once`, and a replay runs no such step: "
                "--steps --repeat-once lets it"
            )
        if known is None:
            last = 0
            with self.lock:
                self._highest_number = number = self._highest_number + 1
        else:
            number, last = known.step_number, known.number
        self.any_began = True

        def insert(executor: Executor) -> BegunAttempt | None:
            return steps.begin(executor, attempt.id, attempt.task, number, new, known=last)

        def begin_again(transaction: Transaction) -> BegunAttempt | None:
            begun = insert(transaction)
            if begun is None or known is None:
                return None  # before anything is given back for an attempt that may no longer write
            if known.status == "running":  # its end could not be recorded
                self.end_dead(transaction, known)
            elif undo is not None:
                undo(transaction, begun)
            else:  # its result could not be stored
                give_back(transaction, [(known.id, NOT_RESTORABLE)])
            return begun

        if known is not None and (known.status == "running" or known.in_effect):
            begun = attempt.database.transact(begin_again, "step_begin", is_made=attempts.is_begun)
        else:
            failpoint("step_begin:before")
            begun = insert(attempt.database)
            failpoint("step_begin:after")
        if begun is None:
            self._refuse_unless_overtaken(new.key, number, known)
            return None
        step = Step(attempt, begun.id, f"{attempt.task}/{number}", begun.number, name)
        if attempt.span is not None:
            details = {**step._details, "kind": new.kind, "arguments": new.arguments}
            step.span = attempt.span.begin("step", name, details)
        with self.lock:
            self.open[base] = step
        return step

    def _refuse_unless_overtaken(self, key: StepKey, number: int, known: StepRecord | None) -> None:
        """Raise an error that says why a step did not begin, unless another process has begun one in its place."""
        attempt = self._attempt
        attempt.refuse_if_closed()
        self.in_doubt = True
        if known is not None:
            newest = self.newest(key)
            if newest is None or newest.id != known.id:
                return
        with self.lock:
            highest = self._read_highest_number()
            self._highest_number = max(highest, self._highest_number)
        if known is None and highest >= number:
            return
        if self.shared:
            advice = "let the command start `zrb-store run SESSION -- COMMAND`, which keeps them"
        else:
            advice = "work on the value in `with run.attempt(...)`"
        raise InvalidArgument(
            f"step {key.name} cannot begin in the delivery {attempt.full_name}: a delivery is given back whole, so its "
            f"steps could not be kept; {advice}"
        )


_FINISHED = frozenset({bool, bytes, dict, float, int, list, NoneType, str, tuple})  # most results are of these types


def refuse_unfinished(result: Any, name: str) -> None:
    """Refuse a result whose code has still to run, which would be outside of the step."""
    if type(result) in _FINISHED:
        return
    if inspect.isawaitable(result):
        for end in ("close", "cancel"):  # of a coroutine; of an asyncio task
            getattr(result, end, lambda: None)()
        raise InvalidArgument(f"the function of step {name} returned an awaitable: give the coroutine function itself")
    if inspect.isgenerator(result) or inspect.isasyncgen(result):
        raise InvalidArgument(
            f"the function of step {name} returned a generator, whose code would run outside of the step: "
            "return a list instead"
        )


def refuse_other_arguments(attempt: OpenAttempt, known: StepRecord, name: str, arguments: str) -> None:
    """Raise `InputsDiffer` if a step that is done had other arguments."""
    if known.arguments is None:  # a person marked it before it ever began
        return
    from zrb_store.codec.compare import describe_changes

    difference = describe_changes(mask_encoded(known.arguments), arguments)
    if difference:
        raise InputsDiffer(mask_text(f"{_describe(attempt, known, name)} completed with other arguments: {difference}"))


def refuse_uncertain(attempt: OpenAttempt, known: StepRecord, name: str) -> None:
    """Raise `StepUncertain` if a step was declared `once`, began before, and is not known to have failed."""
    if not known.once or known.status == "failed":
        return
    what = f"began at {iso(known.started_at)}, and its end is unknown"
    if known.in_effect:
        what = "completed, but its result could not be stored"
    elif known.status == "completed":
        what = "completed, and was given back"
    arguments = "unknown" if known.arguments is None else call_text(known.arguments)
    # A command names a step by its name, or by its id if messages show the name differently.
    reference = name if printable(mask_text(name)) == name else f"{attempt.task}/{known.step_number}"
    words = shlex.join([attempt.session, attempt.task, "--step", reference])
    raise StepUncertain(
        mask_text(
            f"{_describe(attempt, known, name)} {what}; its arguments were {arguments}. It is declared `once`: find "
            f"out whether it happened, then run `zrb-store mark {words} completed --result JSON`, or the same with "
            "`failed` and no result to let it run again"
        )
    )


def _describe(attempt: OpenAttempt, known: StepRecord, name: str) -> str:
    step_id = f"{attempt.session}/{attempt.task}/{known.step_number}#{known.number}"
    return f"step {name} of task {attempt.task} ({step_id})"
