"""A run: one process working on a session under a lease."""

from __future__ import annotations

import contextlib
import json
import os
import platform
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from zrb_store import codec, lease, points
from zrb_store.attempt import Attempt, status_of
from zrb_store.db.transaction import Transaction
from zrb_store.errors import InputsDiffer, LeaseLost, SessionCompleted, TaskCompleted, ZrbStoreError
from zrb_store.masking import mask_command, mask_text
from zrb_store.names import check_name, storable
from zrb_store.process import identity
from zrb_store.purpose import Purpose, difference_text, encoded_inputs, refuse_other, without_secrets
from zrb_store.queries import attempts, sessions, values
from zrb_store.queries.give_back import give_back, give_back_unfinished
from zrb_store.records import AttemptRecord
from zrb_store.xcom import Xcoms, current_attempt

T = TypeVar("T")


class Run:
    """The right to run the tasks of a session. Leaving it normally completes the session unless a task failed.

    Attributes:
        number: 1 for the first run of the session; also its fence number.
        lost: Whether another process has taken the session over, as far as is known yet.
    """

    def __init__(
        self, xcoms: Xcoms, purpose: Purpose, on_lost: Callable[[ZrbStoreError], None] = lambda error: None
    ) -> None:
        """Prepare a run; `start` begins it.

        Args:
            xcoms: The queues of its session.
            purpose: What it is for.
            on_lost: Called, in another thread, when the renewal of the lease finds that the run may do no more.
        """
        self.database = xcoms.database
        self.session = xcoms.session
        self.lost = False
        self._ended = False
        self.id = 0
        self.number = 0
        self.session_id = 0
        self._xcoms = xcoms
        self._purpose = purpose
        self._on_lost = on_lost

    def start(self) -> Run:
        """Take the lease, and give back what unfinished attempts of earlier runs did.

        Returns:
            The run itself.

        Raises:
            SessionBusy: Another process runs the session.
            SessionCompleted: There is nothing left to run.
            InputsDiffer: The session is of another project, another task or other inputs.
            LeaseLost: Another process is removing the session.
        """
        self.session_id, self.id, self.number = self.database.transact(self._start, "start")
        lease.keep(self)
        return self

    def _start(self, transaction: Transaction) -> tuple[int, int, int]:
        sessions.create(transaction, self.session)
        session = sessions.by_name(transaction, self.session, lock=True)
        if session is None:
            raise LeaseLost(f"session {self.session} is being removed by another process")
        refuse_other(session, self._purpose)
        lease.refuse_live(transaction, session, values.moment(transaction))
        if session.is_finished and not self._purpose.again:
            raise SessionCompleted(f"session {session.name} has completed: `zrb-store show {session.name}` shows it")
        give_back_unfinished(transaction, session.id)
        purpose = self._purpose
        if purpose.give_back is not None:
            give_back(transaction, purpose.give_back(attempts.of_session(transaction, session.id)))
        about = {
            "origin": purpose.origin,
            "command": json.dumps(mask_command(purpose.command)),
            "folder": _working_directory(),
            "python_version": platform.python_version(),
            "zrb_version": purpose.zrb_version,
        }
        what = {
            "project": purpose.project or session.project,
            "task": purpose.task or session.task,
            "path": json.dumps(list(purpose.path)) if purpose.path else json.dumps(session.path),
            "inputs": encoded_inputs(purpose.inputs) or session.inputs,
            "parent": purpose.parent,
        }
        moment = values.moment(transaction)
        started = sessions.start_run(transaction, session, identity(), moment, lease.duration_in_micros(), about, what)
        return session.id, *started

    def attempt(self, task: str) -> Attempt:
        """Begin the next attempt of a task, to be used as a context manager.

        Args:
            task: Name of the task.

        Returns:
            The attempt, under way.

        Raises:
            InvalidName: No task can have this name.
            TaskCompleted: The task has completed in this session.
            LeaseLost: Another process has taken the session over.
            ZrbStoreError: An attempt is under way already; attempts do not nest.
        """
        self._refuse_nesting(task)
        return self.begin(task, once=True)

    def _refuse_nesting(self, task: str) -> None:
        if current_attempt.get() is not None:
            raise ZrbStoreError(f"{task} cannot begin inside another attempt: attempts do not nest; end that one first")

    def begin(self, task: str, *, role: str = "task", arguments: str | None = None, once: bool = False) -> Attempt:
        """Begin the next attempt of a task, giving back its unfinished ones first.

        Args:
            task: Name of the task.
            role: `task`, `server`, `fallback`, or `check`, of which one attempt is kept and opened again.
            arguments: Encoded arguments to compare on the next run.
            once: Not if an attempt of it stands.

        Returns:
            The attempt, under way.

        Raises:
            InvalidName: No task can have this name.
            TaskCompleted: The task is done `once`, and has completed in this session.
            LeaseLost: Another process has taken the session over.
        """
        check_name(task, "task")
        begun = None
        if role != "check":
            points.reach("begin:before")
            begun = attempts.begin(
                self.database, self.session_id, self.id, self.number, task, role, arguments, once=once
            )
        if begun:
            points.reach("begin:after")
        else:
            begun = self.database.transact(lambda t: self._begin_again(t, task, role, arguments, once), "begin")
        if begun is None:
            if once and self.completed(task):
                raise TaskCompleted(f"task {task} has completed in session {self.session}: its result is stored")
            raise self._lease_lost()
        return Attempt(self._xcoms, begun[0], task, begun[1], self.number)

    def _begin_again(
        self, transaction: Transaction, task: str, role: str, arguments: str | None, once: bool
    ) -> tuple[int, int] | None:
        session = sessions.by_name(transaction, self.session, lock=True)
        if session is None or session.fence != self.number:
            return None
        give_back_unfinished(transaction, self.session_id, task)
        if role == "check":
            begun = attempts.reopen_check(transaction, self.session_id, self.id, self.number, task)
            if begun:
                return begun
        return attempts.begin(transaction, self.session_id, self.id, self.number, task, role, arguments, once=once)

    def step(self, task: str, function: Callable[..., T], /, *args: Any, **kwargs: Any) -> T:
        """Run a function once per session: its stored result if it completed before, else an attempt of it.

        Args:
            task: Name of the task; its result is pushed to the queue of that name.
            function: Called with the arguments.
            *args: Kept if encodable, passwords of URLs masked; other ones on a later run raise.
            **kwargs: Likewise.

        Returns:
            What the function returned, now or then.

        Raises:
            InvalidName: No task can have this name.
            InputsDiffer: The task completed with other arguments.
            UnencodableValue: The result cannot be stored.
            ValueTooLarge: It is larger than the limit.
            LeaseLost: Another process has taken the session over.
            ZrbStoreError: An attempt is under way already; attempts do not nest.
        """
        encoded = codec.encode(without_secrets([list(args), kwargs]), lenient=True)
        arguments = encoded.data if encoded.restorable else None
        attempt = None
        while attempt is None:
            done = self.completed(task)
            if done is not None:
                if done.arguments and arguments and done.arguments != arguments:
                    difference = difference_text(codec.decode(done.arguments), codec.decode(arguments))
                    if difference:
                        told = f"{self.session}/{done.name} completed with other arguments: {difference}"
                        raise InputsDiffer(mask_text(told))
                return self.result(done)  # type: ignore[no-any-return]
            self._refuse_nesting(task)
            with contextlib.suppress(TaskCompleted):  # another thread was faster
                attempt = self.begin(task, arguments=arguments, once=True)
        with attempt:
            result = function(*args, **kwargs)
            attempt.complete(result)
        return result

    def completed(self, task: str) -> AttemptRecord | None:
        """The newest attempt of a task that completed and stands, or None.

        Raises:
            InvalidName: No task can have this name.
        """
        return attempts.standing(self.database, self.session_id, check_name(task, "task"))

    def result(self, of: AttemptRecord) -> Any:
        """The stored result of a completed attempt, whether or not it was taken; None if it has none."""
        found = attempts.result(self.database, of)
        return None if found is None else codec.decode(found[0])

    def give_back(self, of: AttemptRecord, reason: str) -> None:
        """Give a completed attempt back, so that its task runs again.

        Args:
            of: The attempt.
            reason: Kept with each value that is given back.

        Raises:
            LeaseLost: Another process has taken the session over.
        """

        def work(transaction: Transaction) -> bool:
            session = sessions.by_name(transaction, self.session, lock=True)
            if session is None or session.fence != self.number:
                return False
            give_back(transaction, [(of.id, reason)])
            return True

        if not self.database.transact(work, "give_back"):
            raise self._lease_lost()

    def note_tasks(self, tasks: Mapping[str, str]) -> None:
        """Store which tasks the session has.

        Args:
            tasks: In order: name -> `waiting` or `skipped`.

        Raises:
            LeaseLost: Another process has taken the session over.
        """
        if not sessions.note_tasks(self.database, self.session_id, self.number, tasks):
            raise self._lease_lost()

    def end(self, outcome: str) -> None:
        """End the run and release the lease.

        Args:
            outcome: `completed`, `failed` or `interrupted`; the session's status from now on.

        Raises:
            LeaseLost: Another process has taken the session over.
        """
        lease.release(self)
        self._ended = True

        def work(transaction: Transaction) -> bool:
            return sessions.end_run(transaction, self.session_id, self.id, outcome)

        if not self.database.transact(work, "end"):
            raise self._lease_lost()
        # A process that was told to end has no time for what can be done after the next run.
        if outcome != "interrupted" and not self.database.is_stopping and os.environ.get("ZRB_STORE_RETENTION"):
            from zrb_store.operations import prune  # only now: a command that reads need not import it

            prune.apply_retention(self.database)

    def outcome(self) -> str:
        """`completed`, or `failed` if a task ended without completing and no later attempt of it did."""
        last = {attempt.task: attempt for attempt in attempts.of_session(self.database, self.session_id)}
        good = all(attempt.stands or attempt.role == "check" for attempt in last.values())
        return "completed" if good else "failed"

    def lose(self, error: ZrbStoreError) -> None:
        """Learn, in another thread, that the run may do no more."""
        self.lost = True
        self._on_lost(error)

    def _lease_lost(self) -> LeaseLost:
        self.lost = True
        return LeaseLost(f"session {self.session} was taken over by another process: run {self.number} changes nothing")

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
                    self.end(status_of(error))
        finally:
            lease.release(self)  # even if the store cannot be told: the process may live long


def _working_directory() -> str | None:
    try:
        return storable(str(Path.cwd()))
    except OSError:  # it was deleted
        return None
