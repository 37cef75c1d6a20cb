"""An attempt of a task (`Attempt`), and how the one is found that code runs in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar, overload

from zrb_store import codec, settings
from zrb_store.attempt.caller import Caller
from zrb_store.attempt.open_attempt import NO_RESULT, OpenAttempt, Step
from zrb_store.attempt.options import NO_OPTIONS, ONCE, CallOptions, RetryAfter, WithOptions
from zrb_store.codec import Encoded
from zrb_store.db.transaction import Transaction, first_column
from zrb_store.errors import Waiting, ZrbStoreError
from zrb_store.masking import ErrorText
from zrb_store.queries import attempts, queues, steps, survived, values
from zrb_store.queries.attempts import Owner
from zrb_store.queries.give_back import undo_ended
from zrb_store.wings import needed
from zrb_store.xcom import Xcoms, current_attempt

if TYPE_CHECKING:
    from zrb_store.attempt.steps import Steps
    from zrb_store.runtime.output import Output

P = ParamSpec("P")
T = TypeVar("T")


class StepCaller:
    """`attempt.step`: runs steps of an attempt."""

    def __init__(self, attempt: Attempt) -> None:
        self._owner = attempt

    @overload
    def __call__(self, name: str, function: Callable[..., T], /, *args: Any, once: bool, **kwargs: Any) -> T: ...
    @overload
    def __call__(self, name: str, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T: ...
    def __call__(  # type: ignore[misc]  # a function's own parameter may have any name
        self, name: str, function: Callable[..., T], /, *args: Any, once: bool = False, **kwargs: Any
    ) -> T:
        """Run a function once per task: return its stored result if this step completed before; otherwise run it.

        A step is an attempt inside this attempt. It completes with its result and its changes to queues. It is
        kept even if this attempt fails: the task's next attempt gets its result and does not run it. A step that fails
        is given back, and the exception propagates; its next run is its second attempt.

        Args:
            name: Name of the step. The second step of a name in one attempt is `name~2`, and so on. Steps that run at
                the same time need different names.
            function: Called with the arguments. If it is a coroutine function, the call returns an awaitable.
            *args: Stored with the passwords of URLs masked, and compared with those of later calls. An argument that
                cannot be encoded is not compared.
            once: As of `options`, which also lets type checkers compare the arguments.
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
        options = ONCE if once else NO_OPTIONS
        return self._owner.steps.run(name, function, args, kwargs, options)  # type: ignore[no-any-return]

    def options(
        self,
        *,
        retries: int = 0,
        retry_after: RetryAfter | None = None,
        timeout: timedelta | float | None = None,
        once: bool = False,
    ) -> WithOptions:
        """Return this with options, as `step.options` does."""
        return WithOptions(self._owner.steps.run, CallOptions.of(retries, retry_after, timeout, once))

    def transaction(
        self, engine: Any, name: str, function: Callable[Concatenate[Any, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run a step as a transaction of a PostgreSQL or SQLite database, as `step.transaction` does."""
        run = needed("step_transaction", "step.transaction")
        return run(self._owner, engine, name, function, args, kwargs)  # type: ignore[no-any-return]


class Attempt(OpenAttempt):
    """An open attempt of a task.

    As a context manager, it completes when the block ends, and fails if the block raises. Each of its changes raises
    `AttemptClosed` if it has ended, and `LeaseLost` if another process has taken the session over.

    Attributes:
        session: Name of the session.
        task: Name of the task.
        number: 1 for the first attempt of the task in its session.
        xcom: The session's queues; every operation on them belongs to this attempt, in any thread, or to its step in
            which the code runs.
        token: Names the attempt to a child process, in `ZRB_STORE_ATTEMPT`: SESSION/TASK#NUMBER@FENCE.
        result_seq: Seq of its result in the result's queue; None if there is none yet.
        parked: The `Waiting` by which it ended; None if it did not wait.
    """

    parked: Waiting | None = None

    _steps: Steps | None = None  # made when one begins
    _is_shared = False  # whether another process may know it, and begin steps of it

    def __init__(
        self, xcoms: Xcoms, attempt_id: int, task: str, number: int, fence: int, *, has_begun_before: bool = False
    ) -> None:
        super().__init__(xcoms, attempt_id, task, number, fence)
        self.xcom = xcoms.bound_to(self)  # now, since several threads may read it first
        self._has_begun_before = has_begun_before  # so that it may have output: readiness checks have one attempt
        self.result_seq: int | None = None
        self.before_completion: list[Callable[[], object]] = []  # are called once, and may raise an error

    @property
    def token(self) -> str:
        self._is_shared = True
        return super().token

    @property
    def steps(self) -> Steps:
        """Its steps."""
        if self._steps is None:
            from zrb_store.attempt.steps import Steps

            vars(self).setdefault("_steps", Steps(self))  # another thread may have made them as well
        assert self._steps is not None
        return self._steps

    @property
    def output(self) -> Output | None:
        """What it prints and logs; None if that is not kept, if it has ended without any, and in a forked child."""
        if self._output is None and self.is_open and (limit := settings.size("ZRB_STORE_OUTPUT_LIMIT")):
            try:
                from zrb_store.queries.output import NO_OUTPUT
                from zrb_store.runtime.output import Output
            except (ImportError, OSError):  # this process may open no more files
                return None
            end = None if self._has_begun_before else NO_OUTPUT
            made = Output(self.database, self.id, self.full_name, limit, end)
            # Another thread, or a signal handler in the middle of this, may have made one as well. One remains.
            vars(self).setdefault("_output", made)
        return self._output

    def log(self, text: str, stream: str = "log") -> None:
        """Add a line to the attempt's output, which is kept with it: `zrb-store log SESSION` shows it.

        The last 64 KiB of an attempt's output are kept (`ZRB_STORE_OUTPUT_LIMIT`). Lines are stored within a second,
        secrets are masked, and no error is raised: lines that the store refuses are stored with later ones. Steps have
        no output of their own. A line that comes after the end of the attempt is ignored.

        Args:
            text: The text, which may have several lines.
            stream: Name of the kind of lines, such as `log` or `warning`.
        """
        output = self.output
        if output is not None:
            output.add(str(stream), f"{text}\n")

    step = Caller(StepCaller)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None and self.is_open:
            try:
                self._check()
            except ZrbStoreError as refusal:
                super().__exit__(type(refusal), refusal, refusal.__traceback__)
                raise
        super().__exit__(kind, error, trace)
        if self.parked is not None and not isinstance(error, Waiting):  # the code has caught it, or hidden it
            raise self.parked from error

    def _check(self) -> None:
        while self.before_completion:
            self.before_completion.pop()()

    def end_if_parked(self) -> bool:
        """Return whether it has ended inside `wait`, perhaps in a process of its task; then it is closed here too."""
        if self.parked is not None or attempts.status_of(self.database, self.id) != "waiting":
            return self.parked is not None
        self._open = False
        if self._output is not None:
            with self._output.ending() as output:
                self.database.transact(output.write_rest)
        if self.span is not None:
            self._end_span("waiting")
        return True

    def _end_span(self, status: str, error: ErrorText | None = None, result: str | None = None) -> None:
        if self.span is not None and self._is_shared:
            self.span.count("steps_from_store", steps.count_used(self.database, self.id))  # by other processes
        super()._end_span(status, error, result)

    def owner_of_change(self) -> Owner:
        """Return the owner of a change that is made now: the step that the code runs in, or the attempt itself.

        A thread without a context belongs to the only open step; if several are open, it is an error.
        """
        current = current_attempt.get()
        if current is self:
            return super().owner_of_change()
        if isinstance(current, Step) and current.parent is self:
            return current.owner_of_change()
        step = self._steps and self._steps.only_open()
        return step.owner_of_change() if step else super().owner_of_change()

    def complete(self, result: Any = NO_RESULT, *, queue: str | None = None) -> Encoded | None:
        """Complete the attempt and push its result, in one transaction. Its steps that still run are given back.

        Args:
            result: Pushed to the queue, an `Encoded` one as it is. Without a result nothing is pushed.
            queue: Name of the queue, by default the task's name.

        Returns:
            The result as it was stored, or None without one.

        Raises:
            UnencodableValue: No codec takes a part of the result; the attempt still runs.
            ValueTooLarge: The result is larger than the limit; the attempt still runs.
        """
        self._refuse_other_process()
        self._check()
        item: Encoded | None = None
        if result is not NO_RESULT:
            item = result if isinstance(result, Encoded) else codec.encode(result, limit=self.xcom.max_value)
        name, assigned = queue or self.task, self.inputs_assigned(self)

        def work(transaction: Transaction) -> tuple[int, int] | None:
            # Attempts are locked before queues (ADR 0010): a child's push to that queue waits for the attempt.
            if not attempts.lock(transaction, self.id):
                self._refuse(transaction)
            closed = self._close_steps(transaction)
            place = at = None
            if item is not None:
                queue_id = self.xcom.ids.get(name) or queues.ensure_queue(transaction, self.session, name)
                traceparent = None if self.span is None else self.span.traceparent
                pushed = values.push(transaction, queue_id, item, self.id, traceparent=traceparent)
                if pushed is None:
                    self._refuse(transaction)
                place, at = (queue_id, pushed.seq), pushed.at
            restorable = self.restorable and (item is None or item.restorable)
            ran = self.inputs_read(), assigned, self.code
            if not attempts.complete(transaction, self.id, at, restorable=restorable, result=place, ran=ran):
                self._refuse(transaction)
            if output is not None:
                output.write_rest(transaction)
            undo_ended(transaction, closed, "interrupted")
            return place

        with self._last_output() as output:
            place = self.database.transact(
                work, "complete", is_made=lambda transaction, _: attempts.status_of(transaction, self.id) == "completed"
            )
        self._close()
        if self.span is not None:
            self._end_span("completed", result=item and item.data)
        if place is not None:
            self.xcom.ids[name] = place[0]
            self.result_seq = place[1]
        return item

    def _try_again(self, transaction: Transaction) -> None:
        if self._steps and self._steps.used:
            survived.forget(transaction, self.task, attempt_id=self.id)

    def _close_steps(self, transaction: Transaction) -> Sequence[int]:
        if not self._is_shared and not (self._steps and self._steps.any_began):
            return ()
        closed = steps.close_running(transaction, self.id)
        self._commands = [(pid, started) for _, pid, started in closed if pid is not None]
        return list(map(first_column, closed))


def attempt_around(attempt: Owner | None) -> Attempt | None:
    """Return the attempt itself, or the one around a step; None if a change belongs to no attempt of this process."""
    if isinstance(attempt, Step):
        attempt = attempt.parent
    return attempt if isinstance(attempt, Attempt) else None


def surrounding_attempt(step: str) -> Attempt:
    """Return the attempt in which this step is to begin: the one that the code runs in, also in a step of it."""
    attempt = attempt_around(current_attempt.get())
    if attempt is None:
        raise ZrbStoreError(
            f"step {step} is not inside an attempt: call it in a zrb task's action or in `with run.attempt(...)`; "
            "a thread that has no context uses attempt.step, and cannot wait"
        )
    return attempt
