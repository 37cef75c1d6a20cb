"""The steps of one attempt."""

from __future__ import annotations

import contextlib
import inspect
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
from zrb_store.safe_text import mask_text
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
        return inspect.iscoroutinefunction(self.function) or inspect.iscoroutinefunction(
            getattr(self.function, "__call__", None)  # noqa: B004 - an object with a method `async def __call__`
        )


class Steps:
    """The steps of one attempt: those that are open in this process, and how often each name was started."""

    def __init__(self, attempt: AttemptUnderWay) -> None:
        self._attempt = attempt
        self._lock = threading.Lock()
        self._open: dict[str, Step | None] = {}
        self._started: dict[str, int] = {}
        # The arguments of a step that failed, by its name: the next call with these is its next attempt.
        self._failed: dict[str, str] = {}
        self._next_number: int | None = None
        self._any_began = False

    @property
    def any_began(self) -> bool:
        """Whether a step may have begun."""
        return self._any_began

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
            if isinstance(step, _Done):
                return codec.decode(step.result)
            result = call.function(*call.args, **call.kwargs)
            if inspect.isawaitable(result):
                _discard(result)
                raise InvalidArgument(
                    f"the function of step {call.name} returned an awaitable: give the coroutine function itself"
                )
            step.complete(result)
            return result

    async def _run_async(self, call: StepCall) -> Any:
        with self._execution(call) as step:
            if isinstance(step, _Done):
                return codec.decode(step.result)
            result = await call.function(*call.args, **call.kwargs)
            step.complete(result)
            return result

    @contextlib.contextmanager
    def _execution(self, call: StepCall) -> Iterator[Step | _Done]:
        """Yield the step, begun, or the result of one that is done. If the block raises, the step fails."""
        self._refuse_nesting(call.name)
        arguments = stored_arguments(call.args, call.kwargs, self._attempt.xcom.max_value)
        with self._claim(call.name, arguments) as name:
            with self._attempt.xcom.watched():
                known = steps.newest(self._attempt.database, self._attempt.id, self._attempt.task, name)
            if known is not None and known.is_done:
                self._refuse_other_arguments(known, name, arguments)
                yield _Done(known.result or "null")
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
    def _claim(self, name: str, arguments: str) -> Iterator[str]:
        """Claim a name, so that two of one name do not run at once, and yield the name of this occurrence."""
        with self._lock:
            if name in self._open:
                raise ZrbStoreError(
                    f"step {name} of {self._attempt.full_name} is under way: "
                    "steps that run at the same time need names of their own"
                )
            if self._failed.pop(name, None) != arguments:
                self._started[name] = self._started.get(name, 0) + 1
            count = self._started[name]
            self._open[name] = None
        try:
            yield name if count == 1 else f"{name}~{count}"
        except BaseException:
            self._failed[name] = arguments
            raise
        finally:
            with self._lock:
                del self._open[name]

    def _refuse_other_arguments(self, known: StepRecord, name: str, arguments: str) -> None:
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
        session, task = self._attempt.session, self._attempt.task
        raise StepUncertain(
            mask_text(
                f"{self._describe(known, name)} {what}; its arguments were {call_text(known.arguments)}. It is "
                "declared `once`: find out whether it happened, then run "
                f"`zrb-store mark {session} {task} --step '{name}' completed --result JSON`, or `failed` to let it run "
                "again"
            )
        )

    def _describe(self, known: StepRecord, name: str) -> str:
        attempt = self._attempt
        return (
            f"step {name} of task {attempt.task} ({attempt.session}/{attempt.task}/{known.step_number}#{known.number})"
        )

    def _begin(self, base: str, name: str, arguments: str, known: StepRecord | None, *, once: bool) -> Step:
        attempt = self._attempt
        self._any_began = True
        number = known.step_number if known is not None else self._new_number()

        def begin(executor: Any) -> BegunAttempt | None:
            return steps.begin(executor, attempt.id, attempt.task, name, number, arguments, once=once)

        def begin_again(transaction: Transaction) -> BegunAttempt | None:
            if known is not None and known.status == "running":  # its end could not be recorded
                if attempts.fail(transaction, known.id, "interrupted", None):
                    undo_ended(transaction, [known.id], "interrupted")
            elif known is not None:  # its result could not be stored
                give_back(transaction, [(known.id, "not-restorable")])
            return begin(transaction)

        if known is not None and (known.status == "running" or known.stands):
            begun = attempt.database.transact(begin_again, "step_begin")
        else:
            failpoint("step_begin:before")
            begun = begin(attempt.database)
            failpoint("step_begin:after")
        if begun is None:
            self._refuse_begin(name)
        step = Step(attempt, begun.id, f"{attempt.task}/{number}", begun.number, name)
        with self._lock:
            self._open[base] = step
        return step

    def _new_number(self) -> int:
        with self._lock:
            if self._next_number is None:
                highest = steps.highest_number(self._attempt.database, self._attempt.id, self._attempt.task)
                self._next_number = highest + 1
            number = self._next_number
            self._next_number += 1
            return number

    def _refuse_begin(self, name: str) -> NoReturn:
        attempt = self._attempt
        attempt.refuse_if_closed()
        raise InvalidArgument(
            f"step {name} cannot begin in the delivery {attempt.full_name}: a delivery is given back whole, so no step "
            "of it could stand; work on the value in `with run.attempt(...)`"
        )


class _Done(NamedTuple):
    """The encoded result of a step that is done."""

    result: str


def _discard(awaitable: Any) -> None:
    close = getattr(awaitable, "close", None)
    if close is not None:
        close()
