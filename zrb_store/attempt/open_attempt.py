"""What all attempts have in common.

`AttemptReference` knows the identity of an attempt, which may be one of another process. `OpenAttempt` is one that this
process has begun: it writes, ends once, and is a context manager.
"""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, NoReturn, Self

from zrb_store.codec import Encoded
from zrb_store.db.engine import Database
from zrb_store.db.transaction import Executor, Transaction
from zrb_store.errors import AttemptClosed, InvalidArgument, LeaseLost, ZrbStoreError
from zrb_store.masking import ErrorText, error_text
from zrb_store.names import split_id
from zrb_store.queries import attempts, sessions
from zrb_store.queries.give_back import undo_ended
from zrb_store.queries.store import Owner
from zrb_store.runtime.output import Output
from zrb_store.xcom import Xcoms, current_attempt, leave

if TYPE_CHECKING:
    from contextvars import Token


class AttemptReference:
    """An attempt known by its identity. It can own changes to queues, but not complete or fail.

    Attributes:
        session: Name of the session.
        task: Name of the task.
        number: 1 for the first attempt of the task in its session.
        fence: Number of the run that it belongs to.
    """

    def __init__(self, database: Database, session: str, attempt_id: int, task: str, number: int, fence: int) -> None:
        self.database = database
        self.session = session
        self.id = attempt_id
        self.task = task
        self.number = number
        self.fence = fence

    @property
    def name(self) -> str:
        """`load#2`: the attempt within its session."""
        return f"{self.task}#{self.number}"

    @property
    def full_name(self) -> str:
        """`SESSION/load#2`: the attempt within the store."""
        return f"{self.session}/{self.name}"

    @property
    def token(self) -> str:
        """Names the attempt to a child process, in `ZRB_STORE_ATTEMPT`: SESSION/TASK#NUMBER@FENCE."""
        return f"{self.full_name}@{self.fence}"

    def owner_of_change(self) -> Owner:
        """Return the owner of a change that is made now: the attempt itself."""
        return self

    def refuse_if_closed(self, executor: Executor | None = None) -> None:
        """Raise an error unless the attempt may still write.

        Args:
            executor: The open transaction, if there is one.

        Raises:
            AttemptClosed: The attempt has ended.
            LeaseLost: Another process has taken the session over.
        """
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


def referenced_attempt(database: Database, token: str) -> AttemptReference:
    """Return the attempt that the text of `ZRB_STORE_ATTEMPT` names.

    Raises:
        AttemptClosed: The store has no such attempt.
        InvalidArgument: The text is not of the form SESSION/TASK#NUMBER@FENCE.
    """
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


_NO_OUTPUT: Final = contextlib.nullcontext()


class OpenAttempt(AttemptReference):
    """An attempt of a task, or a step, that this process has begun.

    As a context manager, it completes when the block ends, and fails if the block raises. A forked child can write for
    it, but not end it: when the child leaves the block, nothing happens.

    Attributes:
        session: Name of the session.
        task: Name of the task; of a step, its id within the session.
        number: 1 for the first attempt of the task, or of the step, in its session.
        token: Names the attempt to a child process, in `ZRB_STORE_ATTEMPT`: SESSION/TASK#NUMBER@FENCE.
        restorable: Whether its stored result can stand for it. False if it has pushed a value that could not be stored.
    """

    _output: Output | None = None  # made when something is printed; steps have none

    def __init__(self, xcoms: Xcoms, attempt_id: int, task: str, number: int, fence: int) -> None:
        super().__init__(xcoms.database, xcoms.session, attempt_id, task, number, fence)
        self._xcoms = xcoms
        self.restorable = True
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

    def _refuse_other_process(self) -> None:
        if self._pid != os.getpid():
            raise AttemptClosed(
                f"{self.full_name} was begun by process {self._pid}, and only that one can end it, not its forked "
                "child: end the child with `os._exit`, and return its result to its parent"
            )

    def complete(self, result: Any = NO_RESULT) -> Encoded | None:
        """Complete the attempt with its result, in one transaction."""
        raise NotImplementedError

    def fail(
        self,
        error: BaseException | ErrorText | None = None,
        status: str = "failed",
        *,
        first_frame: TracebackType | None = None,
    ) -> None:
        """End the attempt without completing it.

        A step and a delivery are undone whole. What any other attempt did to queues of other sessions is undone at once
        (promise 10), and so are its steps that have not completed. What it did to queues of its own session, and of
        parent and child sessions, stays until the task's next attempt or the session's next run begins, so that a
        fallback sees it.

        Args:
            error: Kept with the attempt; of its traceback, the last 16 KiB. Texts are kept as they are.
            status: `failed` or `interrupted`.
            first_frame: Where the traceback begins, if not at its first frame.

        Raises:
            AttemptClosed: The attempt has ended before, or another process began it.
            LeaseLost: Another process has taken the session over.
        """
        self._refuse_other_process()
        text = error_text(error, first_frame) if isinstance(error, BaseException) else error

        def work(transaction: Transaction) -> bool:
            if not attempts.fail(transaction, self.id, status, text):
                return False
            if output is not None:
                output.write_rest(transaction)
            undo_ended(transaction, [*self._close_steps(transaction), self.id], status)
            return True

        with self._last_output() as output:
            has_failed = self.database.transact(
                work, "fail", is_made=lambda transaction, _: attempts.status_of(transaction, self.id) == status
            )
        if not has_failed:
            self._refuse(self.database)
        self._open = False

    def _close_steps(self, transaction: Transaction) -> Sequence[int]:
        """End the steps that run inside, in the transaction that ends the attempt, and return their ids."""
        return ()

    def _last_output(self) -> contextlib.AbstractContextManager[Output | None]:
        """Return what is to be stored of its output in the transaction that ends it."""
        return _NO_OUTPUT if self._output is None else self._output.ending()

    def _refuse(self, executor: Executor) -> NoReturn:
        self._open = False
        self.refuse_if_closed(executor)
        raise LeaseLost(f"session {self.session} was removed while {self.name} ran")

    def __enter__(self) -> Self:
        self._token = current_attempt.set(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._token is not None:
            leave(self._token)
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
