"""A run: one process working on a session under a lease."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, TypeVar

from zrb_store import codec, lease
from zrb_store.attempt import Attempt, status_after
from zrb_store.db.failpoints import failpoint
from zrb_store.db.transaction import Transaction
from zrb_store.errors import InputsDiffer, LeaseLost, SessionCompleted, TaskCompleted, ZrbStoreError
from zrb_store.names import check_name
from zrb_store.queries import attempts, runs, sessions
from zrb_store.queries.clock import now_micros
from zrb_store.queries.give_back import give_back, give_back_unfinished
from zrb_store.queries.lease import refuse_live
from zrb_store.records import AttemptRecord
from zrb_store.run.claims import Claims
from zrb_store.run.comparison import describe_changes, mask_encoded
from zrb_store.run.spec import RunSpec
from zrb_store.safe_text import mask_text
from zrb_store.xcom import Xcoms, current_attempt

T = TypeVar("T")

ChooseReruns = Callable[[list[AttemptRecord]], Sequence[tuple[int, str]]]
"""Chooses, of all attempts of a session, the completed ones to give back, in this order, each with the reason."""


class Run:
    """One process working on a session under a lease.

    As a context manager, it ends the session as `completed` unless a task failed.

    Attributes:
        number: 1 for the first run of the session; also its fence number.
        lost: Whether another process has taken the session over, as far as is known yet.
    """

    def __init__(
        self, xcoms: Xcoms, spec: RunSpec, on_lost: Callable[[ZrbStoreError], None] = lambda error: None
    ) -> None:
        """Prepare a run; `start` begins it.

        Args:
            xcoms: The queues of its session.
            spec: What it is for.
            on_lost: Called, in another thread, when the renewal of the lease finds that the run must end.
        """
        self.database = xcoms.database
        self.session = xcoms.session
        self.lost = False
        self._ended = False
        self.id = 0
        self.number = 0
        self.session_id = 0
        self._xcoms = xcoms
        self._spec = spec
        self._on_lost = on_lost
        self._claims = Claims()

    def start(self, choose_reruns: ChooseReruns | None = None) -> Run:
        """Take the lease, and give back what unfinished attempts of earlier runs did.

        Args:
            choose_reruns: Called in the transaction that takes the lease, so that nothing changes between its choice
                and the start. The completed attempts that it chooses are given back, and their tasks run again.

        Returns:
            The run itself.

        Raises:
            SessionBusy: Another process runs the session.
            SessionCompleted: There is nothing left to run.
            InputsDiffer: The session is of another project, another task or other inputs.
            LeaseLost: Another process is removing the session.
        """
        self.session_id, self.id, self.number = self.database.transact(
            lambda transaction: self._start(transaction, choose_reruns), "start"
        )
        lease.start_renewing(self)
        return self

    def _start(self, transaction: Transaction, choose_reruns: ChooseReruns | None = None) -> tuple[int, int, int]:
        sessions.create(transaction, self.session)
        session = sessions.find(transaction, self.session, lock=True)
        if session is None:
            raise LeaseLost(sessions.being_removed(self.session))
        self._spec.refuse_other(session)
        refuse_live(transaction, session, now_micros(transaction))
        if session.is_finished and not self._spec.again:
            raise SessionCompleted(f"session {session.name} has completed: `zrb-store show {session.name}` shows it")
        give_back_unfinished(transaction, session.id)
        if choose_reruns is not None:
            give_back(transaction, choose_reruns(attempts.of_session(transaction, session.id)))
        started = runs.start(
            transaction,
            session,
            lease.duration_in_micros(),
            self._spec.run_columns(),
            self._spec.session_columns(session),
        )
        return session.id, started.id, started.number

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
        self._refuse_if_over()
        self._refuse_nesting(task)
        with self._claims.claim(task):
            attempt = self.begin(task, once=True)
            self._claims.hold_until_ended(attempt)
        return attempt

    def _refuse_if_over(self) -> None:
        if self.lost:
            self.database.refuse_replaced()
            raise self._mark_lost()
        if self._ended or not self.number:
            state = "has ended" if self._ended else "was not started"
            raise ZrbStoreError(f"this run of session {self.session} {state}: use `with session.run() as run:`")

    def _refuse_nesting(self, task: str) -> None:
        if current_attempt.get() is not None:
            raise ZrbStoreError(f"{task} cannot begin inside another attempt: attempts do not nest; end that one first")

    def begin(self, task: str, *, role: str = "task", arguments: str | None = None, once: bool = False) -> Attempt:
        """Begin the next attempt of a task, giving back its unfinished ones first.

        That includes an attempt which is under way in this process: only `attempt` and `step` protect it.

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
        """
        check_name(task, "task")
        begun = None
        if role != "check":
            failpoint("begin:before")
            begun = attempts.begin(
                self.database, self.session_id, self.id, self.number, task, role, arguments, once=once
            )
        if begun:
            failpoint("begin:after")
        else:
            begun = self.database.transact(lambda t: self._begin_again(t, task, role, arguments, once), "begin")
        if begun is None:
            if once and self.completed(task):
                raise TaskCompleted(f"task {task} has completed in session {self.session}: its result is stored")
            raise self._mark_lost()
        return Attempt(self._xcoms, begun.id, task, begun.number, self.number)

    def _begin_again(
        self, transaction: Transaction, task: str, role: str, arguments: str | None, once: bool
    ) -> attempts.BegunAttempt | None:
        session = sessions.find(transaction, self.session, lock=True)
        if session is None or session.fence != self.number:
            return None
        give_back_unfinished(transaction, self.session_id, task)
        if role == "check":
            begun = attempts.reopen_check(transaction, self.session_id, self.id, self.number, task)
            if begun:
                return begun
        return attempts.begin(transaction, self.session_id, self.id, self.number, task, role, arguments, once=once)

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
        arguments = mask_encoded(codec.encode_arguments(args, kwargs, self._xcoms.max_value))
        with self._claims.claim(check_name(task, "task"), self._refuse_if_over):
            done = self.completed(task)
            if done is None:
                self._refuse_if_over()
                self._refuse_nesting(task)
                with self.begin(task, arguments=arguments, once=True) as attempt:
                    result = function(*args, **kwargs)
                    attempt.complete(result)
                return result
        difference = describe_changes(mask_encoded(done.arguments), arguments) if done.arguments else ""
        if difference:
            raise InputsDiffer(mask_text(f"{self.session}/{done.name} completed with other arguments: {difference}"))
        return self.result(done)  # type: ignore[no-any-return]

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
        """Give a completed attempt back, so that its task runs again.

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

    def end(self, outcome: str) -> None:
        """End the run and release the lease.

        Args:
            outcome: `completed`, `failed` or `interrupted`; the session's status from now on.

        Raises:
            LeaseLost: Another process has taken the session over.
        """
        lease.stop_renewing(self)
        self._ended = True

        def work(transaction: Transaction) -> bool:
            return runs.end(transaction, self.session_id, self.id, outcome)

        if not self.database.transact(work, "end"):
            raise self._mark_lost()
        # A process that was told to end has no time for retention; the next run sees to it.
        if outcome != "interrupted" and not self.database.is_stopping and os.environ.get("ZRB_STORE_RETENTION"):
            from zrb_store.operations.retention import apply_retention  # only now: most runs end without it

            apply_retention(self.database)

    def outcome(self) -> str:
        """Return `completed`, or `failed` if a task ended without completing and no later attempt of it did.

        A run that was started `again` is judged by its own attempts.
        """
        every = attempts.of_session(self.database, self.session_id)
        last = {attempt.task: attempt for attempt in every if attempt.run_id == self.id or not self._spec.again}
        done = all(attempt.stands or attempt.role == "check" for attempt in last.values())
        return "completed" if done else "failed"

    def lose(self, error: ZrbStoreError) -> None:
        """Mark the run as lost; the thread that renews leases calls this."""
        self.lost = True
        self._on_lost(error)

    def _mark_lost(self) -> LeaseLost:
        """Mark the run as lost, and return the error to raise."""
        self.lost = True
        return LeaseLost(
            f"session {self.session} was taken over by another process: run {self.number} can no longer write"
        )

    def __enter__(self) -> Run:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._ended:
            return
        try:
            if error is None or (isinstance(error, SystemExit) and not error.code):
                self.end(self.outcome())
            else:
                with contextlib.suppress(ZrbStoreError):  # the exception under way says more
                    self.end(status_after(error))
        finally:
            lease.stop_renewing(self)  # even if the store cannot be told: the process may live long
