"""An attempt of a task (`Attempt`), and its steps: each runs once, or its stored result is returned.

`Steps` are those of one attempt, and `Claim` is one call of a step, which keeps its name meanwhile.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

from zrb_store import codec, settings
from zrb_store.attempt.open_attempt import (
    NO_RESULT,
    Done,
    OpenAttempt,
    Step,
    is_async,
    refuse_other_arguments,
    refuse_uncertain,
    refuse_unfinished,
)
from zrb_store.codec import Encoded
from zrb_store.codec.compare import stored_arguments
from zrb_store.db.transaction import Executor, Transaction, failpoint
from zrb_store.errors import InvalidArgument, ZrbStoreError
from zrb_store.names import check_step_name
from zrb_store.queries import attempts, steps, values
from zrb_store.queries.attempts import BegunAttempt, Owner
from zrb_store.queries.give_back import give_back, undo_ended
from zrb_store.queries.steps import StepRecord
from zrb_store.xcom import Xcoms, current_attempt

if TYPE_CHECKING:
    from zrb_store.runtime.output import Output

T = TypeVar("T")

NOT_RESTORABLE: Final = "not-restorable"
"""Why a step that completed is given back if its result could not be stored."""


class Claim:
    """A call of a step. Within its block, no other step of that name begins in this process.

    Attributes:
        base: The name that was given.
        name: The name of this occurrence of it: the second one is `base~2`.
        again: Whether this occurrence failed before in this attempt: then the call is its next attempt.
    """

    def __init__(self, all_steps: Steps, base: str, arguments: str) -> None:
        self._steps = all_steps
        self.base = base
        self.arguments = arguments
        with all_steps.lock:
            all_steps.hold(base)
            failed = all_steps.failed.get(base)
            count = next((each for each, others in failed.items() if others == arguments), 0) if failed else 0
            self.again = count > 0
            if failed and self.again:
                del failed[count]
            else:
                count = all_steps.started[base] = all_steps.started.get(base, 0) + 1
        self.name = base if count == 1 else f"{base}~{count}"
        self._count = count

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        all_steps = self._steps
        with all_steps.lock:
            is_begun = all_steps.open.pop(self.base, None) is not None
            if error is None:
                return
            if self.again or is_begun:
                all_steps.failed.setdefault(self.base, {})[self._count] = self.arguments
            else:
                all_steps.started[self.base] -= 1  # it was refused, so that it did not start
                all_steps.in_doubt = True  # unless the connection was lost, so that nobody knows


class Steps:
    """The steps of one attempt.

    Attributes:
        any_began: Whether a step may have begun.
        in_doubt: Whether a step may have begun that nobody here knows.
        started: How often each name was claimed.
        failed: The arguments of those that failed, by name and count: a call with these is that step's next attempt.
        open: The open steps, by names that are claimed; None if the step has not begun.
        lock: The lock of all that. It is also held while the store is asked for the highest number.
    """

    def __init__(self, attempt: OpenAttempt) -> None:
        self.any_began = False
        self.in_doubt = False
        self.started: dict[str, int] = {}
        self.failed: dict[str, dict[int, str]] = {}
        self._attempt = attempt
        self._had_steps: bool | None = None  # whether the task had steps before; None if that was not asked yet
        self._highest_number = 0  # of the task's steps
        self._reset()

    def _reset(self) -> None:
        self._pid = os.getpid()
        self.lock = threading.RLock()  # a signal handler may push while its thread is here
        self.open: dict[str, Step | None] = {}

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
        self._reset_if_forked()
        return Claim(self, name, stored_arguments(args, kwargs, self._attempt.xcom.max_value))

    def begun_or_done(self, claim: Claim, *, once: bool) -> Step | Done:
        """Return the step, begun, or the result of one that is done."""
        name = claim.name
        with self._attempt.xcom.watched():
            while True:
                known = self.newest(name) if claim.again or self.task_had_steps() else None
                if known is not None:
                    if known.is_done:
                        refuse_other_arguments(self._attempt, known, name, claim.arguments)
                        return Done(known.result or "null")
                    refuse_uncertain(self._attempt, known, name)
                step = self.begin(claim.base, name, claim.arguments, known, once=once)
                if step is not None:
                    return step

    def _refuse_nesting(self, name: str) -> None:
        current = current_attempt.get()
        if isinstance(current, Step):
            raise ZrbStoreError(f"step {name} cannot begin inside step {current.step}: steps do not nest")
        if current is not None and current is not self._attempt:
            raise ZrbStoreError(f"step {name} of {self._attempt.full_name} cannot begin inside {current.full_name}")

    def hold(self, name: str) -> None:
        """Let no other step of this name begin in this process. The caller has the lock."""
        if name in self.open:
            raise ZrbStoreError(
                f"step {name} of {self._attempt.full_name} is under way: "
                "steps that run at the same time need names of their own"
            )
        self.open[name] = None

    @contextlib.contextmanager
    def holding(self, name: str) -> Iterator[None]:
        """Let no other step of this exact name begin during a block."""
        self._refuse_nesting(name)
        self._reset_if_forked()
        with self.lock:
            self.hold(name)
        try:
            yield
        finally:
            with self.lock:
                self.open.pop(name, None)

    def task_had_steps(self) -> bool:
        """Whether the task may have had steps before. If it had none, there is nothing to look for."""
        if self._had_steps is None:
            with self.lock:
                if self._had_steps is None:
                    self._highest_number = self._read_highest_number()
                    self._had_steps = self._highest_number > 0
        return self._had_steps or self.in_doubt

    def newest(self, name: str) -> StepRecord | None:
        """Return the newest attempt of the step of this name, or None."""
        return steps.newest(self._attempt.database, self._attempt.id, self._attempt.task, name)

    def _read_highest_number(self) -> int:
        return steps.highest_number(self._attempt.database, self._attempt.task, parent_id=self._attempt.id)

    def begin(
        self,
        base: str,
        name: str,
        arguments: str,
        known: StepRecord | None,
        *,
        once: bool,
        undo: Callable[[Transaction, BegunAttempt], None] | None = None,
    ) -> Step | None:
        """Begin the next attempt of a step; None if another process, forked inside the attempt, was faster: look again.

        Before its `known` attempt, which completed, is given back by `undo`.
        """
        attempt = self._attempt
        if known is None:
            last = 0
            with self.lock:
                self._highest_number = number = self._highest_number + 1
        else:
            number, last = known.step_number, known.number
        self.any_began = True

        def insert(executor: Executor) -> BegunAttempt | None:
            return steps.begin(executor, attempt.id, attempt.task, name, number, arguments, once=once, known=last)

        def begin_again(transaction: Transaction) -> BegunAttempt | None:
            begun = insert(transaction)
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

        if known is not None and (known.status == "running" or known.in_effect):
            begun = attempt.database.transact(begin_again, "step_begin", is_made=attempts.is_begun)
        else:
            failpoint("step_begin:before")
            begun = insert(attempt.database)
            failpoint("step_begin:after")
        if begun is None:
            self._refuse_unless_overtaken(name, number, known)
            return None
        step = Step(attempt, begun.id, f"{attempt.task}/{number}", begun.number, name)
        with self.lock:
            self.open[base] = step
        return step

    def _refuse_unless_overtaken(self, name: str, number: int, known: StepRecord | None) -> None:
        """Raise an error that says why a step did not begin, unless another process has begun one in its place."""
        attempt = self._attempt
        attempt.refuse_if_closed()
        self.in_doubt = True
        if known is not None:
            newest = self.newest(name)
            if newest is None or newest.id != known.id:
                return
        with self.lock:
            highest = self._read_highest_number()
            self._highest_number = max(highest, self._highest_number)
        if known is None and highest >= number:
            return
        raise InvalidArgument(
            f"step {name} cannot begin in the delivery {attempt.full_name}: a delivery is given back whole, so no step "
            "of it could stand; work on the value in `with run.attempt(...)`"
        )


class Attempt(OpenAttempt):
    """An open attempt of a task.

    As a context manager, it completes when the block ends, and fails if the block raises. Whatever it writes raises
    `AttemptClosed` if it has ended, and `LeaseLost` if another process has taken the session over.

    Attributes:
        session: Name of the session.
        task: Name of the task.
        number: 1 for the first attempt of the task in its session.
        xcom: The session's queues; every operation on them belongs to this attempt, in any thread, or to the step of it
            that the code runs in.
        token: Names the attempt to a child process, in `ZRB_STORE_ATTEMPT`: SESSION/TASK#NUMBER@FENCE.
        result_seq: Seq of its result in the result's queue; None if there is none yet.
        steps: Its steps.
    """

    def __init__(
        self, xcoms: Xcoms, attempt_id: int, task: str, number: int, fence: int, *, has_begun_before: bool = False
    ) -> None:
        super().__init__(xcoms, attempt_id, task, number, fence)
        self.xcom = xcoms.bound_to(self)  # now, since several threads may read it first
        self._has_begun_before = has_begun_before  # so that it may have output: readiness checks have one attempt
        self.result_seq: int | None = None
        self.steps = Steps(self)

    @property
    def output(self) -> Output | None:
        """What it prints and logs; None if that is not kept, if it has ended without any, and in a forked child."""
        if self._output is None and self.is_open and (limit := settings.output()):
            try:
                from zrb_store.queries.output import NO_OUTPUT  # late: most attempts print nothing
                from zrb_store.runtime.output import Output
            except (ImportError, OSError):  # this process may open no more files
                return None
            end = None if self._has_begun_before else NO_OUTPUT
            made = Output(self.database, self.id, self.full_name, limit, end)
            # Another thread, or a signal handler in the middle of this, may have made one as well. One remains.
            return vars(self).setdefault("_output", made)  # type: ignore[no-any-return]
        return self._output

    def log(self, text: str, stream: str = "log") -> None:
        """Add a line to the attempt's output, which is kept with it: `zrb-store log SESSION` shows it.

        The last 64 KiB of an attempt's output are kept (`ZRB_STORE_OUTPUT`). Lines are stored within a second, secrets
        are masked, and nothing is raised: what the store does not take now is stored with what comes later. Steps have
        no output of their own. A line that comes after the end of the attempt is ignored.

        Args:
            text: The text, which may have several lines.
            stream: What the lines are called, such as `log` or `warning`.
        """
        output = self.output
        if output is not None:
            output.add(str(stream), f"{text}\n")

    def step(self, name: str, function: Callable[..., T], /, *args: Any, once: bool = False, **kwargs: Any) -> T:
        """Run a function once per task: return its stored result if this step completed before, else run it as a step.

        A step is an attempt inside this attempt. It completes with its result and with what it did to queues, and then
        stands although this attempt may fail: the task's next attempt gets its result and does not run it. A step that
        fails is given back, and the exception goes on; its next run is its second attempt.

        Args:
            name: Name of the step. The second step of a name in one attempt is `name~2`, and so on. Steps that run at
                the same time need names of their own.
            function: Called with the arguments. If it is a coroutine function, the call returns an awaitable.
            *args: Stored with the passwords of URLs masked, and compared with those of later calls. An argument that
                cannot be encoded is not compared.
            once: Do not run the step again by itself if it began before and its end is unknown.
            **kwargs: Likewise.

        Returns:
            What the function returned, now or then. A result that cannot be stored is returned with a warning, and the
            step runs again in the task's next attempt.

        Raises:
            InvalidArgument: No step can have this name, this is a delivery, or the function returned an awaitable or a
                generator.
            InputsDiffer: The step completed with other arguments, in type or value: 1, 1.0 and True differ.
            StepUncertain: A step declared `once` began before, and its end is unknown.
            ZrbStoreError: The caller is inside a step (steps do not nest), or a step of this name is under way.
        """
        return self.steps.run(name, function, args, kwargs, once=once)  # type: ignore[no-any-return]

    def owner_of_change(self) -> Owner:
        """Return the owner of a change that is made now: the step that the code runs in, or the attempt itself.

        A thread without a context belongs to the only open step; if several are open, it is an error.
        """
        current = current_attempt.get()
        if current is self:
            return self
        if isinstance(current, Step) and current.parent is self:
            return current
        return self.steps.only_open() or self

    def complete(self, result: Any = NO_RESULT, *, queue: str | None = None, lenient: bool = False) -> Encoded | None:
        """Complete the attempt and push its result, in one transaction. Its steps that still run are given back.

        Args:
            result: Pushed to the queue, an `Encoded` one as it is. Without a result nothing is pushed.
            queue: Name of the queue, by default the task's name.
            lenient: Keep a value that cannot be encoded as its type and repr, instead of raising an error.

        Returns:
            The result as it was stored, or None without one.

        Raises:
            UnencodableValue: No codec takes a part of the result; the attempt still runs.
            ValueTooLarge: The result is larger than the limit; the attempt still runs.
        """
        self._refuse_other_process()
        item: Encoded | None = None
        if result is not NO_RESULT:
            is_encoded = isinstance(result, Encoded)
            item = result if is_encoded else codec.encode(result, lenient=lenient, limit=self.xcom.max_value)
        name = queue or self.task

        def work(transaction: Transaction) -> tuple[int, int] | None:
            # Attempts are locked before queues (ADR 0010): a child's push to that queue waits for the attempt.
            if not attempts.lock(transaction, self.id):
                self._refuse(transaction)
            closed = self._close_steps(transaction)
            place = at = None
            if item is not None:
                queue_id = self.xcom.create_queue(transaction, name)
                pushed = values.push(transaction, queue_id, item, self.id)
                if pushed is None:
                    self._refuse(transaction)
                place, at = (queue_id, pushed.seq), pushed.at
            restorable = self.restorable and (item is None or item.restorable)
            if not attempts.complete(transaction, self.id, at, restorable=restorable, result=place):
                self._refuse(transaction)
            if output is not None:
                output.write_rest(transaction)
            undo_ended(transaction, closed, "interrupted")
            return place

        with self._last_output() as output:
            place = self.database.transact(
                work, "complete", is_made=lambda transaction, _: attempts.status_of(transaction, self.id) == "completed"
            )
        self._open = False
        if place is not None:
            self.xcom.remember_id(name, place[0])
            self.result_seq = place[1]
        return item

    def _close_steps(self, transaction: Transaction) -> Sequence[int]:
        return steps.close_running(transaction, self.id) if self.steps.any_began else ()


def _attempt_around(attempt: Owner | None) -> Attempt | None:
    if isinstance(attempt, Step):
        attempt = attempt.parent
    return attempt if isinstance(attempt, Attempt) else None


def surrounding_attempt(step: str) -> Attempt:
    """Return the attempt in which this step is to begin: the one that the code runs in, also in a step of it."""
    attempt = _attempt_around(current_attempt.get())
    if attempt is None:
        raise ZrbStoreError(
            f"step {step} is not inside an attempt: call it in a zrb task's action or in `with run.attempt(...)`, "
            "and in a thread that has no context use attempt.step"
        )
    return attempt


class OutputHandler(logging.Handler):
    """A `logging.Handler` that adds each message to the output of the attempt that the code runs in.

    Messages from outside of attempts are ignored. What a step logs belongs to the attempt around it.
    """

    def __init__(self, attempt: Attempt | None = None, level: int | str = logging.NOTSET) -> None:
        """Create a handler: `logging.getLogger().addHandler(zrb_store.OutputHandler())`.

        Args:
            attempt: The attempt that gets the messages of all threads; by default each thread's own.
            level: Messages below this level are ignored.
        """
        super().__init__(level)
        self._attempt = attempt

    def emit(self, record: logging.LogRecord) -> None:
        """Add a message."""
        attempt = _attempt_around(self._attempt or current_attempt.get())
        if attempt is None:
            return
        try:
            attempt.log(self.format(record), stream=record.levelname.lower())
        except Exception:  # noqa: BLE001 - as every handler of logging does
            self.handleError(record)
