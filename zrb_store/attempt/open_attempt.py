"""What attempts of tasks and steps have in common (`OpenAttempt`), and an open step (`Step`).

`AttemptReference` is an attempt known by its identity, which may be one of another process.
"""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, NoReturn, Self

from zrb_store import codec
from zrb_store.codec import Encoded
from zrb_store.db.engine import Database
from zrb_store.db.transaction import Executor, Transaction, failpoint
from zrb_store.errors import (
    AttemptClosed,
    InvalidArgument,
    LeaseLost,
    UnencodableValue,
    ValueTooLarge,
    ZrbStoreError,
    is_refusal,
    what_makes_storable,
)
from zrb_store.masking import ErrorText, error_text
from zrb_store.names import split_id
from zrb_store.process import kill_group
from zrb_store.queries import attempts, sessions, steps
from zrb_store.queries.attempts import Owner
from zrb_store.queries.commands import set_command
from zrb_store.queries.give_back import undo_ended
from zrb_store.xcom import Xcoms, current_attempt, leave

if TYPE_CHECKING:
    from contextvars import Token

    from zrb_store.observe import Details, Observed
    from zrb_store.runtime.output import Output


@dataclass(eq=False, repr=False)
class AttemptReference:
    """An attempt known by its identity. It can own changes to queues, but not complete or fail."""

    database: Database
    session: str
    id: int
    task: str
    number: int
    fence: int

    @property
    def name(self) -> str:
        """`load#2`: the attempt within its session."""
        return f"{self.task}#{self.number}"

    @property
    def full_name(self) -> str:
        """`SESSION/load#2`: the attempt within the store."""
        return f"{self.session}/{self.task}#{self.number}"

    @property
    def token(self) -> str:
        """Names the attempt to a child process, in `ZRB_STORE_ATTEMPT`: SESSION/TASK#NUMBER@FENCE."""
        return f"{self.full_name}@{self.fence}"

    def owner_of_change(self) -> Owner:
        """Return the owner of a change that is made now: the attempt itself."""
        return self

    def refuse_if_closed(self, executor: Executor | None = None) -> None:
        """Raise `AttemptClosed` or `LeaseLost` unless the attempt may still write."""
        executor = executor or self.database
        record = attempts.by_id(executor, self.id)
        if record is None:
            raise AttemptClosed(f"{self.full_name} was removed: it can no longer write")
        session = sessions.find(executor, record.session)
        if session is not None and session.fence != record.fence:
            raise LeaseLost(
                f"session {record.session} was taken over by run {session.fence}: {self.full_name} can no longer write"
            )
        if record.status != "running":
            raise AttemptClosed(f"{self.full_name} is {record.status}: it can no longer write")


def record_command(attempt: AttemptReference, pid: int, started: str | None) -> None:
    """Record the process that leads the command of an attempt. Raise an error if the attempt may no longer write."""
    database = attempt.database
    if not database.transact(lambda transaction: set_command(transaction, attempt.id, pid, started), "command"):
        attempt.refuse_if_closed()


def referenced_attempt(database: Database, token: str) -> AttemptReference:
    """Return the attempt that the text of `ZRB_STORE_ATTEMPT` names; raise `AttemptClosed` if the store has none."""
    name, _, fence = token.rpartition("@")
    try:
        session, task, number = split_id(name)
    except InvalidArgument:
        fence = ""
    if not fence.isdecimal():
        raise InvalidArgument(f"ZRB_STORE_ATTEMPT is {token!r}, not SESSION/TASK#NUMBER@FENCE: unset it")
    found = attempts.by_name(database, session, task, number)
    if found is None or str(found.fence) != fence:
        raise AttemptClosed(f"this store has no attempt {token}: unset ZRB_STORE_ATTEMPT to work outside of an attempt")
    return AttemptReference(database, found.session, found.id, found.task, found.number, found.fence)


NO_RESULT: Final = object()
_NO_ENDING: Final = contextlib.nullcontext()  # of the output of an attempt that has none


class OpenAttempt(AttemptReference):
    """An attempt of a task, or a step, that this process has begun. The `task` of a step is its id within the session.

    As a context manager, it completes when the block ends, and fails if the block raises. A forked child can write for
    it, but not end it: when the child leaves the block, nothing happens.
    """

    is_refused = False  # whether an error of this package ends it
    _raised: str | None = None  # the encoded error of a step, if it may be raised again
    _commands: Sequence[tuple[int, str | None]] = ()  # of the steps inside that its end has closed
    _output: Output | None = None  # made when something is printed; steps have none
    span: Observed | None = None  # if somebody observes it
    is_elsewhere: str | None = None  # that it is a transaction of another database, in which no queue can be changed

    def __init__(self, xcoms: Xcoms, attempt_id: int, task: str, number: int, fence: int) -> None:
        super().__init__(xcoms.database, xcoms.session, attempt_id, task, number, fence)
        self._xcoms = xcoms
        # Whether a later attempt may have its stored result. False if it pushed what could not be stored.
        self.restorable = True
        # Returns the names of the inputs that it has read as a JSON list, or `["*"]`; None: not known.
        self.inputs_read: Callable[[], str | None] = lambda: None
        # Returns what it, or a step of it, has assigned to inputs, encoded; None for nothing.
        self.inputs_assigned: Callable[[OpenAttempt], str | None] = lambda _: None
        # Is called with what a step has assigned whose stored result is used: it is assigned again.
        self.assign_inputs: Callable[[str], object] = lambda _: None
        self.code: str | None = None  # a digest of what it runs
        self._open = True
        self._pid = os.getpid()
        self._token: Token[Owner | None] | None = None

    @functools.cached_property
    def xcom(self) -> Xcoms:
        """The session's queues; every operation on them belongs to this attempt, in any thread."""
        return self._xcoms.bound_to(self)

    @property
    def is_open(self) -> bool:
        """Whether this process began the attempt and has neither ended nor left it, as far as this object knows."""
        return self._open and self._pid == os.getpid()

    @property
    def _details(self) -> Details:
        """What an observer is told of it when it begins."""
        return {"session": self.session, "task": self.task, "attempt": self.number, "fence": self.fence}

    def _end_span(self, status: str, error: ErrorText | None = None, result: str | None = None) -> None:
        """Tell whoever observes it how it ended, unless the user's own transaction may still undo that."""
        if self.span is not None and not self.database.is_joined:
            self.span.end(status, error, result)

    def reopen(self) -> None:
        """Note that the transaction in which it has completed was rolled back."""
        self._open = True

    def owner_of_change(self) -> Owner:
        if self.is_elsewhere is not None:
            raise ZrbStoreError(
                f"{self.is_elsewhere}, and what it changes in queues could not be committed with it: "
                "push and take before it or after it"
            )
        return self

    def _refuse_other_process(self) -> None:
        if self._pid != os.getpid():
            raise AttemptClosed(
                f"{self.full_name} was begun by process {self._pid}, and only that one can end it, not its forked "
                "child: end the child with `os._exit`, and return its result to its parent"
            )

    def complete(self, result: Any = NO_RESULT) -> Encoded | None:
        raise NotImplementedError

    def fail(self, error: BaseException | ErrorText | None = None, status: str = "failed") -> None:
        """End the attempt without completing it.

        A step and a delivery are undone whole. Changes of any other attempt to queues of other sessions are undone at
        once (promise 10), together with its steps that have not completed. Its changes to queues of its own session,
        and of parent and child sessions, stay until the task's next attempt or the session's next run begins. A
        fallback therefore sees them.

        Args:
            error: Kept with the attempt; of its traceback, the last 16 KiB. Texts are kept as they are.
            status: `failed` or `interrupted`.
        """
        self._refuse_other_process()
        self.is_refused = self.is_refused or (isinstance(error, BaseException) and is_refusal(error))
        text = error_text(error) if isinstance(error, BaseException) else error

        def work(transaction: Transaction) -> str | None:
            ended = attempts.fail(transaction, self.id, status, text, self.inputs_read(), self._raised)
            if ended is None:
                return None
            if output is not None:
                output.write_rest(transaction)
            undo_ended(transaction, [*self._close_steps(transaction), self.id], ended)
            if ended == "failed" and not self.is_refused:
                self._try_again(transaction)
            return ended

        with self._last_output() as output:
            has_failed = self.database.transact(
                work, "fail", is_made=lambda transaction, ended: attempts.status_of(transaction, self.id) == ended
            )
        if not has_failed:
            self._refuse(self.database)
        self._close()
        if self.span is not None:
            self._end_span(has_failed, text)

    def _last_output(self) -> contextlib.AbstractContextManager[Output | None]:
        """Return what is to be stored of its output in the transaction that ends it."""
        return self._output.ending() if self._output else _NO_ENDING

    def _close(self) -> None:
        """Note that it has ended, and end the commands of its steps: none may go on beside the next attempt."""
        self._open = False
        for pid, started in self._commands:
            kill_group(pid, started)

    def _close_steps(self, transaction: Transaction) -> Sequence[int]:
        """End the steps that run inside, in the transaction that ends the attempt, and return their ids."""
        return ()

    def _try_again(self, transaction: Transaction) -> None:
        """Let its failed steps run again in the next attempt, in the transaction in which it fails by itself."""

    def _refuse(self, executor: Executor) -> NoReturn:
        self._open = False
        self.refuse_if_closed(executor)
        raise LeaseLost(f"session {self.session} was removed while {self.name} ran")

    def __enter__(self) -> Self:
        self._token = current_attempt.set(self)
        if self.span is not None:
            self.span.enter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._token is not None:
            leave(self._token)
        if self.span is not None:
            self.span.leave()
        failure = error
        try:
            self._end(error)
        except BaseException as refusal:
            failure = refusal
            raise
        finally:
            if self.span is not None and failure is None:
                self.span.end("completed")
            elif self.span is not None and failure is not None:  # whether or not the store could be told
                self.span.end(status_after(failure), error_text(failure))

    def _end(self, error: BaseException | None) -> None:
        """End it after its block, unless the block has."""
        if not self.is_open:
            return
        self._open = False  # whether or not the store can be told
        if error is None:
            self.complete()
            return
        # The store's own refusal of the failed attempt must not hide why it failed.
        with contextlib.suppress(ZrbStoreError):
            self.fail(error, status_after(error))


def status_after(error: BaseException) -> str:
    """Return how an attempt or a run ends by this exception: `failed` or `interrupted`."""
    return "failed" if isinstance(error, (Exception, SystemExit)) else "interrupted"


class Step(OpenAttempt):
    """An open step of the attempt `parent`. It completes with its result, which stays in its row."""

    def __init__(self, parent: OpenAttempt, step_id: int, task: str, number: int, step: str) -> None:
        super().__init__(parent.xcom, step_id, task, number, parent.fence)
        self.parent = parent
        self.step = step  # its name, such as `page~2`

    @property
    def _details(self) -> Details:
        return {**super()._details, "task": self.parent.task, "step": self.step}

    def complete(self, result: Any = NO_RESULT, *, arguments: str | None = None) -> Encoded:
        """Complete the step and store its result, in one transaction, and return the result as it was stored.

        A result that cannot be stored is kept as its type and repr; the step runs again in its task's next attempt. New
        `arguments`, which are encoded, replace those that it began with.
        """
        self._refuse_other_process()
        item = self._encode(None if result is NO_RESULT else result)
        completed, read, assigned = False, self.parent.inputs_read(), self.parent.inputs_assigned(self)
        failpoint("step_complete:before")
        try:
            with self._xcoms.watched():
                restorable = item.restorable and self.restorable
                inputs = read, assigned
                completed = steps.complete(
                    self.database, self.id, item.data, arguments, restorable=restorable, inputs=inputs
                )
                if not completed:
                    self._refuse(self.database)
        finally:
            self._xcoms.step_ended(self, self.parent, completed=completed)
        failpoint("step_complete:after")
        self._open = False
        if self.span is not None:
            self._end_span("completed", result=item.data)
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
                f"step {self.step} of task {self.parent.task}: {str(error).partition(' (')[0]}; its result is "
                "returned, but the step runs again in the task's next attempt "
                f"({what_makes_storable(error, result)} makes it storable)"
            )
        return codec.encode(result, lenient=True, limit=limit)._replace(restorable=False)

    def fail(self, error: BaseException | ErrorText | None = None, status: str = "failed") -> None:
        """End the step without completing it, and give it back, in one transaction; as `Attempt.fail`.

        An exception of the program is kept with it: if the attempt survives it, it may be raised again.
        """
        if isinstance(error, BaseException):
            from zrb_store.codec.raised import encode_error, may_be_raised_again

            if status == "failed" and may_be_raised_again(error) and not self.database.is_stopping:
                self._raised = encode_error(error, self._xcoms.max_value)
        try:
            with self._xcoms.watched():
                super().fail(error, status)
        finally:
            self._xcoms.step_ended(self, self.parent, completed=False)
