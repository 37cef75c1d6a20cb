"""One execution of one task's action. What it takes and pushes stands only if it completes."""

from __future__ import annotations

import contextlib
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, NoReturn

from zrb_store import codec
from zrb_store.codec import Encoded
from zrb_store.db.engine import Database
from zrb_store.db.transaction import Executor, Transaction
from zrb_store.errors import AttemptClosed, InvalidArgument, LeaseLost, ZrbStoreError
from zrb_store.names import split_id
from zrb_store.queries import attempts, sessions, values
from zrb_store.queries.give_back import undo_ended
from zrb_store.safe_text import ErrorText, error_text
from zrb_store.xcom import Xcoms, current_attempt

if TYPE_CHECKING:
    from contextvars import Token

    from zrb_store.queries.owner import Owner

NO_RESULT: Final = object()


class AttemptReference:
    """An attempt known by its identity. It can own changes to queues, but not complete or fail.

    Attributes:
        session: Name of the session.
        task: Name of the task.
        number: 1 for the first attempt of the task in its session.
        token: Names the attempt to a child process, in `ZRB_STORE_ATTEMPT`: SESSION/TASK#NUMBER@FENCE.
    """

    def __init__(self, database: Database, session: str, attempt_id: int, task: str, number: int, fence: int) -> None:
        self.database = database
        self.session = session
        self.id = attempt_id
        self.task = task
        self.number = number
        self.token = f"{session}/{self.name}@{fence}"

    @property
    def name(self) -> str:
        """`load#2`: the attempt within its session."""
        return f"{self.task}#{self.number}"

    @property
    def full_name(self) -> str:
        """`SESSION/load#2`: the attempt within the store."""
        return f"{self.session}/{self.name}"

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


class Attempt(AttemptReference):
    """An attempt under way.

    As a context manager, it completes when the block ends, and fails if the block raises.

    Attributes:
        session: Name of the session.
        task: Name of the task.
        number: 1 for the first attempt of the task in its session.
        xcom: The session's queues; every operation on them belongs to this attempt, in any thread.
        token: Names the attempt to a child process, in `ZRB_STORE_ATTEMPT`: SESSION/TASK#NUMBER@FENCE.
        result_seq: Seq of its result in the result's queue; None if there is none yet.
    """

    def __init__(self, xcoms: Xcoms, attempt_id: int, task: str, number: int, fence: int) -> None:
        super().__init__(xcoms.database, xcoms.session, attempt_id, task, number, fence)
        self.xcom = xcoms.bound_to(self)
        self.result_seq: int | None = None
        self._open = True
        self._token: Token[Owner | None] | None = None

    @property
    def is_open(self) -> bool:
        """Whether the attempt was neither ended nor left, as far as this object knows."""
        return self._open

    def complete(self, result: Any = NO_RESULT, *, queue: str | None = None, lenient: bool = False) -> Encoded | None:
        """Complete the attempt and push its result, in one transaction.

        Args:
            result: Pushed to the queue, an `Encoded` one as it is. Without a result nothing is pushed.
            queue: Name of the queue, by default the task's name.
            lenient: Keep a value that cannot be encoded as its type and repr, instead of raising an error.

        Returns:
            The result as it was stored, or None without one.

        Raises:
            UnencodableValue: No codec takes a part of the result; the attempt still runs.
            ValueTooLarge: The result is larger than the limit; the attempt still runs.
            AttemptClosed: The attempt has ended before.
            LeaseLost: Another process has taken the session over.
        """
        item: Encoded | None = None
        if isinstance(result, Encoded):
            item = result
        elif result is not NO_RESULT:
            item = codec.encode(result, lenient=lenient, limit=self.xcom.max_value)
        name = queue or self.task

        def work(transaction: Transaction) -> tuple[int, int] | None:
            place = None
            # The attempt is locked before its queue: a child's push to that queue waits for the attempt.
            if not attempts.lock(transaction, self.id):
                self._refuse(transaction)
            if item is not None:
                queue_id = self.xcom.create_queue(transaction, name)
                seq = values.push(transaction, queue_id, item, self.id)
                if seq is None:
                    self._refuse(transaction)
                place = (queue_id, seq)
            restorable = item is None or item.restorable
            if not attempts.complete(transaction, self.id, restorable=restorable, result=place):
                self._refuse(transaction)
            return place

        place = self.database.transact(work, "complete")
        self._open = False
        if place is not None:
            self.xcom.remember_id(name, place[0])
            self.result_seq = place[1]
        return item

    def fail(
        self,
        error: BaseException | ErrorText | None = None,
        status: str = "failed",
        *,
        first_frame: TracebackType | None = None,
    ) -> None:
        """End the attempt without completing it.

        What it did to queues of other sessions is undone at once (promise 10). What it did to those of its own session,
        and of parent and child sessions, stays until the task's next attempt or the session's next run begins, so that
        a fallback sees it. A delivery is undone whole.

        Args:
            error: Kept with the attempt; of its traceback, the last 16 KiB. Texts are kept as they are.
            status: `failed` or `interrupted`.
            first_frame: Where the traceback begins, if not at its first frame.

        Raises:
            AttemptClosed: The attempt has ended before.
            LeaseLost: Another process has taken the session over.
        """
        text = error_text(error, first_frame) if isinstance(error, BaseException) else error

        def work(transaction: Transaction) -> bool:
            if not attempts.fail(transaction, self.id, status, text):
                return False
            undo_ended(transaction, [self.id], status)
            return True

        if not self.database.transact(work, "fail"):
            self._refuse(self.database)
        self._open = False

    def _refuse(self, executor: Executor) -> NoReturn:
        self._open = False
        self.refuse_if_closed(executor)
        raise LeaseLost(f"session {self.session} was removed while {self.name} ran")

    def __enter__(self) -> Attempt:
        self._token = current_attempt.set(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._token is not None:
            current_attempt.reset(self._token)
        if not self._open:
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
