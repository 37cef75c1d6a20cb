"""A step: an attempt inside an attempt. It completes with its result, which stays in its row.

Below it are the reasons why a step that began before is not simply run, or its result returned.
"""

from __future__ import annotations

import functools
import inspect
import shlex
from collections.abc import Callable
from pathlib import Path
from types import FunctionType, NoneType, TracebackType
from typing import Any, NamedTuple

from zrb_store import codec
from zrb_store.attempt.open_attempt import NO_RESULT, OpenAttempt
from zrb_store.codec import Encoded
from zrb_store.codec.compare import call_text, describe_changes, mask_encoded
from zrb_store.db.transaction import failpoint
from zrb_store.errors import (
    InputsDiffer,
    InvalidArgument,
    StepUncertain,
    UnencodableValue,
    ValueTooLarge,
    what_makes_storable,
)
from zrb_store.masking import ErrorText, mask_text, printable
from zrb_store.queries import steps
from zrb_store.queries.steps import StepRecord
from zrb_store.records import iso

_OUR_CODE = str(Path(__file__).parent)


class Step(OpenAttempt):
    """An open step.

    Attributes:
        parent: The attempt that it runs in.
        step: Its name, such as `page~2`.
    """

    def __init__(self, parent: OpenAttempt, step_id: int, task: str, number: int, step: str) -> None:
        super().__init__(parent.xcom, step_id, task, number, parent.fence)
        self.parent = parent
        self.step = step

    def complete(self, result: Any = NO_RESULT) -> Encoded:
        """Complete the step and store its result, in one transaction.

        A result that cannot be stored is kept as its type and repr; the step runs again in its task's next attempt.

        Args:
            result: By default None; an `Encoded` one as it is.

        Returns:
            The result as it was stored.

        Raises:
            AttemptClosed: The step, or the attempt around it, has ended before, or another process began the step.
            LeaseLost: Another process has taken the session over.
        """
        self._refuse_other_process()
        item = self._encode(None if result is NO_RESULT else result)
        stands = False
        failpoint("step_complete:before")
        try:
            with self._xcoms.watched():
                restorable = item.restorable and self.restorable
                stands = steps.complete(self.database, self.id, item.data, restorable=restorable)
                if not stands:
                    self._refuse(self.database)
        finally:
            self._xcoms.step_ended(self, self.parent, stands=stands)
        failpoint("step_complete:after")
        self._open = False
        if not self.restorable:
            self.parent.restorable = False  # its value is in a queue, whichever of the two pushed it
        return item

    def _encode(self, result: Any) -> Encoded:
        limit = self._xcoms.max_value
        if isinstance(result, Encoded):
            return result
        try:
            return codec.encode(result, limit=limit)
        except (UnencodableValue, ValueTooLarge) as error:
            # The advice in parentheses is for code that pushes to a store by itself.
            self._xcoms.warn(
                f"step {self.step} of task {self.parent.task}: {str(error).partition(' (')[0]}; its result is handed "
                "on, but the step runs again in the task's next attempt "
                f"({what_makes_storable(error)} makes it storable)"
            )
        return codec.encode(result, lenient=True, limit=limit)._replace(restorable=False)

    def fail(
        self,
        error: BaseException | ErrorText | None = None,
        status: str = "failed",
        *,
        first_frame: TracebackType | None = None,
    ) -> None:
        """End the step without completing it, and give it back, in one transaction; as `Attempt.fail`."""
        if isinstance(error, BaseException):
            first_frame = first_frame or _below_our_code(error.__traceback__)
        try:
            with self._xcoms.watched():
                super().fail(error, status, first_frame=first_frame)
        finally:
            self._xcoms.step_ended(self, self.parent, stands=False)


def _below_our_code(frame: TracebackType | None) -> TracebackType | None:
    """Return the first frame of the step's own function; None if the traceback has none."""
    while frame is not None and frame.tb_frame.f_code.co_filename.startswith(_OUR_CODE):
        frame = frame.tb_next
    return frame


_FINISHED = frozenset({bool, bytes, dict, float, int, list, NoneType, str, tuple})  # most results are of these types


def is_async(function: Callable[..., Any]) -> bool:
    """Whether this is a coroutine function."""
    if type(function) is FunctionType and not vars(function):  # nothing marks it as something else
        return bool(function.__code__.co_flags & inspect.CO_COROUTINE)
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
    """Raise an error if a step that is done had other arguments.

    Raises:
        InputsDiffer: It had.
    """
    if known.arguments is None:  # a person marked it before it ever began
        return
    difference = describe_changes(mask_encoded(known.arguments), arguments)
    if difference:
        raise InputsDiffer(mask_text(f"{_describe(attempt, known, name)} completed with other arguments: {difference}"))


def refuse_uncertain(attempt: OpenAttempt, known: StepRecord, name: str) -> None:
    """Raise an error if a step was declared `once`, began before, and is not known to have failed.

    Raises:
        StepUncertain: That is so.
    """
    if not known.once or known.status == "failed":
        return
    what = f"began at {iso(known.started_at)}, and its end is unknown"
    if known.stands:
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
