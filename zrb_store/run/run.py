"""A run: one process working on a session under a lease."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeVar

from zrb_store import codec
from zrb_store.attempt import Attempt
from zrb_store.codec.compare import describe_changes, mask_encoded, stored_arguments
from zrb_store.db.transaction import Row, Transaction, failpoint
from zrb_store.errors import InputsDiffer, InvalidArgument, TaskCompleted, ZrbStoreError
from zrb_store.masking import mask_text
from zrb_store.names import check_name
from zrb_store.queries import attempts, sessions
from zrb_store.queries.give_back import give_back, give_back_steps, give_back_unfinished
from zrb_store.records import AttemptRecord
from zrb_store.run.consumer import Claims, Consumer, Deliveries
from zrb_store.run.delivery import OpenDeliveries
from zrb_store.run.lifecycle import RunLifecycle, RunSpec
from zrb_store.xcom import Xcom, Xcoms, current_attempt

T = TypeVar("T")


class Run(RunLifecycle):
    """One process working on a session under a lease.

    As a context manager, it ends the session as `completed` unless a task failed.

    Attributes:
        number: 1 for the first run of the session; also its fence number.
        lost: Whether another process has taken the session over, as far as is known yet.
    """

    def __init__(self, xcoms: Xcoms, spec: RunSpec, on_lost: Callable[[ZrbStoreError], None] | None = None) -> None:
        super().__init__(xcoms, spec, on_lost)
        self._claims = Claims()
        self._open_deliveries = OpenDeliveries(self.database)
        self._numbers: dict[str, int] = {}  # of the last attempt of each task that this process has begun

    def attempt(self, task: str) -> Attempt:
        """Begin the next attempt of a task, to be used as a context manager.

        Args:
            task: Name of the task.

        Returns:
            The attempt, under way.

        Raises:
            InvalidArgument: No task can have this name.
            TaskCompleted: The task has completed in this session.
            LeaseLost: Another process has taken the session over.
            ZrbStoreError: An attempt of the task is under way in this process, or the caller is inside another attempt
                (attempts do not nest), or the run has ended.
        """
        self.refuse_if_over()
        self._refuse_nesting(task)
        with self._claims.claim(task):
            attempt = self.begin(task, once=True)
            self._claims.hold_until_ended(attempt)
        return attempt

    def _refuse_nesting(self, task: str) -> None:
        if current_attempt.get() is not None:
            raise ZrbStoreError(f"{task} cannot begin inside another attempt: attempts do not nest; end that one first")

    def begin(self, task: str, *, role: str = "task", arguments: str | None = None, once: bool = False) -> Attempt:
        """Begin the next attempt of a task, giving back its unfinished ones first.

        That includes an attempt which is under way in this process: only `attempt` and `step` protect it. A forked
        child of the process that began the run gives back none that is under way.

        Args:
            task: Name of the task.
            role: `task`, `server`, `fallback` or `check`. A check has one attempt, which is opened again.
            arguments: Encoded arguments, for comparison in the next run.
            once: Begin none if an attempt of the task stands.

        Returns:
            The attempt, under way.

        Raises:
            InvalidArgument: No task can have this name.
            TaskCompleted: `once`, and the task has completed in this session.
            LeaseLost: Another process has taken the session over.
            ZrbStoreError: This is a forked child, and an attempt of the task is under way.
        """
        check_name(task, "task")
        begun = None
        if role != "check":
            failpoint("begin:before")
            place = self.session_id, self.id, self.number
            lost = functools.partial(self._begun, task, self._numbers.get(task, 0))
            begun = attempts.begin(self.database, *place, task, role, arguments, once=once, lost=lost)
        if begun:
            failpoint("begin:after")
        else:
            begin_again = functools.partial(self._begin_again, task, role, arguments, once)
            begun = self.database.transact(begin_again, "begin", is_made=attempts.is_begun)
        if begun is None:
            if once and self.completed(task):
                raise TaskCompleted(f"task {task} has completed in session {self.session}: its result is stored")
            raise self._mark_lost()
        self._numbers[task] = begun.number
        return Attempt(self._xcoms, begun.id, task, begun.number, self.number, has_begun_before=role == "check")

    def _begun(self, task: str, known: int, transaction: Transaction) -> list[Row] | None:
        """Return the attempt whose beginning was not answered: it runs, and nobody knows its number."""
        found = attempts.unfinished(transaction, self.session_id, task)
        return [
            (each.id, each.number)
            for each in found
            if (each.status, each.fence) == ("running", self.number) and each.number > known
        ] or None

    def _begin_again(
        self, task: str, role: str, arguments: str | None, once: bool, transaction: Transaction
    ) -> attempts.BegunAttempt | None:
        session = sessions.find(transaction, self.session, lock=True)
        if session is None or session.fence != self.number:
            return None
        if self.is_inherited:
            self._refuse_under_way(attempts.unfinished(transaction, self.session_id, task))
        give_back_unfinished(transaction, self.session_id, task)
        if role == "check":
            give_back_steps(transaction, self.session_id, task, "readiness")
            begun = attempts.reopen_check(transaction, self.session_id, self.id, self.number, task)
            if begun:
                return begun
        return attempts.begin(transaction, self.session_id, self.id, self.number, task, role, arguments, once=once)

    def _refuse_under_way(self, unfinished: list[AttemptRecord]) -> None:
        for attempt in unfinished:
            if attempt.status == "running" and attempt.fence == self.number:
                raise ZrbStoreError(
                    f"{attempt.name} is under way, and this is a forked child of the process that began the run: it "
                    "begins no other attempt of the task"
                )

    def step(self, task: str, function: Callable[..., T], /, *args: Any, **kwargs: Any) -> T:
        """Run a function once per session: return its stored result if it has completed, else run it as an attempt.

        If another thread of this process is running the step, wait for it. Then return its result or, if it failed, run
        the function as the next attempt. In a coroutine use `asyncio.to_thread`: waiting blocks the event loop.

        Args:
            task: Name of the task; its result is pushed to the queue of that name.
            function: Called with the arguments.
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
            LeaseLost: Another process has taken the session over.
            ZrbStoreError: An attempt of the task, begun by `attempt`, is under way in this process, or the caller is
                inside another attempt (attempts do not nest), or the run has ended.
        """
        arguments = stored_arguments(args, kwargs, self._xcoms.max_value)
        with self._claims.claim(check_name(task, "task"), self.refuse_if_over):
            done = self.completed(task)
            if done is None:
                self.refuse_if_over()
                self._refuse_nesting(task)
                with self.begin(task, arguments=arguments, once=True) as attempt:
                    result = function(*args, **kwargs)
                    attempt.complete(result)
                return result
        difference = describe_changes(mask_encoded(done.arguments), arguments) if done.arguments else ""
        if difference:
            raise InputsDiffer(mask_text(f"{self.session}/{done.name} completed with other arguments: {difference}"))
        return self.result(done)  # type: ignore[no-any-return]

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
        The value then goes to another consumer, or becomes dead if its queue limits deliveries; this consumer passes it
        over. After failures in a row it pauses, first for a second, at most for a minute.

        Args:
            queue: The queue, of any session.
            wait: How many seconds the queue may be empty before the loop ends; `math.inf` for ever. Then the values
                that this consumer passes over are tried again when nothing else is left.
            batch: Let a delivery have up to this many values, as a list. Values that came back before come alone.
            on_error: `continue` goes on with the next value after an exception; `raise` raises it in the loop.

        Returns:
            The deliveries.

        Raises:
            InvalidArgument: An argument is not of this form, or the queue belongs to another store.
            LeaseLost: In the loop: another process has taken the session over.
        """
        if on_error not in ("continue", "raise"):
            raise InvalidArgument(f"on_error={on_error!r} is neither 'continue' nor 'raise'")
        return Deliveries(self.consumer(queue, batch=batch, raises=on_error == "raise"), wait)

    def consumer(self, queue: Xcom, **options: Any) -> Consumer:
        """Return what `consume` takes values with; the options are those of `Consumer`."""
        return Consumer(self, self._begin_delivery, self._open_deliveries, queue, **options)

    def _begin_delivery(self, transaction: Transaction, task: str) -> Attempt:
        begun = attempts.begin(transaction, self.session_id, self.id, self.number, task, "delivery", None)
        if begun is None:
            raise self._mark_lost()
        return Attempt(self._xcoms, begun.id, task, begun.number, self.number)

    def completed(self, task: str) -> AttemptRecord | None:
        """Return the newest attempt of a task that completed and stands, or None.

        Raises:
            InvalidArgument: No task can have this name.
        """
        return attempts.standing(self.database, self.session_id, check_name(task, "task"))

    def result(self, completed: AttemptRecord) -> Any:
        """Return the stored result of a completed attempt, whether or not it was taken; None if it has none."""
        data = attempts.stored_result(self.database, completed)
        return None if data is None else codec.decode(data)

    def give_back(self, completed: AttemptRecord, reason: str) -> None:
        """Give a completed attempt back, with the steps of its task, so that the task starts over.

        Args:
            completed: The attempt.
            reason: Stored with each value that is given back.

        Raises:
            LeaseLost: Another process has taken the session over.
        """

        def work(transaction: Transaction) -> bool:
            session = sessions.find(transaction, self.session, lock=True)
            if session is None or session.fence != self.number:
                return False
            give_back_steps(transaction, self.session_id, completed.task, reason)
            give_back(transaction, [(completed.id, reason)])
            return True

        if not self.database.transact(work, "give_back"):
            raise self._mark_lost()

    def note_tasks(self, tasks: Mapping[str, str]) -> None:
        """Store which tasks the session has.

        Args:
            tasks: `waiting` or `skipped` by the task's name, in order.

        Raises:
            LeaseLost: Another process has taken the session over.
        """
        if not sessions.set_tasks(self.database, self.session_id, self.number, tasks):
            raise self._mark_lost()
