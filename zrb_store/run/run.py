"""A run: one process working on a session under a lease. `lifecycle.py` has its start and its end.

`Run` begins attempts of tasks, runs functions as tasks, and consumes queues.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Concatenate, Literal, ParamSpec, TypeVar

from zrb_store import codec
from zrb_store.attempt import Attempt, surrounding_attempt
from zrb_store.attempt.caller import Caller
from zrb_store.attempt.options import NO_OPTIONS, CallOptions, RetryAfter, WithOptions, is_async
from zrb_store.attempt.retries import Tries
from zrb_store.codec.arguments import mask_encoded, stored_arguments
from zrb_store.db.transaction import Row, Transaction, failpoint
from zrb_store.errors import InputsDiffer, InvalidArgument, TaskCompleted, ZrbStoreError
from zrb_store.masking import mask_text
from zrb_store.names import check_name, full_name
from zrb_store.queries import attempts, runs, sessions
from zrb_store.queries.give_back import give_back, give_back_steps, give_back_unfinished
from zrb_store.records import AttemptRecord
from zrb_store.run.lifecycle import RunLifecycle
from zrb_store.runtime.commands import end_commands
from zrb_store.xcom import Xcom, current_attempt

if TYPE_CHECKING:
    from zrb_store.run.claims import Claims
    from zrb_store.run.deliveries import Consumer, Deliveries


P = ParamSpec("P")
T = TypeVar("T")

_CUT_OFF = ("lost", "interrupted", "waiting")


class TaskCaller:
    """`run.task`: runs functions as tasks of a run."""

    def __init__(self, run: Run) -> None:
        self._owner = run

    def __call__(self, name: str, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a function once per session: return its stored result if it has completed; otherwise run it.

        If another thread of this process is running the task, wait for it. Then return its result or, if it failed, run
        the function as the next attempt.

        Args:
            name: Name of the task; its result is pushed to the queue of that name.
            function: Called with the arguments. If it is a coroutine function, the call returns an awaitable; it is
                refused while another thread or coroutine is running the task.
            *args: Stored with the passwords of URLs masked, and compared with those of later calls. An argument that
                cannot be encoded is not compared.
            **kwargs: Likewise.

        Returns:
            What the function returned, now or then.

        Raises:
            InvalidArgument: No task can have this name.
            InputsDiffer: The task completed with other arguments, in type or value: 1, 1.0 and True differ.
            UnencodableValue: The result cannot be stored.
            ValueTooLarge: It is larger than the limit.
            ZrbStoreError: An attempt of the task, begun by `attempt`, is open in this process, or the caller is
                inside another attempt (attempts do not nest), or the run has ended.
        """
        return self._run(name, function, args, kwargs, NO_OPTIONS)  # type: ignore[no-any-return]

    def options(
        self, *, retries: int = 0, retry_after: RetryAfter | None = None, timeout: timedelta | float | None = None
    ) -> WithOptions:
        """Return this with options: `run.task.options(retries=3)("load", load, orders)`.

        They are those of `step.options`, and each try is an attempt of the task. If the process dies, or the run is
        interrupted, the tries that failed count on in the next run. If the run itself fails, the next one begins to
        count again.
        """
        return WithOptions(self._run, CallOptions.of(retries, retry_after, timeout))

    def transaction(
        self, engine: Any, name: str, function: Callable[Concatenate[Any, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run a task of one step, as `step.transaction` does, with the same name. It takes no coroutine function."""
        if is_async(function):
            raise InvalidArgument(
                f"task {name} is a coroutine function: use `with run.attempt({name!r}) as attempt` and "
                "`await attempt.step.transaction(...)`"
            )

        def work(*args: Any, **kwargs: Any) -> T:
            return surrounding_attempt(name).step.transaction(engine, name, function, *args, **kwargs)

        return self(name, work, *args, **kwargs)

    def _run(
        self,
        name: str,
        function: Callable[..., Any],
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        options: CallOptions,
    ) -> Any:
        call = _Call(self._owner, check_name(name, "task"), args, kwargs, options)
        if is_async(function):
            return call.run_async(function, args, kwargs)
        options.refuse_timeout(f"task {name}")
        return call.run(function, args, kwargs)


class _Call:
    """A call of `run.task`."""

    def __init__(
        self, run: Run, name: str, args: Sequence[Any], kwargs: Mapping[str, Any], options: CallOptions
    ) -> None:
        self._of = run
        self._name = name
        self._options = options
        self._arguments = stored_arguments(args, kwargs, run._xcoms.max_value)

    def run(self, function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Return the result, now or then."""
        run = self._of
        with run._claims.claimed(self._name, run.refuse_if_over):
            done = self._completed()
            if done is None:
                tries = self._tries()
                while True:
                    try:
                        with run.begin(self._name, arguments=self._arguments, once=True) as attempt:
                            result = function(*args, **kwargs)
                            attempt.complete(result)
                        return result
                    except Exception as error:
                        if not tries.may_repeat(error):
                            raise
                    tries.rest()
        return self._stored(done)

    async def run_async(self, function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Return the result of a coroutine function, now or then."""
        run = self._of
        with run._claims.claimed(self._name):
            done = self._completed()
            if done is None:
                tries = self._tries()
                while True:
                    try:
                        with run.begin(self._name, arguments=self._arguments, once=True) as attempt:
                            result = await self._options.in_time(function(*args, **kwargs), f"task {self._name}")
                            attempt.complete(result)
                        return result
                    except Exception as error:
                        if not tries.may_repeat(error):
                            raise
                    await tries.rest_async()
        return self._stored(done)

    def _completed(self) -> attempts.CompletedTask | None:
        """Return the attempt by which it has completed; None if it may run now."""
        run = self._of
        done = attempts.completed_task(run.database, run.session_id, self._name)
        if done is None:
            run.refuse_if_over()
            run.refuse_nesting(self._name)
        return done

    def _tries(self) -> Tries:
        run = self._of
        return Tries(f"task {self._name}", self._options.retries, run.database, self._failed_before)

    def _failed_before(self) -> int:
        """Return how often the task has failed before, in this run and in those before it that were cut off."""
        run = self._of
        counted = {run.id}
        for each in reversed(runs.of_session(run.database, run.session_id)):
            if each.number < run.number:
                if each.status not in _CUT_OFF:
                    break
                counted.add(each.id)
        every = attempts.of_session(run.database, run.session_id)
        failed = [each for each in every if each.task == self._name and each.status == "failed"]
        return sum(each.run_id in counted for each in failed) - 1  # without the one that has just failed

    def _stored(self, done: attempts.CompletedTask) -> Any:
        """Return a stored result, unless the task completed with other arguments."""
        from zrb_store.codec.compare import describe_changes

        run = self._of
        if run.span is not None:
            run.span.count("tasks_from_store")
        difference = describe_changes(mask_encoded(done.arguments), self._arguments) if done.arguments else ""
        if difference:
            attempt_name = full_name(run.session, self._name, done.number)
            from zrb_store.inspect.advice import fork

            again = f"`{fork(run.session, self._name)}` makes a session"
            raise InputsDiffer(
                mask_text(
                    f"{attempt_name} completed with other arguments: {difference}; {again} in which it runs again, "
                    "with all that began after it"
                )
            )
        data = attempts.result_at(run.database, done.result_queue_id, done.result_seq)
        return codec.decode(data or "null")


class Run(RunLifecycle):
    """One process working on a session under a lease.

    As a context manager, also for `async with`, it ends the session as `completed` unless a task failed. Each change
    raises `LeaseLost` if another process has taken the session over.

    Attributes:
        number: 1 for the first run of the session; also its fence number.
        lost: Whether another process has taken the session over, as far as is known yet.
    """

    @property
    def _claims(self) -> Claims:
        from zrb_store.run.claims import Claims

        made: Claims = vars(self).setdefault("_made_claims", Claims())  # all threads share these
        return made

    def attempt(self, task: str) -> Attempt:
        """Begin the next attempt of a task, to be used as a context manager.

        Raises:
            InvalidArgument: No task can have this name.
            TaskCompleted: The task has completed in this session.
            ZrbStoreError: An attempt of the task is open in this process, or the caller is inside another attempt
                (attempts do not nest), or the run has ended.
        """
        self.refuse_if_over()
        self.refuse_nesting(task)
        with self._claims.claimed(task):
            attempt = self.begin(task, once=True)
            self._claims.hold_until_ended(attempt)
        return attempt

    def refuse_nesting(self, task: str) -> None:
        """Raise an error if the code runs in an attempt."""
        if current_attempt.get() is not None:
            raise ZrbStoreError(f"{task} cannot begin inside another attempt: attempts do not nest; end that one first")

    def begin(
        self,
        task: str,
        *,
        kind: str = "task",
        arguments: str | None = None,
        once: bool = False,
        inside: str | None = None,
    ) -> Attempt:
        """Begin the next attempt of a task, giving back its unfinished ones first.

        That includes an attempt that is open in this process: only `attempt` and `task` protect it. A forked child of
        the process that began the run gives back none that is open. A check has one attempt, which is opened again.
        The next run compares its encoded `arguments`. With `once`, raise `TaskCompleted` if the task has completed.
        `inside` is the task whose action starts it, if one does.
        """
        check_name(task, "task")
        session_id, known = self.session_id, self._numbers.get(task, 0)
        of_task = session_id, self.id, self.number, task, kind, arguments

        def lost(transaction: Transaction) -> list[Row] | None:
            # The attempt whose beginning was not answered: it runs, and nobody knows its number.
            return [(each.id, each.number) for each in self._running(transaction, task) if each.number > known] or None

        def begin_again(transaction: Transaction) -> attempts.BegunAttempt | None:
            if not self._holds_session(transaction):
                return None
            if self.is_inherited and (running := self._running(transaction, task)):
                raise ZrbStoreError(
                    f"{running[0].name} is running, and this is a forked child of the process that began the run: it "
                    "cannot begin another attempt of the task"
                )
            give_back_unfinished(transaction, session_id, task)
            if kind == "check":
                give_back_steps(transaction, session_id, task, "readiness")
                begun = attempts.reopen_check(transaction, session_id, self.id, self.number, task)
                if begun:
                    return begun
            return attempts.begin(transaction, *of_task, once=once, inside=inside)

        begun = None
        if kind != "check":
            failpoint("begin:before")
            begun = attempts.begin(self.database, *of_task, once=once, inside=inside, lost=lost)
        if begun:
            failpoint("begin:after")
        else:
            self._end_commands_of(task)
            begun = self.database.transact(begin_again, "begin", is_made=attempts.is_begun)
        if begun is None:
            if once and self.completed(task) and self.database.transact(self._holds_session):
                raise TaskCompleted(
                    f"task {task} has completed in session {self.session}: `run.task` would return its result, "
                    f"which `zrb-store get {self.session} {shlex.quote(task)}` prints"
                )
            raise self._lost_error()
        self._numbers[task] = begun.number
        attempt = Attempt(self._xcoms, begun.id, task, begun.number, self.number, has_begun_before=kind == "check")
        if self.span is not None:
            attempt.span = self.span.begin("task", task, {**attempt._details, "kind": kind, "arguments": arguments})
        return attempt

    def _end_commands_of(self, task: str) -> None:
        """End what lives of the commands of a task whose attempts were cut off, as zrb does it to servers."""
        unfinished = attempts.unfinished(self.database, self.session_id, task)
        if any(each.status in ("interrupted", "lost") for each in unfinished):
            end_commands(self.database, sessions.get(self.database, self.session), task=task, running=False)

    def _running(self, transaction: Transaction, task: str) -> list[AttemptRecord]:
        """Return the attempts of a task that this run has begun and that have not ended."""
        unfinished = attempts.unfinished(transaction, self.session_id, task)
        return [each for each in unfinished if (each.status, each.fence) == ("running", self.number)]

    task = Caller(TaskCaller)

    def consume(
        self,
        queue: Xcom,
        *,
        wait: float = 0,
        batch: int | None = None,
        on_error: Literal["continue", "raise"] = "continue",
    ) -> Deliveries:
        """Take the values of a queue, each by an attempt of its own: a delivery.

        Use it in `for delivery in run.consume(...)` with `with delivery as value`, or in `async for` with `async with`,
        which blocks no event loop. A delivery whose block raises is given back whole, with the value, and is recorded.
        The value then goes to another consumer, or becomes dead if its queue limits deliveries; this consumer skips
        it. After failures in a row it pauses, first for a second, at most for a minute.

        Args:
            queue: The queue, of any session.
            wait: How many seconds the queue may be empty before the loop ends; `math.inf` for ever. Then the values
                that this consumer skips are tried again when no other value is left.
            batch: Let a delivery have up to this many values, as a list. Values that came back before come alone.
            on_error: `continue` takes the next value after an exception; `raise` raises it in the loop.

        Raises:
            InvalidArgument: An argument is not of this form, or the queue belongs to another store.
        """
        if on_error not in ("continue", "raise"):
            raise InvalidArgument(f"on_error={on_error!r} is neither 'continue' nor 'raise'")
        from zrb_store.run.deliveries import Deliveries

        return Deliveries(self.consumer(queue, batch=batch, raises=on_error == "raise"), wait)

    def consumer(self, queue: Xcom, **options: Any) -> Consumer:
        """Return what `consume` takes values with; the options are those of `Consumer`."""
        from zrb_store.run.deliveries import Consumer, OpenDeliveries

        # All consumers of the run share these, also those that two threads make at once.
        opened: OpenDeliveries = vars(self).setdefault("_open_deliveries", OpenDeliveries(self.database))
        return Consumer(self, opened, queue, **options)

    def completed(self, task: str) -> AttemptRecord | None:
        """Return the attempt by which a task has completed, unless it was given back, or None."""
        return attempts.in_effect(self.database, self.session_id, check_name(task, "task"))

    def result(self, completed: AttemptRecord) -> Any:
        """Return the stored result of a completed attempt, whether or not it was taken; None if it has none."""
        data = attempts.result_at(self.database, completed.result_queue_id, completed.result_seq)
        return None if data is None else codec.decode(data)

    def give_back(self, completed: AttemptRecord, reason: str, *, keeps_steps: bool = False) -> None:
        """Give a completed attempt back, with the steps of its task unless it keeps them.

        The reason is stored with each value that is given back.
        """

        def work(transaction: Transaction) -> bool:
            if not self._holds_session(transaction):
                return False
            if not keeps_steps:
                give_back_steps(transaction, self.session_id, completed.task, reason)
            give_back(transaction, [(completed.id, reason)])
            return True

        if not self.database.transact(work, "give_back"):
            raise self._lost_error()

    def note_tasks(self, tasks: Mapping[str, str]) -> None:
        """Store which tasks the session has: `not started` or `skipped` by the task's name, in order."""
        if not sessions.set_tasks(self.database, self.session_id, self.number, tasks):
            raise self._lost_error()
