"""The steps of one attempt."""

from __future__ import annotations

import contextlib
import functools
import inspect
import os
import shlex
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, NoReturn

from zrb_store import codec
from zrb_store.attempt.step_under_way import Step
from zrb_store.attempt.under_way import AttemptUnderWay
from zrb_store.codec.inputs import call_text, describe_changes, mask_encoded, stored_arguments
from zrb_store.db.failpoints import failpoint
from zrb_store.db.transaction import Transaction
from zrb_store.errors import InputsDiffer, InvalidArgument, StepUncertain, ZrbStoreError
from zrb_store.names import check_step_name
from zrb_store.queries import attempts, steps
from zrb_store.queries.attempts import BegunAttempt
from zrb_store.queries.give_back import give_back, undo_ended
from zrb_store.queries.steps import StepRecord
from zrb_store.records import iso
from zrb_store.safe_text import mask_text, printable
from zrb_store.xcom import current_attempt


class StepCall(NamedTuple):
    """A call of `step`.

    Attributes:
        name: Name of the step.
        function: What it runs.
        args: The positional arguments.
        kwargs: The named arguments.
        once: Whether the step must not be repeated if its end is unknown.
    """

    name: str
    function: Callable[..., Any]
    args: Sequence[Any]
    kwargs: Mapping[str, Any]
    once: bool

    @property
    def is_async(self) -> bool:
        """Whether the function is a coroutine function."""
        function = self.function
        while isinstance(function, functools.partial):
            function = function.func
        call = getattr(type(function), "__call__", None)  # noqa: B004 - it may be a coroutine function
        return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(call)


class Done(NamedTuple):
    """A step that is done.

    Attributes:
        result: Its encoded result.
    """

    result: str


class Steps:
    """The steps of one attempt: those that are open in this process, and how often each name was started.

    Attributes:
        any_began: Whether a step may have begun.
    """

    def __init__(self, attempt: AttemptUnderWay) -> None:
        self.any_began = False
        self._attempt = attempt
        self._reset()
        self._started: dict[str, int] = {}
        # The arguments of those that failed, by name and count: a call with these is the next attempt of that step.
        self._failed: dict[str, dict[int, str]] = {}
        self._had_steps: bool | None = None  # whether the task had steps before; None until the first step asks
        self._in_doubt = False  # whether a step may have begun that nobody knows
        self._highest_number = 0

    def _reset(self) -> None:
        """Begin as in a new process: a forked child has none of its parent's other threads."""
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._open: dict[str, Step | None] = {}

    def _reset_if_forked(self) -> None:
        if self._pid != os.getpid():
            self._reset()
            self._in_doubt = True  # what the other process does is not known here

    def owner_of_change(self) -> AttemptUnderWay:
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

    def run(self, call: StepCall) -> Any:
        """Return the stored result of an equal step, or run the function as a step.

        Returns:
            What the function returned, now or then; for a coroutine function, an awaitable of it.
        """
        check_step_name(call.name)
        if call.is_async:
            return self._run_async(call)
        with self._execution(call) as step:
            if isinstance(step, Done):
                return codec.decode(step.result)
            result = call.function(*call.args, **call.kwargs)
            _refuse_unfinished(result, call.name)
            step.complete(result)
            return result

    async def _run_async(self, call: StepCall) -> Any:
        with self._execution(call) as step:
            if isinstance(step, Done):
                return codec.decode(step.result)
            result = await call.function(*call.args, **call.kwargs)
            step.complete(result)
            return result

    @contextlib.contextmanager
    def _execution(self, call: StepCall) -> Iterator[Step | Done]:
        """Yield the step, begun, or the result of one that is done. If the block raises, the step fails."""
        self._refuse_nesting(call.name)
        arguments = stored_arguments(call.args, call.kwargs, self._attempt.xcom.max_value)
        with self._claim(call.name, arguments) as (name, again):
            with self._attempt.xcom.watched():
                known = self._newest(name) if again or self._task_had_steps() else None
            if known is not None and known.is_done:
                self._refuse_other_arguments(known, name, arguments)
                yield Done(known.result or "null")
                return
            if known is not None:
                self._refuse_uncertain(known, name)
            with self._attempt.xcom.watched():
                step = self._begin(call.name, name, arguments, known, once=call.once)
            with step:
                yield step

    def _refuse_nesting(self, name: str) -> None:
        current = current_attempt.get()
        if isinstance(current, Step):
            raise ZrbStoreError(f"step {name} cannot begin inside step {current.step}: steps do not nest")
        if current is not None and current is not self._attempt:
            raise ZrbStoreError(f"step {name} of {self._attempt.full_name} cannot begin inside {current.full_name}")

    @contextlib.contextmanager
    def _claim(self, name: str, arguments: str) -> Iterator[tuple[str, bool]]:
        """Claim a name, so that two of one name do not run at once.

        Yields:
            The name of this occurrence, and whether it is one that failed in this attempt.
        """
        self._reset_if_forked()
        with self._lock:
            self._refuse_open(name)
            count, again = self._count(name, arguments)
            self._open[name] = None
        try:
            yield name if count == 1 else f"{name}~{count}", again
        except BaseException:
            with self._lock:
                if again or self._open.get(name) is not None:
                    self._failed[name][count] = arguments
                else:
                    self._started[name] -= 1  # it was refused, so that it did not start
                    self._in_doubt = True  # unless the connection was lost, so that nobody knows
            raise
        finally:
            with self._lock:
                self._open.pop(name, None)

    def _refuse_open(self, name: str) -> None:
        if name in self._open:
            raise ZrbStoreError(
                f"step {name} of {self._attempt.full_name} is under way: "
                "steps that run at the same time need names of their own"
            )

    def _count(self, name: str, arguments: str) -> tuple[int, bool]:
        """Return which step of a name a call starts: the first, the second, and so on; and whether it failed before."""
        failed = self._failed.setdefault(name, {})
        for count, others in failed.items():
            if others == arguments:
                del failed[count]
                return count, True
        self._started[name] = self._started.get(name, 0) + 1
        return self._started[name], False

    def _task_had_steps(self) -> bool:
        """Whether the task may have had steps before. If it had none, there is nothing to look for."""
        with self._lock:
            if self._had_steps is None:
                self._highest_number = self._read_highest_number()
                self._had_steps = self._highest_number > 0
            return self._had_steps or self._in_doubt

    def _newest(self, name: str) -> StepRecord | None:
        return steps.newest(self._attempt.database, self._attempt.id, self._attempt.task, name)

    def _refuse_other_arguments(self, known: StepRecord, name: str, arguments: str) -> None:
        if known.arguments is None:  # a person marked it before it ever began
            return
        difference = describe_changes(mask_encoded(known.arguments), arguments)
        if difference:
            raise InputsDiffer(mask_text(f"{self._describe(known, name)} completed with other arguments: {difference}"))

    def _refuse_uncertain(self, known: StepRecord, name: str) -> None:
        if not known.once or known.status == "failed":
            return
        what = f"began at {iso(known.started_at)}, and its end is unknown"
        if known.stands:
            what = "completed, but its result could not be stored"
        elif known.status == "completed":
            what = "completed, and was given back"
        arguments = "unknown" if known.arguments is None else call_text(known.arguments)
        words = [self._attempt.session, self._attempt.task, "--step", self._reference(known, name)]
        raise StepUncertain(
            mask_text(
                f"{self._describe(known, name)} {what}; its arguments were {arguments}. It is declared `once`: find "
                f"out whether it happened, then run `zrb-store mark {shlex.join(words)} completed --result JSON`, or "
                "the same with `failed` and no result to let it run again"
            )
        )

    def _reference(self, known: StepRecord, name: str) -> str:
        """Return how a command names a step: by its name, or by its id if messages show the name differently."""
        return name if printable(mask_text(name)) == name else f"{self._attempt.task}/{known.step_number}"

    def _describe(self, known: StepRecord, name: str) -> str:
        attempt = self._attempt
        return (
            f"step {name} of task {attempt.task} ({attempt.session}/{attempt.task}/{known.step_number}#{known.number})"
        )

    def _begin(
        self,
        base: str,
        name: str,
        arguments: str,
        known: StepRecord | None,
        *,
        once: bool,
        undo: Callable[[Transaction, BegunAttempt], None] | None = None,
    ) -> Step:
        """Begin the next attempt of a step.

        Args:
            base: The name that it is open under.
            name: Its name.
            arguments: Its encoded arguments.
            known: Its attempt before.
            once: Whether it must not be repeated if its end is unknown.
            undo: Called in the same transaction if the attempt before stands; by default that one is given back.
        """
        attempt = self._attempt
        number = known.step_number if known is not None else self._new_number()
        self.any_began = True

        def begin(executor: Any) -> BegunAttempt | None:
            return steps.begin(executor, attempt.id, attempt.task, name, number, arguments, once=once)

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
                give_back(transaction, [(known.id, "not-restorable")])
            return begun

        if known is not None and (known.status == "running" or known.stands):
            begun = attempt.database.transact(begin_again, "step_begin")
        else:
            failpoint("step_begin:before")
            begun = begin(attempt.database)
            failpoint("step_begin:after")
        if begun is None:
            if known is None and self._is_taken(number):
                return self._begin(base, name, arguments, None, once=once)
            self._refuse_begin(name)
        step = Step(attempt, begun.id, f"{attempt.task}/{number}", begun.number, name)
        with self._lock:
            self._open[base] = step
        return step

    def _new_number(self) -> int:
        with self._lock:
            self._highest_number += 1
            return self._highest_number

    def _is_taken(self, number: int) -> bool:
        """Whether another process, forked amid the attempt, has given this number to a step; then the next is free."""
        with self._lock:
            highest = self._read_highest_number()
            self._highest_number = max(highest, self._highest_number)
            return highest >= number

    def _read_highest_number(self) -> int:
        return steps.highest_number(self._attempt.database, self._attempt.id, self._attempt.task)

    def _refuse_begin(self, name: str) -> NoReturn:
        attempt = self._attempt
        attempt.refuse_if_closed()
        raise InvalidArgument(
            f"step {name} cannot begin in the delivery {attempt.full_name}: a delivery is given back whole, so no step "
            "of it could stand; work on the value in `with run.attempt(...)`"
        )


def _refuse_unfinished(result: Any, name: str) -> None:
    """Refuse a result whose code has still to run, which would be outside of the step."""
    if inspect.isawaitable(result):
        for end in ("close", "cancel"):  # of a coroutine; of an asyncio task
            getattr(result, end, lambda: None)()
        raise InvalidArgument(f"the function of step {name} returned an awaitable: give the coroutine function itself")
    if inspect.isgenerator(result) or inspect.isasyncgen(result):
        raise InvalidArgument(
            f"the function of step {name} returned a generator, whose code would run outside of the step: "
            "return a list instead"
        )
